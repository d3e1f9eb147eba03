"""In which precision a tower computes: full unless asked, and refused by name where it cannot be."""

from __future__ import annotations

import pytest
import torch

from kernels.backend import BackendUnavailable
from kernels.eight_bit import choose_precision

VNNI, AMX = "_is_vnni_supported", "_is_amx_tile_supported"


def capability(monkeypatch: pytest.MonkeyPatch, major: int, minor: int) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, minor))


def test_full_unless_asked() -> None:
    assert choose_precision("cpu", torch.float32) == "full"
    assert choose_precision("cuda", torch.float16, "full") == "full"


def test_an_unknown_one_is_refused() -> None:
    with pytest.raises(ValueError, match="got 'int4', allowed are 'auto', 'full', 'int8', 'fp8'"):
        choose_precision("cpu", torch.float32, "int4")


@pytest.mark.parametrize("name", [VNNI, AMX])
def test_int8_is_for_processors_with_instructions_for_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for each in (VNNI, AMX):
        monkeypatch.setattr(torch.cpu, each, lambda: False)
    with pytest.raises(
        BackendUnavailable,
        match=r"int8 cannot run: this processor has no .*\(AVX512-VNNI or AMX\); choose full",
    ):
        choose_precision("cpu", torch.bfloat16, "int8")
    monkeypatch.setattr(torch.cpu, name, lambda: True)
    assert choose_precision("cpu", torch.bfloat16, "int8") == "int8"


@pytest.mark.parametrize(
    ("device", "dtype", "reason"),
    [("cuda", torch.bfloat16, "for a CPU and the tower is on cuda"), ("cpu", torch.float16, "not float16")],
)
def test_int8_is_for_a_cpu(device: str, dtype: torch.dtype, reason: str) -> None:
    with pytest.raises(BackendUnavailable, match=f"int8 cannot run: .*{reason}"):
        choose_precision(device, dtype, "int8")


def test_fp8_is_for_hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    capability(monkeypatch, 9, 0)
    assert choose_precision("cuda", torch.bfloat16, "fp8") == "fp8"
    for major, minor in ((8, 9), (8, 0), (12, 0)):
        capability(monkeypatch, major, minor)
        with pytest.raises(
            BackendUnavailable, match=rf"for Hopper .* and cuda has {major}\.{minor}; choose full"
        ):
            choose_precision("cuda", torch.bfloat16, "fp8")


@pytest.mark.parametrize(
    ("device", "dtype", "reason"),
    [("cpu", torch.bfloat16, "for a GPU and the tower is on cpu"), ("cuda", torch.float16, "not float16")],
)
def test_fp8_is_for_bfloat16_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, device: str, dtype: torch.dtype, reason: str
) -> None:
    capability(monkeypatch, 9, 0)
    with pytest.raises(BackendUnavailable, match=f"fp8 cannot run: .*{reason}"):
        choose_precision(device, dtype, "fp8")

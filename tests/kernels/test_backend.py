from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from kernels.backend import BackendUnavailable, choose_backend, product_dtype, require_backend

CUDA = torch.device("cuda", 0)


def test_auto_is_cpu_on_a_cpu() -> None:
    assert choose_backend("cpu") == "cpu"


def test_what_was_asked_for_is_what_runs() -> None:
    assert choose_backend("cpu", "reference") == "reference"


def test_an_unknown_backend_is_named_with_those_allowed() -> None:
    with pytest.raises(ValueError, match="'cuda', allowed are 'auto', 'triton', 'cpu', 'reference'"):
        choose_backend("cpu", "cuda")


def test_triton_on_a_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(BackendUnavailable, match="got a tensor on cpu and runs on CUDA devices only"):
        choose_backend("cpu", "triton")


def test_triton_on_a_cpu_is_allowed_in_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert choose_backend("cpu", "triton") == "triton"


def test_triton_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match="needs the package triton, which is not installed"):
        require_backend("triton", CUDA)


def test_the_cpu_path_runs_where_triton_cannot_be_imported() -> None:
    script = """if True:
        import sys
        sys.modules["triton"] = None
        import torch
        from kernels.patch_embed import fold_patch_embed, patch_embed
        layer = (torch.ones(8, 3, 14, 14), None, (0.5,) * 3, (0.5,) * 3, None, None)
        folded = fold_patch_embed(*layer, dtype=torch.float32, device="cpu")
        tokens = patch_embed(torch.zeros(1, 14, 28, 3, dtype=torch.uint8), folded, backend="cpu")
        assert torch.allclose(tokens, torch.tensor(-588.0)), tokens
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_cpu_on_a_gpu_is_refused() -> None:
    with pytest.raises(BackendUnavailable, match="'cpu' got a tensor on cuda:0"):
        require_backend("cpu", CUDA)


def test_a_gpu_without_bf16_tensor_cores_is_refused_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(BackendUnavailable, match=r"8\.0 or later and cuda:0 has 7\.5"):
        choose_backend(CUDA)


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bf16_is_multiplied_as_bf16_only_where_the_processor_can(
    monkeypatch: pytest.MonkeyPatch, native: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert product_dtype(torch.bfloat16, "cpu") == expected
    assert product_dtype(torch.float16, "cpu") == torch.float32
    assert product_dtype(torch.bfloat16, "cuda") == torch.bfloat16

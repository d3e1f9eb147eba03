"""The encoders' benchmark on towers that take no time: equal to transformers, rows, notes and gate."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from benchmarks.encoders import bench as encoder_bench
from benchmarks.encoders.__main__ import main
from benchmarks.encoders.models import Model
from benchmarks.encoders.native import make_model
from kernels.backend import product_dtype
from kernels.blocks import compile_layers
from kernels.measure import Call, relative_error
from kernels.towers.towers import Tower, clip, internvl, qwen, siglip, vit
from service.families import tile_tower
from tests.kernels.runner.fakes import Host

CPU = torch.device("cpu")
NATIVE_BF16 = product_dtype(torch.bfloat16, CPU) == torch.bfloat16
VIT = vit("tiny/16-48", 48, 16, 64, 2, 2, 96)
TINY = (
    VIT,
    clip("clip/14-56", 56, 64, 2, 2, 96, 40),
    siglip("siglip/14-60", 60, 72, 2, 2, 100, 24),
    internvl("internvl/14-56", 56, 64, 2, 4, 96, 24),
    qwen("qwen/14-mixed", ((4, 4), (5, 7), (1, 3)), 64, 8, 4, 96, 32),
)


@pytest.fixture(params=TINY, ids=lambda one: one.name)
def encoder(request: pytest.FixtureRequest) -> Tower:
    chosen: Tower = request.param
    return chosen


def pixels(encoder: Tower, batch: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    size = (encoder.tiles(batch), encoder.side, encoder.side, 3)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=random)


def test_both_ways_give_the_same_rows(encoder: Tower) -> None:
    model = make_model(encoder, CPU, torch.float32)
    tiles = pixels(encoder, 4)
    with torch.inference_mode():
        ours, theirs = model.ours("cpu")(tiles), model.transformers()(tiles)
        front, their_front = model.our_front("cpu")(tiles), model.transformers_front()(tiles)
    assert relative_error(ours, theirs.double()) < 1e-5
    assert relative_error(front, their_front.double()) < 1e-5
    assert model.choose_body() == "fused"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(encoder_bench, "ON_CPU", ((VIT, 1), (VIT, 3), (TINY[3], 2), (TINY[4], 3)))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    yield


@pytest.mark.usefixtures("tiny")
def test_green_gate_tells_rates_and_shares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "rows.json"
    assert main(["--rounds", "2", "--write", str(written)]) == 0
    rows = json.loads(written.read_text())
    told = {(row["kernel"], row["shape"], row["batch"], row["provider"]) for row in rows}
    for name, batch in (("tiny/16-48", 1), ("tiny/16-48", 3), ("internvl/14-56", 2), ("qwen/14-mixed", 3)):
        for provider in ("ours", "transformers"):
            assert ("encoder", name, batch, provider) in told
            assert ("encoder front", name, batch, provider) in told
        assert ("encoder", name, batch, "gemm") in told
    for provider in ("ours", "transformers"):
        assert ("encoder projection", "internvl/14-56", 2, provider) in told
    assert ("encoder projection", "tiny/16-48", 1, "ours") not in told
    for row in rows:
        assert 0 < row["p50_us"] <= row["p99_us"]
        assert row["tflops"] > 0
    out = capsys.readouterr().out
    assert "tiny/16-48 batch 3 bf16 ours: " in out
    assert "images/s" in out
    assert "tiny/16-48 batch 3 bf16: share of the encoder's time: patch embedding " in out
    assert "% after; projection " in out and "% after; together " in out


@pytest.mark.usefixtures("tiny")
def test_a_red_gate_is_named_and_not_timed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = encoder_bench.whole

    def off(case: encoder_bench.Case) -> dict[str, Call]:
        calls = right(case)
        return {**calls, "ours": lambda: 1.02 * calls["ours"]()}

    monkeypatch.setattr(encoder_bench, "whole", off)
    written = tmp_path / "rows.json"
    assert main(["--rounds", "2", "--write", str(written)]) == 1
    assert json.loads(written.read_text()) == []
    assert "GATE RED, not timed: encoder tiny/16-48 batch 1 bf16: 'ours' is off by" in capsys.readouterr().err


def test_chance_is_allowed_and_no_more() -> None:
    case = encoder_bench.Case(Model(VIT, CPU, torch.bfloat16), "cpu", 1, pixels(VIT, 1))
    assert encoder_bench.gate(case, {"transformers": 1e-2, "ours": 1.019e-2}) is None
    assert encoder_bench.gate(case, {"transformers": 1e-2, "ours": 1.03e-2}) == (
        "encoder tiny/16-48 batch 1 bf16: 'ours' is off by 1.030e-02, allowed are 1.020e-02"
    )


@pytest.mark.usefixtures("tiny")
def test_rows_name_the_body_and_the_attention_that_are_asked_for(tmp_path: Path) -> None:
    written, wanted = tmp_path / "rows.json", ["--body", "transformers", "--attention", "math"]
    assert main(["--rounds", "2", "--batch", "1", *wanted, "--write", str(written)]) == 0
    rows = json.loads(written.read_text())
    assert {row["provider"] for row in rows} == {"ours, transformers, math", "transformers", "gemm"}


def test_a_compiled_body_is_compiled_once_and_gives_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(tile_tower, "compile_layers", partial(compile_layers, backend="eager"))
    plain, model = (Model(VIT, CPU, torch.float32, body=body) for body in ("transformers", "compiled"))
    torch.compiler.reset()
    counters.clear()
    tiles = pixels(VIT, 2)
    with torch.inference_mode():
        for _ in range(2):
            torch.testing.assert_close(model.ours("cpu")(tiles), plain.ours("cpu")(tiles))
    assert counters["stats"]["unique_graphs"] == 1
    torch.compiler.reset()


def test_a_body_that_packed_pictures_do_not_have_is_refused() -> None:
    model = make_model(TINY[4], CPU, torch.float32, body="transformers")
    with pytest.raises(ValueError, match="body: got 'transformers', allowed for pictures of any sizes are"):
        model.ours("cpu")


def test_shares_are_of_medians_and_add_up() -> None:
    whole = {"transformers": [2.0, 2.0, 9.0], "ours": [1.0, 1.0, 1.0], "gemm": [1.0, 1.0, 1.0]}
    front = {"transformers": [0.2, 0.2, 0.2], "ours": [0.01, 0.01, 5.0]}
    back = {"transformers": [0.1, 0.1, 0.1], "ours": [0.04, 0.04, 0.04]}
    assert encoder_bench.shares(whole, {"patch embedding": front, "projection": back}) == (
        "share of the encoder's time: patch embedding 10.00% before, 1.00% after; "
        "projection 5.00% before, 4.00% after; together 15.00% before, 5.00% after"
    )


@pytest.mark.parametrize("encoder", TINY[:4], ids=lambda one: one.name)
def test_from_host_to_host_both_ways_give_the_same_rows(encoder: Tower) -> None:
    case = encoder_bench.Case(Model(encoder, CPU, torch.bfloat16), "cpu", 5, pixels(encoder, 5))
    with torch.inference_mode():
        rows = {name: call() for name, call in encoder_bench.from_host(case, Host()).items()}
    assert relative_error(rows["ours, staged"].view(rows["transformers"].shape), rows["transformers"]) < 0.03


def test_from_host_leaves_out_pictures_of_any_sizes() -> None:
    case = encoder_bench.Case(make_model(TINY[4], CPU, torch.bfloat16), "cpu", 1, pixels(TINY[4], 1))
    assert encoder_bench.from_host(case, Host()) == {}


def test_an_encoder_is_chosen_by_name_and_batch() -> None:
    chosen = encoder_bench._selection(False, ["SigLIP-so400m/14-384"], [3])
    assert [(one.name, sizes) for one, sizes in chosen.items()] == [("SigLIP-so400m/14-384", [3])]
    assert {one.name: sizes for one, sizes in encoder_bench._selection(False, [], []).items()} == {
        "ViT-B/16-224": [1, 8]
    }
    assert all(sizes == [1, 8, 64] for sizes in encoder_bench._selection(True, [], []).values())
    with pytest.raises(ValueError, match="encoder: got 'ViT-Z', allowed are ViT-B/16-224"):
        encoder_bench._selection(False, ["ViT-Z"], [])

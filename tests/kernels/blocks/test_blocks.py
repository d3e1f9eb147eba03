"""The fused blocks against the reference in fp64: odd sizes, every activation, layer scale, missing biases."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn
from transformers import ViTConfig
from transformers.models.vit.modeling_vit import ViTLayer

from kernels.backend import Backend, BackendUnavailable, product_dtype
from kernels.blocks import Block, FusedBlocks, KernelBlocks, UnsupportedLayer, choose_body, cpu, read_layer
from kernels.blocks.reference import ACTIVATIONS, Activation, Affine, block
from kernels.measure import relative_error

NATIVE_BF16 = product_dtype(torch.bfloat16, "cpu") == torch.bfloat16
native = pytest.mark.skipif(not NATIVE_BF16, reason="no bf16 in this processor")


@dataclass(frozen=True)
class Case:
    images: int
    tokens: int
    hidden: int
    heads: int
    mlp: int
    activation: Activation = "gelu"
    layer_scale: bool = False
    bias: bool = True

    def blocks(self, count: int = 2) -> list[Block]:
        random = torch.Generator().manual_seed(self.hidden)

        def draw(*size: int, scale: float = 0.2, mean: float = 0.0) -> torch.Tensor:
            # representable in bf16, as a bf16 checkpoint is
            return (mean + scale * torch.randn(*size, generator=random)).bfloat16().float()

        def linear(outputs: int, inputs: int, bias: bool = True) -> Affine:
            return Affine(draw(outputs, inputs, scale=inputs**-0.5), draw(outputs) if bias else None)

        def norm() -> Affine:
            return Affine(draw(self.hidden, mean=1.0), draw(self.hidden))

        h = self.hidden
        return [
            Block(
                norm_before=norm(),
                query=linear(h, h, self.bias),
                key=linear(h, h, bias=False),
                value=linear(h, h, self.bias),
                out=linear(h, h),
                norm_after=norm(),
                up=linear(self.mlp, h, self.bias),
                down=linear(h, self.mlp),
                heads=self.heads,
                scale=1.7 * (h // self.heads) ** -0.5,
                eps=(1e-6, 1e-5),
                activation=self.activation,
                layer_scale=(draw(h, mean=0.5), draw(h, mean=0.5)) if self.layer_scale else None,
            )
            for _ in range(count)
        ]

    def hidden_states(self) -> torch.Tensor:
        random = torch.Generator().manual_seed(self.tokens)
        return torch.randn(self.images, self.tokens, self.hidden, generator=random).bfloat16().float()


CASES = (
    Case(3, 17, 48, 3, 100),
    Case(1, 1, 16, 1, 24, bias=False),
    Case(2, 65, 72, 2, 130, layer_scale=True),
    *(Case(5, 33, 32, 2, 48, activation=activation, layer_scale=True) for activation in ACTIVATIONS),
    Case(5, 700, 16, 2, 24),
)


def cast(p: Block, to: torch.dtype | str) -> Block:
    """In a dtype, or on a device."""

    def one(a: Affine) -> Affine:
        return Affine(a.weight.to(to), None if a.bias is None else a.bias.to(to))

    names = ("norm_before", "query", "key", "value", "out", "norm_after", "up", "down")
    scales = p.layer_scale and (p.layer_scale[0].to(to), p.layer_scale[1].to(to))
    return replace(p, **{name: one(getattr(p, name)) for name in names}, layer_scale=scales)


def chain(hidden: torch.Tensor, blocks: list[Block], dtype: torch.dtype) -> torch.Tensor:
    hidden = hidden.to(dtype)
    for p in blocks:
        hidden = block(hidden, cast(p, dtype))
    return hidden


@pytest.mark.parametrize("case", CASES, ids=str)
def test_fp32_is_the_reference(case: Case) -> None:
    blocks, hidden = case.blocks(), case.hidden_states()
    exact = chain(hidden, blocks, torch.float64)
    assert relative_error(FusedBlocks(blocks, torch.float32)(hidden.clone()), exact) < 1e-6


@native
@pytest.mark.parametrize("case", CASES, ids=str)
def test_bf16_is_as_near_as_the_bf16_chain(case: Case) -> None:
    blocks, hidden = case.blocks(), case.hidden_states()
    exact = chain(hidden, blocks, torch.float64)
    theirs = relative_error(chain(hidden, blocks, torch.bfloat16), exact)
    ours = relative_error(FusedBlocks(blocks, torch.bfloat16)(hidden.bfloat16()), exact)
    assert ours < 1.1 * theirs


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_with_kernels_between_the_products_fp32_is_the_reference(case: Case, backend: Backend) -> None:
    blocks, hidden = case.blocks(3), case.hidden_states()
    exact = chain(hidden, blocks, torch.float64)
    made = KernelBlocks(blocks, torch.float32, backend)(hidden)
    assert made is hidden
    assert relative_error(made, exact) < 1e-6


@native
@pytest.mark.parametrize("case", CASES, ids=str)
def test_with_kernels_between_the_products_bf16_is_as_near_as_the_bf16_chain(case: Case) -> None:
    blocks, hidden = case.blocks(), case.hidden_states()
    exact = chain(hidden, blocks, torch.float64)
    theirs = relative_error(chain(hidden, blocks, torch.bfloat16), exact)
    ours = relative_error(KernelBlocks(blocks, torch.bfloat16, "reference")(hidden.bfloat16()), exact)
    assert ours < 1.1 * theirs


def test_the_result_lies_where_the_input_lay_and_each_image_is_its_own() -> None:
    case = CASES[0]
    fused, hidden = FusedBlocks(case.blocks(), torch.float32), case.hidden_states()
    given = hidden.clone()
    assert fused(given).data_ptr() == given.data_ptr()
    for image, together in zip(hidden, given, strict=True):
        assert torch.allclose(fused(image[None].clone())[0], together, atol=1e-6)


@pytest.mark.parametrize("images", [1, 2, 3, 7])
def test_shared_among_threads_the_images_are_the_same(images: int) -> None:
    case = replace(CASES[0], images=images)
    blocks, hidden = case.blocks(), case.hidden_states()
    alone = FusedBlocks(blocks, torch.float32)(hidden.clone())
    fused = FusedBlocks(blocks, torch.float32)
    for threads in (3, 2):
        torch.set_num_threads(threads)
        assert torch.allclose(fused(hidden.clone()), alone, atol=1e-6)
        assert torch.get_num_threads() == threads


def test_scores_are_made_a_few_heads_at_a_time_and_their_memory_is_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = CASES[0]
    blocks, hidden = case.blocks(), case.hidden_states()
    exact = chain(hidden, blocks, torch.float64)
    monkeypatch.setattr(cpu, "SCORES_BYTES", 2 * 17 * 17 * 4)  # two of nine at a time
    monkeypatch.setattr(cpu, "ROWS_AT_ONCE", 1)
    empty = torch.Tensor.new_empty

    def poisoned(self: torch.Tensor, *size: int) -> torch.Tensor:
        return empty(self, *size).fill_(float("nan"))

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)
    assert relative_error(FusedBlocks(blocks, torch.float32)(hidden.clone()), exact) < 1e-6


def test_no_blocks_change_nothing() -> None:
    hidden = CASES[0].hidden_states()
    assert torch.equal(FusedBlocks([], torch.float32)(hidden.clone()), hidden)
    assert torch.equal(KernelBlocks([], torch.float32, "reference")(hidden.clone()), hidden)


def vit_layer(**options: object) -> nn.Module:
    config = ViTConfig(hidden_size=32, num_attention_heads=2, intermediate_size=48, **options)
    config._attn_implementation = "sdpa"
    torch.manual_seed(0)
    return ViTLayer(config).eval()


def test_a_layer_of_transformers_is_read_as_it_computes() -> None:
    for activation in ("gelu", "gelu_pytorch_tanh", "quick_gelu"):
        layer = vit_layer(hidden_act=activation, qkv_bias=activation == "gelu")
        hidden = torch.randn(2, 5, 32)
        with torch.inference_mode():
            expected = layer(hidden, None)
            assert relative_error(block(hidden, read_layer(layer)), expected) < 1e-6


def test_a_layer_that_computes_something_else_is_refused() -> None:
    with pytest.raises(UnsupportedLayer, match="Linear is none of ViTLayer"):
        read_layer(nn.Linear(2, 2))
    with pytest.raises(UnsupportedLayer, match="its activation is SiLUActivation"):
        read_layer(vit_layer(hidden_act="silu"))
    other = vit_layer()
    other.layernorm_after = nn.RMSNorm(32)
    with pytest.raises(UnsupportedLayer, match="its norm is RMSNorm"):
        read_layer(other)
    del other.attention
    with pytest.raises(UnsupportedLayer, match="this version of transformers is laid out otherwise"):
        read_layer(other)


def test_the_body_is_chosen_once_and_never_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_body("cpu", torch.float32) == "fused"
    assert choose_body("cpu", torch.float32, "transformers") == "transformers"
    assert choose_body("cuda", torch.bfloat16) == "transformers"
    assert choose_body("cpu", torch.float32, obstacle="it sings") == "transformers"
    monkeypatch.setattr("shutil.which", lambda name: name if name == "clang++" else None)
    assert choose_body("cuda", torch.bfloat16, "compiled", obstacle="it sings") == "compiled"
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(BackendUnavailable, match="'compiled' needs a compiler, and none of"):
        choose_body("cuda", torch.bfloat16, "compiled")
    for device, dtype, obstacle, reason in (
        ("cuda", torch.bfloat16, None, "runs on a CPU and the tower is on cuda"),
        ("cpu", torch.float16, None, "not float16"),
        ("cpu", torch.float32, "it sings", "it sings; choose body 'transformers'"),
    ):
        with pytest.raises(BackendUnavailable, match=reason):
            choose_body(device, dtype, "fused", obstacle=obstacle)
    with pytest.raises(ValueError, match="body: got 'fast', allowed are 'auto', 'transformers', 'fused'"):
        choose_body("cpu", torch.float32, "fast")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert choose_body("cpu", torch.bfloat16) == "transformers"
    with pytest.raises(BackendUnavailable, match="no instructions for bfloat16"):
        choose_body("cpu", torch.bfloat16, "fused")

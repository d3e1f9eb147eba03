"""Layers through `torch.compile`: captured by it, with its code generator left out, which takes half a minute."""

from __future__ import annotations

import torch
from torch._dynamo.utils import counters
from transformers.models.internvl.configuration_internvl import InternVLVisionConfig
from transformers.models.internvl.modeling_internvl import InternVLVisionLayer

from kernels.blocks import compile_layers

CONFIG = InternVLVisionConfig(
    hidden_size=32, num_attention_heads=2, intermediate_size=48, attn_implementation="sdpa"
)


def test_one_compilation_serves_every_layer_and_every_batch_but_one_image() -> None:
    torch._dynamo.reset()
    counters.clear()
    layers = [InternVLVisionLayer(CONFIG).eval().requires_grad_(False) for _ in range(12)]
    compiled = compile_layers(layers, backend="eager")
    plain = [InternVLVisionLayer(CONFIG).eval().requires_grad_(False) for _ in range(12)]
    for one, other in zip(plain, layers, strict=True):
        one.load_state_dict(other.state_dict())
    with torch.inference_mode():
        for images in (3, 1, 7, 2, 12):
            hidden = torch.randn(images, 17, 32)
            expected = hidden
            for layer in plain:
                expected = layer(expected)
            torch.testing.assert_close(compiled(hidden), expected)
    assert counters["stats"]["unique_graphs"] == 2
    assert not counters["graph_break"]
    torch._dynamo.reset()

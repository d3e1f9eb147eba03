"""The fold and the spec against the chain of operations they replace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from kernels.measure import relative_error
from kernels.patch_embed import patch_embed, reference

if TYPE_CHECKING:
    from tests.kernels.patch_embed.conftest import Case


def test_reference_equals_the_chain(case: Case) -> None:
    layer, tiles = case.layer(), case.pixels()
    tokens = reference.patch_embed(tiles, layer.fold(torch.float32))
    assert tokens.dtype == torch.float32
    assert tokens.shape == case.shape
    assert relative_error(tokens, layer.exact(tiles)) < 1e-6


def test_the_chain_is_what_transformers_computes() -> None:
    from transformers.models.internvl.configuration_internvl import InternVLVisionConfig
    from transformers.models.internvl.modeling_internvl import InternVLVisionEmbeddings

    config = InternVLVisionConfig(
        hidden_size=96, image_size=[56, 56], patch_size=[14, 14], hidden_dropout_prob=0
    )
    module = InternVLVisionEmbeddings(config).double().eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.02, generator=torch.Generator().manual_seed(1))
    tiles = torch.randint(0, 256, (2, 56, 56, 3), dtype=torch.uint8)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
    normalised = (tiles.double() / 255 - torch.tensor(mean, dtype=torch.float64)) / torch.tensor(std)
    projection = module.patch_embeddings.projection
    with torch.no_grad():
        theirs = module(normalised.permute(0, 3, 1, 2))
        layer = (projection.weight, projection.bias, mean, std, module.position_embeddings, module.cls_token)
        ours = reference.unfused(tiles, *layer)
    assert relative_error(ours, theirs) < 1e-7


def test_the_reference_backend_writes_the_dtype_asked_for(case: Case) -> None:
    folded = case.layer().fold(torch.bfloat16)
    out = case.poisoned(torch.bfloat16)
    assert patch_embed(case.pixels(), folded, backend="reference", out=out) is out
    assert torch.equal(out, reference.patch_embed(case.pixels(), folded).bfloat16())


@pytest.mark.parametrize("size", [14, 16, 32])
def test_a_patch_is_lines_of_pixels_of_colours(size: int) -> None:
    tiles = torch.arange(2 * size * 3 * size * 3).reshape(1, 2 * size, 3 * size, 3)
    patches = reference.cut_patches(tiles, size)
    assert patches.shape == (1, 2, 3, size, size, 3)
    assert torch.equal(patches[0, 1, 2], tiles[0, size:, 2 * size :])
    assert patches.data_ptr() == tiles.data_ptr()

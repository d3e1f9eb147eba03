"""Public vision towers from their configurations, with random weights, run by transformers and by us.

Both take the same uint8 pixels and give the same rows: hidden states after the last layer, through the projector of a
model that has this tower, where there is one. Nothing is downloaded. Knows nothing of time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTModel,
)
from transformers.models.internvl.configuration_internvl import InternVLVisionConfig
from transformers.models.internvl.modeling_internvl import InternVLVisionModel
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

from kernels.backend import Backend
from kernels.blocks import Body, FusedBlocks, UnsupportedLayer, choose_body, read_layer
from kernels.patch_embed import FoldedPatchEmbed, fold_patch_embed, patch_embed
from kernels.patch_embed.reference import normalise
from kernels.project import FoldedProjector, Linear, Merge, Norm, fold_projector, project

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""CLIP's normalisation, for all of them: it changes no time."""

Call = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Encoder:
    """One tower and how its family names the parts."""

    name: str
    side: int
    """of the square picture, in pixels"""
    patch: int
    hidden: int
    build: Callable[[], nn.Module]
    """the tower with random weights, fp32"""
    parts: Callable[[Any], Parts]
    projector: Callable[[], nn.Module] | None = None
    """from hidden states [images, tokens, hidden] without class token"""
    merge: int = 1
    """patches in this many rows and columns follow each other (Qwen); 1 is row by row"""

    @property
    def pixels(self) -> int:
        """The side without what is too little for a patch."""
        return self.side // self.patch * self.patch

    @property
    def patches(self) -> int:
        return (self.side // self.patch) ** 2


@dataclass(frozen=True, slots=True)
class Parts:
    weight: torch.Tensor
    bias: torch.Tensor | None
    position: torch.Tensor | None
    cls: torch.Tensor | None
    before: nn.Module
    layers: nn.ModuleList
    after: nn.Module
    mask: bool = True
    """whether a layer is called with an attention mask, None here"""


def _vit(tower: Any) -> Parts:
    at = tower.embeddings
    conv = at.patch_embeddings.projection
    return Parts(
        conv.weight,
        conv.bias,
        at.position_embeddings,
        at.cls_token,
        nn.Identity(),
        tower.layers,
        tower.layernorm,
    )


def _clip(tower: Any) -> Parts:
    at = tower.embeddings
    table, cls = at.position_embedding.weight, at.class_embedding
    return Parts(
        at.patch_embedding.weight, None, table, cls, tower.pre_layrnorm, tower.encoder.layers, nn.Identity()
    )


def _siglip(tower: Any) -> Parts:
    at = tower.embeddings
    conv, table = at.patch_embedding, at.position_embedding.weight
    return Parts(
        conv.weight, conv.bias, table, None, nn.Identity(), tower.encoder.layers, tower.post_layernorm
    )


def _internvl(tower: Any) -> Parts:
    at = tower.embeddings
    conv, layers = at.patch_embeddings.projection, tower.encoder.layer
    return Parts(
        *(conv.weight, conv.bias, at.position_embeddings, at.cls_token),
        *(nn.Identity(), layers, tower.layernorm, False),
    )


def _qwen(tower: Any) -> Parts:
    return Parts(tower.patch_embed.proj.weight, None, None, None, nn.Identity(), tower.blocks, nn.Identity())


class Shuffle(nn.Module):
    """Four neighbouring patches in one row: [images, patches, hidden] → [images, patches / 4, 4 · hidden]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        images, patches, hidden = x.shape
        half = round(patches**0.5) // 2
        grid = x.reshape(images, half, 2, half, 2, hidden).transpose(2, 3)
        return grid.reshape(images, half * half, 4 * hidden)


def _build(model: Any, config: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        tower: nn.Module = model._from_config(config, attn_implementation="sdpa")
        return tower.eval().requires_grad_(False)

    return build


def vit(name: str, side: int, patch: int, hidden: int, layers: int, heads: int, mlp: int) -> Encoder:
    config = ViTConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=mlp,
        image_size=side,
        patch_size=patch,
    )

    def build() -> nn.Module:
        tower: nn.Module = ViTModel(config, add_pooling_layer=False)
        return tower.eval().requires_grad_(False)

    return Encoder(name, side, patch, hidden, build, _vit)


def clip(name: str, side: int, hidden: int, layers: int, heads: int, mlp: int, text: int) -> Encoder:
    """With LLaVA-1.5's projector, [hidden] → [text]."""
    config = CLIPVisionConfig(
        hidden_size=hidden,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=side,
        patch_size=14,
    )

    def projector() -> nn.Module:
        return nn.Sequential(nn.Linear(hidden, text), nn.GELU(), nn.Linear(text, text))

    return Encoder(name, side, 14, hidden, _build(CLIPVisionModel, config), _clip, projector)


def siglip(name: str, side: int, hidden: int, layers: int, heads: int, mlp: int, text: int) -> Encoder:
    """With PaliGemma's projector."""
    config = SiglipVisionConfig(
        hidden_size=hidden,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=side,
        patch_size=14,
        vision_use_head=False,
    )
    return Encoder(
        *(name, side, 14, hidden), _build(SiglipVisionModel, config), _siglip, lambda: nn.Linear(hidden, text)
    )


def internvl(name: str, side: int, hidden: int, layers: int, heads: int, mlp: int, text: int) -> Encoder:
    """With InternVL 2.5's projector."""
    config = InternVLVisionConfig(
        hidden_size=hidden,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        attention_bias=True,
        image_size=[side, side],
        patch_size=[14, 14],
    )

    def projector() -> nn.Module:
        linears = nn.Linear(4 * hidden, text), nn.GELU(), nn.Linear(text, text)
        return nn.Sequential(Shuffle(), nn.LayerNorm(4 * hidden), *linears)

    return Encoder(name, side, 14, hidden, _build(InternVLVisionModel, config), _internvl, projector)


def qwen(name: str, side: int, hidden: int, layers: int, heads: int, mlp: int, text: int) -> Encoder:
    """Qwen2.5-VL: windows of 112 pixels but in every eighth layer; its merger belongs to the tower."""
    config = Qwen2_5_VLVisionConfig(
        depth=layers,
        hidden_size=hidden,
        intermediate_size=mlp,
        num_heads=heads,
        out_hidden_size=text,
        fullatt_block_indexes=list(range(7, layers, 8)),
    )
    model = Qwen2_5_VisionTransformerPretrainedModel
    return Encoder(name, side, 14, hidden, _build(model, config), _qwen, merge=2)


VIT_B = vit("ViT-B/16-224", 224, 16, 768, 12, 12, 3072)
ENCODERS = (
    VIT_B,
    clip("CLIP-ViT-L/14-336", 336, 1024, 24, 16, 4096, 4096),
    siglip("SigLIP-so400m/14-384", 384, 1152, 27, 16, 4304, 2048),
    internvl("InternViT-300M/14-448", 448, 1024, 24, 16, 4096, 896),
    qwen("Qwen2.5-VL/14-448", 448, 1280, 32, 16, 3420, 3584),
    qwen("Qwen2.5-VL/14-1008", 1008, 1280, 32, 16, 3420, 3584),
)


class Model:
    """One encoder's weights in one dtype on one device, and the ways through them."""

    def __init__(self, encoder: Encoder, device: torch.device, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        self.encoder, self.device, self.dtype = encoder, device, dtype
        self.tower: Any = encoder.build().to(device, dtype)
        self.projector: nn.Module | None = None
        if encoder.projector is not None:
            self.projector = encoder.projector().to(device, dtype).requires_grad_(False)
        self.parts = encoder.parts(self.tower)
        # in fp32, as image processors keep them
        self._shift, self._scale = (255 * torch.tensor(v, device=device).view(3, 1, 1) for v in (MEAN, STD))

    @property
    def skip(self) -> int:
        """Tokens in front of an image's patches."""
        return int(self.parts.cls is not None)

    def project(self, hidden: torch.Tensor) -> torch.Tensor:
        """[images, tokens, hidden] → rows, as transformers does; the hidden states where there is no projector."""
        if self.projector is None:
            return hidden
        rows: torch.Tensor = self.projector(hidden[:, self.skip :])
        return rows

    def our_projection(self, backend: Backend) -> Call:
        """The same rows by `kernels.project`."""
        if self.projector is None:
            return lambda hidden: hidden
        folded = self._folded_projector(self.projector, backend)
        return lambda hidden: project(hidden, folded, backend=backend).view(len(hidden), -1, folded.width)

    def _folded_projector(self, projector: nn.Module, backend: Backend) -> FoldedProjector:
        modules = list(projector.modules())
        norms = [one for one in modules if isinstance(one, nn.LayerNorm)]
        return fold_projector(
            [Linear(one.weight, one.bias) for one in modules if isinstance(one, nn.Linear)],
            norm=Norm("layer", "row", norms[0].weight, norms[0].bias, norms[0].eps) if norms else None,
            merge=Merge(2) if any(isinstance(one, Shuffle) for one in modules) else None,
            skip=self.skip,
            dtype=self.dtype,
            device=self.device,
            backend=backend,
        )

    def pixel_values(self, tiles: torch.Tensor) -> torch.Tensor:
        """uint8 [images, side, side, 3] → what transformers' model takes."""
        if self.encoder.merge == 1:
            return normalise(tiles, self._shift, self._scale).to(self.dtype)
        patches = self._packed(tiles)  # [patches, P, P, 3]
        values = normalise(patches, self._shift, self._scale).to(self.dtype)  # [patches, 3, P, P]
        return values.unsqueeze(2).expand(-1, -1, 2, -1, -1).flatten(1)  # a still fills both frames

    def _packed(self, tiles: torch.Tensor) -> torch.Tensor:
        """[images, side, side, 3] → [patches, P, P, 3], patches that are merged next to each other."""
        m, p = self.encoder.merge, self.encoder.patch
        side = self.encoder.side // p // m
        grid = tiles.view(len(tiles), side, m, p, side, m, p, 3).permute(0, 1, 4, 2, 5, 3, 6, 7)
        return grid.reshape(-1, p, p, 3)

    def _grids(self, images: int) -> torch.Tensor:
        side = self.encoder.side // self.encoder.patch
        return torch.tensor([[1, side, side]] * images, device=self.device)

    def transformers(self) -> Call:
        """Normalisation as its image processors do it, its model, the projector."""
        if self.encoder.merge == 1:
            body = self.transformers_body()
            return lambda tiles: body(self.pixel_values(tiles))
        return lambda tiles: self.tower(self.pixel_values(tiles), self._grids(len(tiles))).pooler_output

    def transformers_body(self) -> Call:
        """From what its image processors leave, for towers without merge."""
        return lambda values: self.project(self.tower(values).last_hidden_state)

    def transformers_front(self) -> Call:
        if self.encoder.merge == 1:
            return lambda tiles: self.tower.embeddings(self.pixel_values(tiles))
        return lambda tiles: self.tower.patch_embed(self.pixel_values(tiles))

    def choose_body(self) -> Body:
        """What the service's "auto" takes here."""
        try:
            read_layer(self.parts.layers[0])
        except UnsupportedLayer as error:
            return choose_body(self.device, self.dtype, obstacle=str(error))
        return choose_body(self.device, self.dtype)

    def ours(self, backend: Backend) -> Call:
        """`kernels.patch_embed`, then `kernels.blocks` or transformers' layers, `kernels.project`."""
        front = self.our_front(backend)
        if self.encoder.merge > 1:
            return self._ours_packed(front)
        body = self._body()
        before, after, back = self.parts.before, self.parts.after, self.our_projection(backend)
        return lambda tiles: back(after(body(before(front(tiles)))))

    def our_front(self, backend: Backend) -> Call:
        p, size, pixels = self.parts, self.encoder.patch, self.encoder.pixels
        folded: FoldedPatchEmbed = fold_patch_embed(
            p.weight, p.bias, MEAN, STD, p.position, p.cls, dtype=self.dtype, device=self.device
        )
        if self.encoder.merge == 1:
            return lambda tiles: patch_embed(tiles[:, :pixels, :pixels], folded, backend=backend)
        return lambda tiles: patch_embed(
            self._packed(tiles).view(1, -1, size, 3), folded, backend=backend
        ).squeeze(0)

    def _body(self) -> Call:
        if self.choose_body() == "fused":
            return FusedBlocks([read_layer(layer) for layer in self.parts.layers], self.dtype)
        mask = (None,) if self.parts.mask else ()

        def layers(hidden: torch.Tensor) -> torch.Tensor:
            for layer in self.parts.layers:
                hidden = layer(hidden, *mask)
            return hidden

        return layers

    def _ours_packed(self, front: Call) -> Call:
        """Transformers' own forward around our front: windows, rotary positions and merger are the model's."""
        tower: Any = self.tower

        def run(tiles: torch.Tensor) -> torch.Tensor:
            kept = tower.patch_embed
            tower.patch_embed = _Given(front(tiles))
            try:
                rows: torch.Tensor = tower(tiles, self._grids(len(tiles))).pooler_output
            finally:
                tower.patch_embed = kept
            return rows

        return run

    def products(self) -> list[nn.Linear]:
        """Every linear layer of the blocks."""
        return [module for module in self.parts.layers.modules() if isinstance(module, nn.Linear)]


class _Given(nn.Module):
    """Stands where a patch embedding was and gives what was made already."""

    def __init__(self, hidden: torch.Tensor) -> None:
        super().__init__()
        self._hidden = hidden

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        return self._hidden

"""LightOnOCR's vision encoder and projector, as transformers' `LightOnOcrModel.get_image_features` computes them.

They are Mistral 3's under other names (see `names.py`): Pixtral's blocks to the last, RMSNorm, a product that merges a
cell's patches, two matrices without biases.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from transformers import LightOnOcrConfig, Mistral3Config
from transformers.models.pixtral.modeling_pixtral import PixtralAttentionLayer

from kernels.blocks import Body
from kernels.patch_embed import fold_patch_embed
from service.checkpoint.files import read_json, read_normalisation
from service.checkpoint.tensors import TowerTensors
from service.errors import ConfigurationError
from service.families.lighton_ocr.files import FIXED
from service.families.lighton_ocr.names import own_name
from service.families.native.steps import SteppedLayers, straight
from service.families.native.tower import NativeTower, choose_packed_body
from service.families.pixtral.blocks import load_blocks
from service.families.pixtral.projector import load_projector
from service.families.towers import TowerChoice

_KINDS: dict[str, Any] = {"lighton_ocr": LightOnOcrConfig, "mistral3": Mistral3Config}
_EPS = 1e-5
"""Of the norm in front of the blocks, as transformers' model has it; no configuration says it."""


def choose_body(folder: Path, *, device: torch.device, dtype: torch.dtype, requested: str) -> Body:
    """Who runs the blocks of this checkpoint's tower; reads config.json alone. Raises ConfigurationError."""
    with torch.device("meta"):
        layer = PixtralAttentionLayer(_config(folder).vision_config)
    return choose_packed_body(layer, device, requested)


def load(folder: Path, choice: TowerChoice) -> NativeTower:
    """Reads config.json, the image processor's mean and std, and the tensors of tower and projector.

    Raises ConfigurationError when something is missing, or asks for what transformers' model cannot do either.
    """
    config = _config(folder)
    vision, hidden = config.vision_config, config.vision_config.hidden_size
    tensors = TowerTensors(folder, own_name)
    patches = tensors.take(
        "vision_tower.patch_conv.weight", (hidden, 3, vision.patch_size, vision.patch_size)
    )
    norm = tensors.take("vision_tower.ln_pre.weight", (hidden,)).to(choice.device, choice.dtype)
    back = load_projector(tensors, config, folder, choice)
    blocks = load_blocks(tensors, vision, vision.num_hidden_layers, choice)
    tensors.refuse_rest()
    layers = SteppedLayers(
        lambda patch, sequence: F.rms_norm(patch, (hidden,), norm, _EPS),
        straight(blocks, back),
        config.spatial_merge_size,
        choice.device,
    )
    mean, std = read_normalisation(folder)
    front = fold_patch_embed(patches, None, mean, std, None, None, dtype=choice.dtype, device=choice.device)
    return NativeTower(front, layers, choice, width=back.width, merge=config.spatial_merge_size)


def _config(folder: Path) -> Any:
    """config.json, as the Mistral 3 that it is but for its language model. Raises ConfigurationError."""
    file = folder / "config.json"
    try:
        own = _KINDS[read_json(file)["model_type"]].from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever transformers' validation makes of the file
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"model: {file} is not LightOnOCR's: {reason}") from None
    vision = own.vision_config
    for name, needed in (("model_type", "pixtral"), ("num_channels", 3)):
        if (value := getattr(vision, name)) != needed:
            raise ConfigurationError(
                f"model: {file} has a vision_config with {name} {value!r}; LightOnOCR's is {needed!r}"
            )
    if vision.hidden_size % (4 * vision.num_attention_heads):
        raise ConfigurationError(
            f"model: {file} has hidden_size {vision.hidden_size} and num_attention_heads {vision.num_attention_heads}; "
            "each head needs a multiple of four"
        )
    return Mistral3Config(
        vision_config=vision,
        text_config=own.text_config,
        spatial_merge_size=own.spatial_merge_size,
        **FIXED,
    )

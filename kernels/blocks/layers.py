"""Blocks out of transformers' modules: which names ViT, CLIP, SigLIP and InternVL give to the same parameters.

Only classes that are listed are read, since a module that merely looks alike may compute something else. Imports
nothing of transformers: a class is known by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from kernels.blocks.reference import Activation, Affine, Block


class UnsupportedLayer(ValueError):
    """The layer computes something that a `Block` does not; the message says what."""


@dataclass(frozen=True, slots=True)
class _Names:
    attention: str
    norms: tuple[str, str]
    out: str
    heads: str
    scale: str


_OPENAI = _Names("self_attn", ("layer_norm1", "layer_norm2"), "out_proj", "num_heads", "scale")
_LAYERS = {
    "ViTLayer": _Names(
        "attention", ("layernorm_before", "layernorm_after"), "o_proj", "num_attention_heads", "scaling"
    ),
    "CLIPEncoderLayer": _OPENAI,
    "SiglipEncoderLayer": _OPENAI,
    "InternVLVisionLayer": _Names(
        "attention", ("layernorm_before", "layernorm_after"), "projection_layer", "num_heads", "scale"
    ),
}


def read_layer(layer: nn.Module) -> Block:
    """The block that `layer` is; the tensors are the layer's own.

    Raises UnsupportedLayer: another class, norms other than LayerNorm, normalised queries and keys, an activation
    other than GELU in its three forms, or a version of transformers that lays the class out otherwise.
    """
    kind = type(layer).__name__
    if kind not in _LAYERS:
        raise UnsupportedLayer(f"{kind} is none of {', '.join(_LAYERS)}")
    try:
        return _read(layer, _LAYERS[kind])
    except AttributeError as error:
        raise UnsupportedLayer(
            f"{kind} of this version of transformers is laid out otherwise: {error}"
        ) from None


def _read(layer: Any, names: _Names) -> Block:
    attention = getattr(layer, names.attention)
    norms = [getattr(layer, name) for name in names.norms]
    for norm in norms:
        if type(norm) is not nn.LayerNorm:
            raise UnsupportedLayer(f"its norm is {type(norm).__name__}, needed is LayerNorm")
    for name in ("q_norm", "k_norm"):
        if not isinstance(getattr(attention, name, nn.Identity()), nn.Identity):
            raise UnsupportedLayer("it normalises queries and keys")
    scales = getattr(layer, "lambda_1", None), getattr(layer, "lambda_2", None)
    return Block(
        norm_before=Affine(norms[0].weight, norms[0].bias),
        query=_linear(attention.q_proj),
        key=_linear(attention.k_proj),
        value=_linear(attention.v_proj),
        out=_linear(getattr(attention, names.out)),
        norm_after=Affine(norms[1].weight, norms[1].bias),
        up=_linear(layer.mlp.fc1),
        down=_linear(layer.mlp.fc2),
        heads=int(getattr(attention, names.heads)),
        scale=float(getattr(attention, names.scale)),
        eps=(norms[0].eps, norms[1].eps),
        activation=read_activation(layer.mlp.activation_fn),
        layer_scale=None if scales[0] is None or scales[1] is None else (scales[0], scales[1]),
    )


def _linear(module: Any) -> Affine:
    if type(module) is not nn.Linear:
        raise UnsupportedLayer(f"it has a {type(module).__name__} where a Linear was looked for")
    return Affine(module.weight, module.bias)


def read_activation(module: Any) -> Activation:
    """By class, as transformers names them, and by the function that the class holds."""
    kind = type(module).__name__
    if kind == "QuickGELUActivation":
        return "quick_gelu"
    function: Callable[..., Any] | None = getattr(module, "act", None)
    if kind == "GELUActivation" and getattr(function, "__name__", "") == "gelu":
        return "gelu"
    if kind == "GELUTanh" and getattr(function, "keywords", None) == {"approximate": "tanh"}:
        return "gelu_tanh"
    raise UnsupportedLayer(f"its activation is {kind}, known are GELU, its tanh form and QuickGELU")

"""A linear layer in fp8 on a GPU: PyTorch's product takes a scale for each row and each channel, and the bias.

Rows are quantised by a few operations of PyTorch's own; in a CUDA graph their launches cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kernels.eight_bit.reference import FP8_LARGEST, scales, to_fp8

ALIGNMENT = 16
"""Of a matrix's sides, in numbers: what the tensor cores' loads ask for."""


class CannotQuantise(ValueError):
    """The layers of a tower cannot be computed in 8 bits; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Fp8Linear:
    weight: torch.Tensor
    """e4m3 [outputs, inputs]"""
    channels: torch.Tensor
    """Scales of the outputs, fp32 [1, outputs]."""
    bias: torch.Tensor | None
    """[outputs], in the dtype of the activations, as are all results."""

    @torch.inference_mode()
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[..., inputs] → [..., outputs]"""
        shape = *x.shape[:-1], len(self.weight)
        rows = x.reshape(-1, x.shape[-1])
        if not len(rows):
            return x.new_empty(shape)
        scale = scales(rows, FP8_LARGEST)
        made = torch._scaled_mm(
            to_fp8(rows, scale),
            self.weight.t(),
            scale,
            self.channels,
            bias=self.bias,
            out_dtype=x.dtype,
            use_fast_accum=True,
        )
        return made.view(shape)


def pack_fp8(
    weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype, device: torch.device
) -> Fp8Linear:
    """The layer for activations in `dtype` on `device`; `weight` is [outputs, inputs], and no memory is shared with it.

    Raises CannotQuantise for widths that the product does not take.
    """
    if any(side % ALIGNMENT for side in weight.shape):
        outputs, inputs = weight.shape
        raise CannotQuantise(
            f"which has a linear layer from {inputs} to {outputs} numbers: fp8 takes multiples of {ALIGNMENT}"
        )
    weight = weight.detach().to(device)
    channels = scales(weight, FP8_LARGEST)
    return Fp8Linear(
        weight=to_fp8(weight, channels).contiguous(),
        channels=channels.t().contiguous(),
        bias=None if bias is None else bias.detach().to(device, dtype, copy=True),
    )

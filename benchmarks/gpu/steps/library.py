"""Whether vLLM's compiled library loads beside this PyTorch, and one of its kernels is right: an RMSNorm."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

import torch

LIBRARY = "vllm._C_stable_libtorch"
"""Of builds for CUDA."""
TOLERANCE = 2e-2
"""In bf16."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.steps.library", description=__doc__)
    parser.add_argument("--device", default="cuda", help="a torch device (default: %(default)s)")
    device = torch.device(parser.parse_args(arguments).device)
    load(device)
    print(f"vLLM's library is loaded beside PyTorch {torch.__version__}", flush=True)
    error = norm_error(device)
    print(f"rms_norm is off by {error:.2e}, allowed are {TOLERANCE:.0e}")
    return 0 if error <= TOLERANCE else 1


def load(device: torch.device) -> None:
    """Raises ImportError, with the linker's own words, where vLLM itself would only warn."""
    if device.type == "cuda":
        import_module(LIBRARY)
    else:  # which of a CPU's builds it is, vLLM knows
        import_module("vllm.platforms").current_platform.import_kernels()


def norm_error(device: torch.device) -> float:
    """Largest difference of vLLM's kernel from the same in fp32."""
    random = torch.Generator().manual_seed(0)
    hidden = torch.randn(64, 1024, generator=random).to(device, torch.bfloat16)
    weight = torch.randn(1024, generator=random).to(device, torch.bfloat16)
    made = torch.full_like(hidden, float("nan"))
    torch.ops._C.rms_norm(made, hidden, weight, 1e-6)
    wide = hidden.float()
    exact = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6) * weight.float()
    difference = (made.float() - exact).abs() / exact.abs().clamp(min=1)
    return float(difference.nan_to_num(float("inf")).max())


if __name__ == "__main__":
    sys.exit(main())

"""Without a GPU the blocks with Triton kernels run in its interpreter, which must be chosen before triton is imported:
test_interpreter.py runs them in a process of their own."""

from __future__ import annotations

import os

import torch

collect_ignore = []
if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    collect_ignore.append("test_kernel_blocks.py")

"""Whether the image's compilers make kernels: FlashInfer's for sampling, which vLLM compiles when it first starts."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

ARCHITECTURE = "9.0a"
"""Of an H100; the compiler needs no GPU to make kernels for one."""
BUILD = """
from flashinfer.jit.sampling import gen_sampling_module
gen_sampling_module().build(verbose=False)
"""


def compiling(python: str, environment: Mapping[str, str]) -> str | None:
    """What prevents it: the end of the compiler's output, or None. Takes minutes."""
    wanted = {**environment, "FLASHINFER_CUDA_ARCH_LIST": ARCHITECTURE, "MAX_JOBS": "1"}
    run = subprocess.run([python, "-c", BUILD], env=wanted, capture_output=True, text=True, check=False)
    return None if run.returncode == 0 else run.stderr[-2000:]

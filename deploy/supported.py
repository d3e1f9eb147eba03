"""Says why Patchbay cannot be installed for this Python on this machine, and exits with 1; else says nothing.

    PYTHON deploy/supported.py

What vLLM's builds and those of its packages are made for decides: Linux with glibc 2.31 or newer, on x86-64 or ARM64,
Python 3.11 to 3.14. Standard library only, and readable by any Python 3, which may be the wrong one.
"""

import platform
import sys

OLDEST, NEWEST = (3, 11), (3, 14)
WITHOUT_TORCHVISION = (3, 14, 1)
"""torchvision 0.28 leaves this one out."""
MACHINES = ("x86_64", "aarch64")
GLIBC = (2, 31)
"""llguidance 1.7, which vLLM 0.32 requires; vLLM's own builds need 2.28."""


def refusal(system, machine, libc, version):
    """A sentence, or None; `libc` as `platform.libc_ver()` gives it, `version` as `sys.version_info`."""
    if system != "Linux":
        return (
            "Patchbay runs on Linux, and vLLM publishes no build for {}: use a Linux machine, or a container or "
            "virtual machine with Linux (docs/containers.md).".format(
                "macOS" if system == "Darwin" else system
            )
        )
    if machine not in MACHINES:
        return "vLLM publishes no build for {}: it has them for {}.".format(machine, " and ".join(MACHINES))
    name, number = libc
    if name != "glibc" or tuple(int(part) for part in number.split(".")[:2]) < GLIBC:
        return (
            "vLLM's builds need glibc {}.{} or newer, and this system has {}: use a distribution with it, or an image "
            "(docs/containers.md).".format(*GLIBC, " ".join(filter(None, libc)) or "another C library")
        )
    if not OLDEST <= tuple(version[:2]) <= NEWEST or tuple(version[:3]) == WITHOUT_TORCHVISION:
        return "Python 3.11 to 3.14 is needed, but not 3.14.1; this is {}. Set PYTHON=/path/to/python3.12.".format(
            ".".join(str(part) for part in version[:3])
        )
    return None


if __name__ == "__main__":
    sys.exit(refusal(platform.system(), platform.machine(), platform.libc_ver(), sys.version_info))

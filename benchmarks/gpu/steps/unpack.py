"""Unpacks an archive of vLLM, and says what it brings: `python -m benchmarks.gpu.steps.unpack ARCHIVE FOLDER`."""

from __future__ import annotations

import sys
import tarfile
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    archive, folder = map(Path, sys.argv[1:] if arguments is None else arguments)
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as file:
        # nothing outside the folder, whatever the archive says
        file.extractall(folder, filter="data")
    found = {each.metadata["Name"]: each.version for each in distributions(path=[str(folder)])}
    print(f"{len(found)} packages in {folder}; vllm {found.get('vllm', 'none')}")
    return 0 if "vllm" in found else 1


if __name__ == "__main__":
    sys.exit(main())

"""A CUDA library with the machine code of sm_90 alone: `python keep_sm90.py IN.so OUT.so`. Standard library only.

The layout of fatbins is not documented: a container has a header of 16 bytes (magic, version, header's size, size of
what follows) and entries, each with its kind, its header's size, its size and, at byte 28, its architecture. Containers
are written anew in their place, so that no offset in the file changes, and what is free then is zeros, which compress
to nothing. A container without code for sm_90 keeps its smallest entry, which never runs there.
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

MAGIC = 0xBA55ED50
MACHINE_CODE = 2
"""The kind of an entry; others are PTX."""
SM = 90


@dataclass(frozen=True, slots=True)
class Entry:
    kind: int
    architecture: int
    content: bytes
    """With its header."""


@dataclass(slots=True)
class Kept:
    containers: int = 0
    size: int = 0
    """Bytes of entries that were kept."""
    foreign: int = 0
    """Containers without machine code for sm_90."""


def prune(data: bytearray, sections: Iterable[tuple[int, int]]) -> Kept:
    """Takes the other entries out of all containers in `sections`, (offset, size) each; in place."""
    kept = Kept()
    for offset, size in sections:
        place = offset
        while place + 16 <= offset + size:
            magic, _, header, length = struct.unpack_from("<IHHQ", data, place)
            if magic != MAGIC:
                place += 8  # padding between containers
                continue
            begin, end = place + header, place + header + length
            found = list(entries(data, begin, end))
            wanted = [each for each in found if (each.kind, each.architecture) == (MACHINE_CODE, SM)]
            kept.foreign += not wanted
            wanted = wanted or [min(found, key=lambda each: len(each.content))]
            body = b"".join(each.content for each in wanted)
            data[begin:end] = body + bytes(length - len(body))
            struct.pack_into("<Q", data, place + 8, len(body))
            kept.containers, kept.size = kept.containers + 1, kept.size + len(body)
            place = (end + 7) // 8 * 8
    return kept


def entries(data: bytes | bytearray, begin: int, end: int) -> Iterator[Entry]:
    while begin < end:
        kind, _, header, size = struct.unpack_from("<HHIQ", data, begin)
        (architecture,) = struct.unpack_from("<I", data, begin + 28)
        yield Entry(kind, architecture, bytes(data[begin : begin + header + size]))
        begin += header + size


def fatbin_sections(listing: str) -> Iterator[tuple[int, int]]:
    """(offset, size) of each section that holds fatbins, from what `readelf --sections --wide` prints."""
    for line in listing.splitlines():
        if re.search(r"\s(\.nv_fatbin|__nv_relfatbin)\s", line):
            # name, type, address, offset, size
            fields = re.sub(r"^\s*\[\s*\d+\]\s*", "", line).split()
            yield int(fields[3], 16), int(fields[4], 16)


def main(source: str, target: str) -> None:
    listed = subprocess.run(
        ["readelf", "--sections", "--wide", source], capture_output=True, text=True, check=True
    )
    data = bytearray(Path(source).read_bytes())
    kept = prune(data, fatbin_sections(listed.stdout))
    Path(target).write_bytes(data)
    print(
        f"{target}: {kept.containers} containers, {kept.size / 2**20:.1f} MiB kept, {kept.foreign} without sm_{SM}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:3])

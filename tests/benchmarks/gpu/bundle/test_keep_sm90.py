"""Fatbins in a library keep their places, and of their entries only what an H100 runs."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.gpu.bundle.keep_sm90 import MAGIC, Entry, entries, fatbin_sections, main, prune

CODE, PTX = 2, 1
Drawn = tuple[int, int, bytes]
ENTRIES = st.lists(
    st.tuples(st.sampled_from([CODE, PTX]), st.sampled_from([80, 90, 100]), st.binary(max_size=40)),
    min_size=1,
    max_size=5,
)


def entry(kind: int, architecture: int, code: bytes) -> bytes:
    header = struct.pack("<HHIQ", kind, 0x101, 64, len(code)).ljust(28, b"\0")
    return (header + struct.pack("<I", architecture)).ljust(64, b"\0") + code


def container(*drawn: Drawn) -> bytes:
    body = b"".join(entry(*each) for each in drawn)
    made = struct.pack("<IHHQ", MAGIC, 1, 16, len(body)) + body
    return made.ljust((len(made) + 7) // 8 * 8, b"\0")


def read(data: bytearray, place: int) -> list[Entry]:
    magic, _, header, length = struct.unpack_from("<IHHQ", data, place)
    assert magic == MAGIC
    return list(entries(data, place + header, place + header + length))


@given(st.lists(ENTRIES, min_size=1, max_size=4), st.integers(0, 3))
def test_what_an_h100_runs_stays_and_nothing_moves(containers: list[list[Drawn]], gap: int) -> None:
    places, section = [], b""
    for drawn in containers:
        places.append(8 + len(section))
        section += container(*drawn) + bytes(8 * gap)
    data = bytearray(b"before.." + section + b"after")
    kept = prune(data, [(8, len(section))])
    assert len(data) == len(section) + 13 and data.startswith(b"before..") and data.endswith(b"after")
    assert kept.containers == len(containers)
    for place, drawn in zip(places, containers, strict=True):
        found = read(data, place)
        wanted = [entry(*each) for each in drawn if each[:2] == (CODE, 90)]
        smallest = min((entry(*each) for each in drawn), key=len)
        assert [each.content for each in found] == (wanted or [smallest])
    assert kept.foreign == sum(all(each[:2] != (CODE, 90) for each in drawn) for drawn in containers)
    assert kept.size == sum(len(each.content) for place in places for each in read(data, place))


def test_sections_are_read_from_the_listing() -> None:
    listing = (
        "  [Nr] Name              Type            Address          Off    Size   ES Flg Lk Inf Al\n"
        "  [ 9] .text             PROGBITS        0000000000001040 001040 000123 00  AX  0   0 16\n"
        "  [17] .nv_fatbin        PROGBITS        0000000000002000 002000 00a0f8 00   A  0   0  8\n"
        "  [18] __nv_relfatbin    PROGBITS        000000000000d000 00d000 000020 00   A  0   0  8\n"
        "  [19] .nvFatBinSegment  PROGBITS        000000000000e000 00e000 000018 00  WA  0   0  8\n"
    )
    assert list(fatbin_sections(listing)) == [(0x2000, 0xA0F8), (0xD000, 0x20)]


@pytest.mark.skipif(
    not all(map(shutil.which, ("gcc", "objcopy", "readelf"))), reason="needs gcc and binutils"
)
def test_a_library_is_pruned_where_its_section_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fatbin, library, target = tmp_path / "fatbin", tmp_path / "in.so", tmp_path / "out.so"
    fatbin.write_bytes(container((CODE, 80, b"a" * 999), (CODE, 90, b"b" * 999), (PTX, 90, b"c" * 999)))
    (tmp_path / "empty.c").write_text("int answer(void) { return 42; }\n")
    subprocess.run(["gcc", "-shared", "-o", library, tmp_path / "empty.c"], check=True)
    subprocess.run(["objcopy", "--add-section", f".nv_fatbin={fatbin}", library], check=True)
    main(str(library), str(target))
    assert "1 containers, 0.0 MiB kept, 0 without sm_90" in capsys.readouterr().out
    made = target.read_bytes()
    assert len(made) == library.stat().st_size
    assert b"b" * 999 in made and b"aaa" not in made and b"ccc" not in made

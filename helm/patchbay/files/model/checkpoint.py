"""The program of the Job that fills the model claim, and of the containers that wait for it.

    checkpoint.py fetch FOLDER SOURCE      checkpoint.py wait FOLDER SOURCE

SOURCE is JSON: `hub` and `revision`, or `url` and `sha256` of a tar archive; `files` are SHA-256 sums by name. A
checkpoint is put together beside its FOLDER and renamed, so what has the name is whole; a note in it says what it was
made from.
"""

import hashlib
import json
import os
import shutil
import sys
import tarfile
import time
import urllib.request
from pathlib import Path

NOTE = ".patchbay-source.json"
PIECE = 1 << 20


def noted(folder: Path) -> object:
    """What a checkpoint was made from; None if there is none."""
    note = folder / NOTE
    return json.loads(note.read_text()) if note.is_file() else None


def sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check(file: Path, wanted: str) -> None:
    if not file.is_file():
        sys.exit(f"{file.name}: not part of the checkpoint, although its checksum was given")
    found = sha256(file)
    if found != wanted.lower():
        sys.exit(f"{file.name}: its SHA-256 is {found}, and {wanted.lower()} was wanted")


def from_hub(source: dict, folder: Path) -> None:
    from huggingface_hub import snapshot_download

    # files that are whole are kept: a second try goes on where the first one ended
    snapshot_download(source["hub"], revision=source["revision"] or None, local_dir=folder)


def from_archive(source: dict, folder: Path) -> None:
    archive = folder.with_name(folder.name + ".archive")
    request = urllib.request.Request(source["url"])
    if header := os.environ.get("AUTHORIZATION"):
        # for this host alone, not for those that it redirects to
        request.add_unredirected_header("Authorization", header)
    with urllib.request.urlopen(request, timeout=60) as reply, archive.open("wb") as stream:
        shutil.copyfileobj(reply, stream, PIECE)
    check(archive, source["sha256"])
    shutil.rmtree(folder)
    folder.mkdir()
    with tarfile.open(archive) as packed:
        # refuses absolute paths, links that lead out, and devices
        packed.extractall(folder, filter="data")
    archive.unlink()
    inside = list(folder.iterdir())
    if len(inside) == 1 and inside[0].is_dir():
        outer = inside[0].rename(folder.with_name(folder.name + ".outer"))
        folder.rmdir()
        outer.rename(folder)


def fetch(folder: Path, source: dict) -> None:
    if noted(folder) == source:
        print(f"{folder} is there already", flush=True)
        return
    if folder.exists():
        sys.exit(
            f"{folder} is something else, made from {noted(folder)}: choose another folder in model.name"
        )
    mark = hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()[:8]
    part = folder.with_name(f".{folder.name}.{mark}")
    part.mkdir(parents=True, exist_ok=True)
    print(f"fetching {source.get('hub') or source['url']} into {folder}", flush=True)
    (from_hub if source.get("hub") else from_archive)(source, part)
    for name, wanted in source["files"].items():
        check(part / name, wanted)
    if not (part / "config.json").is_file():
        sys.exit("there is no config.json in it: this is no checkpoint")
    (part / NOTE).write_text(json.dumps(source))
    part.rename(folder)
    print(f"{folder} is complete", flush=True)


def wait(folder: Path, source: dict) -> None:
    seconds = 0
    while noted(folder) != source:
        if seconds % 60 == 0:
            print(f"waiting for {folder}, which the Job of this release downloads", flush=True)
        time.sleep(5)
        seconds += 5


if __name__ == "__main__":
    {"fetch": fetch, "wait": wait}[sys.argv[1]](Path(sys.argv[2]), json.loads(sys.argv[3]))

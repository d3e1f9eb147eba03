"""The processes that decode: `python -m service.decode.worker`, started by the fork server's other half.

The process itself loads and warms up the libraries once, then forks a worker for each set of descriptors that it is
sent; it never sees a stranger's bytes. A worker reads a message (width, height, views, and the encoded bytes),
decodes, cuts, writes the tiles into the memory that it shares with the pool, and answers with one word. It never
answers in a decoder's words: they can hold addresses.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import socket
import sys
import warnings
from typing import Any, NoReturn

import numpy as np
import torch
from PIL import Image

from service.decode.causes import Cause, cause_of
from service.decode.framing import read_message, write_message
from service.decode.pixels import decode
from service.decode.sandbox import allow_seconds, close_in, die_with_parent
from service.decode.tiling import cut
from service.decode.warmup import warm_up
from service.domain import Filter, View

_BYTES_PER_PIXEL = 24
"""Most memory alive at once: an animated WebP's canvases 12, Pillow's image 4, white canvas 4, arrays 3."""
_SPARE_BYTES = 256 * 1024**2


def main() -> None:
    setup = json.loads(sys.argv[1])
    die_with_parent(setup["parent"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # workers that end leave no zombies
    Image.MAX_IMAGE_PIXELS = setup["max_pixels"]
    # among them torch's, that Pillow's bytes are read-only: nobody writes them
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    torch.set_num_threads(1)
    warm_up()
    _silence()
    with socket.socket(fileno=setup["control"]) as control:
        control.sendall(b"ready")
        while True:
            message, received, _, _ = socket.recv_fds(control, 16, 3)
            if not message:
                return
            _fork(control, received, setup)


def _fork(control: socket.socket, received: list[int], setup: dict[str, Any]) -> None:
    """Answers with the worker's process id and a descriptor for it, which no later process can inherit."""
    parent = os.getpid()
    requests, answers, memory = received
    if (pid := os.fork()) == 0:
        control.close()
        _work(requests, answers, memory, parent, setup)
    handles = [os.pidfd_open(pid)]
    socket.send_fds(control, [str(pid).encode()], handles)
    for descriptor in (*received, *handles):
        os.close(descriptor)


def _work(requests: int, answers: int, memory: int, parent: int, setup: dict[str, Any]) -> NoReturn:
    """One worker's life. Leaves without Python's clean-up, which belongs to the process that was forked."""
    try:
        die_with_parent(parent)
        tiles = torch.from_numpy(np.frombuffer(mmap.mmap(memory, setup["tile_bytes"]), np.uint8))
        close_in(setup["max_pixels"] * _BYTES_PER_PIXEL + 3 * setup["tile_bytes"] + _SPARE_BYTES)
        write_message(answers, {"answer": "ready"})
        while True:
            request, data = read_message(requests, most_bytes=sys.maxsize)
            allow_seconds(setup["seconds"])
            write_message(answers, {"answer": _answer(request, data, setup["max_pixels"], tiles)})
    finally:
        # the pool sees the closed pipe; what ended the worker is told by nobody
        os._exit(0)


def _answer(request: dict[str, Any], data: bytes, max_pixels: int, memory: torch.Tensor) -> str:
    """`done`, or the cause why not."""
    width, height = request["width"], request["height"]
    if width * height > max_pixels:
        return Cause.SIZE
    views = [_view(*fields) for fields in request["views"]]
    try:
        _write(cut(torch.from_numpy(decode(data, width, height)), views), memory)
    # whatever a decoder may raise on a stranger's bytes, of its words none leaves the process
    except Exception as error:
        return cause_of(error)
    return "done"


def _view(width: int, height: int, tile_width: int, tile_height: int, *rest: Any) -> View:
    """As `dataclasses.astuple` and JSON leave it."""
    crop, resize, offset, fill, filter, via = rest
    return View(
        *(width, height, tile_width, tile_height),
        crop and tuple(crop),
        resize and tuple(resize),
        tuple(offset),
        tuple(fill),
        Filter(filter),
        tuple(map(tuple, via)),
    )


def _write(views: list[torch.Tensor], memory: torch.Tensor) -> None:
    """The views' tiles one after the other: uint8 [n, tile_h, tile_w, 3] each."""
    begin = 0
    for tiles in views:
        memory[begin : begin + tiles.numel()].copy_(tiles.reshape(-1))
        begin += tiles.numel()


def _silence() -> None:
    """From here on nothing that a library prints leaves the process."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


if __name__ == "__main__":
    main()

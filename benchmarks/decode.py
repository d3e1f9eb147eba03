"""From a file's bytes to tiles, on one core: Patchbay's decoder against Pillow and transformers' image processor.

    python -m benchmarks.decode --out rows.csv

The second is what an engine does with an image: `Image.open(…).convert("RGB")`, then the checkpoint's processor; here
without its normalisation, which Patchbay leaves to the kernel. Tiles of 448, at most 12, as InternVL's checkpoints cut
them. In one process, in turns, on noise with a photograph's spectrum. Exit status 1, and no table, when a byte differs.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from PIL import Image
from transformers import GotOcr2ImageProcessor
from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

from kernels.measure import alternate, percentiles
from kernels.report import describe_machine
from loadtests.pictures import photo
from service.decode.pixels import decode
from service.decode.tiling import cut
from service.domain import View

SIZES = ((640, 480), (1280, 960), (1920, 1080), (4000, 3000), (6000, 4000))
KINDS = ("JPEG", "PNG")
SIDE = 448
MOST = 12


def encoded(kind: str, size: tuple[int, int]) -> bytes:
    data = photo(1, 0, size)
    if kind == "JPEG":
        return data
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).save(file, kind)
    return file.getvalue()


def views_of(width: int, height: int) -> tuple[View, ...]:
    columns, rows = get_optimal_tiled_canvas((height, width), (SIDE, SIDE), 1, MOST)
    grid = View(columns * SIDE, rows * SIDE, SIDE, SIDE)
    views = (grid, View(SIDE, SIDE, SIDE, SIDE)) if columns * rows > 1 else (grid,)
    return views


def calls(data: bytes, size: tuple[int, int]) -> dict[str, Callable[[], torch.Tensor]]:
    """Each: uint8 [tiles, SIDE, SIDE, 3], the thumbnail last."""
    processor = GotOcr2ImageProcessor(
        size={"height": SIDE, "width": SIDE}, crop_to_patches=True, do_rescale=False, do_normalize=False
    )
    views = views_of(*size)

    def ours() -> torch.Tensor:
        return torch.cat(cut(torch.from_numpy(decode(data, *size)), views))

    def usual() -> torch.Tensor:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        made = processor(image, min_patches=1, max_patches=MOST, return_tensors="pt")["pixel_values"]
        return made.permute(0, 2, 3, 1)

    return {"patchbay": ours, "pillow and transformers": usual}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=11, help="default %(default)s")
    parser.add_argument("--out", type=Path, help="gets the rows as CSV")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, lines = [], ["| image | Pillow and transformers | Patchbay | |", "|---|---|---|---|"]
    machine = asdict(describe_machine(torch.device("cpu")))
    for kind in KINDS:
        for size in SIZES:
            data = encoded(kind, size)
            both = calls(data, size)
            ours, usual = (make() for make in both.values())
            if not torch.equal(ours, usual):
                print(f"{kind} {size}: the tiles differ", file=sys.stderr)
                return 1
            image = f"{kind} {size[0]}×{size[1]}"
            medians, cells = [], []
            for provider, seconds in alternate(both, options.rounds, torch.device("cpu"), "eager").items():
                p20, p50, p80, _ = (microseconds / 1000 for microseconds in percentiles(seconds))
                medians.append(p50)
                cells.append(f"{p50:.1f} ms ({p20:.1f}–{p80:.1f})")
                figures = {"p20_ms": round(p20, 2), "p50_ms": round(p50, 2), "p80_ms": round(p80, 2)}
                rows.append(
                    {
                        "image": image,
                        "bytes": len(data),
                        "tiles": len(ours),
                        "provider": provider,
                        **figures,
                        **machine,
                    }
                )
            lines.append(f"| {image} | {cells[1]} | {cells[0]} | {medians[1] / medians[0]:.2f} × |")
    print("\n".join(lines))
    if options.out:
        with options.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())

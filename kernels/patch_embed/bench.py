"""patch_embed against the chain it replaces: correct first, then timed in turns.

Per shape and dtype every provider's result is held against the chain in fp64. Ours must be at most as far off as
the chain in its own dtype; otherwise no time of ours is reported for it. Random weights and pixels: the work does
not depend on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from kernels.backend import Backend, choose_backend
from kernels.measure import Call, alternate, percentiles, relative_error
from kernels.patch_embed import FoldedPatchEmbed, fold_patch_embed, patch_embed
from kernels.patch_embed.reference import embed, normalise, unfused
from kernels.rows import Machine, Report, Row

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""CLIP's normalisation."""
EXACT_ENOUGH = 1e-6
"""Below this an fp32 result is right, even where the chain happens to be closer."""

NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}


@dataclass(frozen=True, slots=True)
class Shape:
    name: str
    side: int
    patch: int
    hidden: int
    cls: bool = True

    @property
    def patches(self) -> int:
        return (self.side // self.patch) ** 2

    @property
    def tokens(self) -> int:
        return self.patches + self.cls

    def flops(self, batch: int) -> int:
        return 2 * batch * self.patches * 3 * self.patch**2 * self.hidden

    def least_bytes(self, batch: int, dtype: torch.dtype) -> int:
        """Pixels and weights in, the offsets' fp32 table in, tokens out; once each."""
        pixels = batch * self.side**2 * 3
        weights = 3 * self.patch**2 * self.hidden * dtype.itemsize
        return pixels + weights + self.tokens * self.hidden * (4 + batch * dtype.itemsize)


VIT_L = Shape("ViT-L/14-336", 336, 14, 1024)
DEMO = Shape("demo/14-112", 112, 14, 128)
ON_CPU = ((VIT_L, 8), (DEMO, 8))
ON_GPU = tuple(
    (shape, batch)
    for shape in (
        VIT_L,
        Shape("SigLIP-so400m/14-378", 378, 14, 1152, cls=False),
        Shape("InternViT-300M/14-448", 448, 14, 1024),
        Shape("ViT-B/16-224", 224, 16, 768),
    )
    for batch in (1, 8, 64)
)


def run(device: torch.device, rounds: int, machine: Machine) -> Report:
    """Gate and time every shape that suits the device."""
    backend = choose_backend(device)
    gpu = device.type == "cuda"
    report = Report([], [])
    for shape, batch in ON_GPU if gpu else ON_CPU:
        for dtype in (torch.bfloat16,) if gpu else (torch.bfloat16, torch.float32):
            case = Case.draw(shape, batch, dtype, device)
            with torch.inference_mode():
                errors = measure_errors(case, backend)
                if failure := gate(case, backend, errors):
                    report.failures.append(failure)
                    continue
                for mode in ("eager", "graph" if gpu else "processor"):
                    seconds = alternate(
                        {**providers(case, backend), "gemm": floor(case)}, rounds, device, mode
                    )
                    report.rows.extend(_rows(case, mode, seconds, errors, machine))
    return report


@dataclass(frozen=True, slots=True)
class Case:
    """One shape, batch and dtype with its random pixels and an embedding layer as a checkpoint holds it."""

    shape: Shape
    batch: int
    dtype: torch.dtype
    tiles: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor
    position: torch.Tensor
    cls: torch.Tensor | None

    @staticmethod
    def draw(shape: Shape, batch: int, dtype: torch.dtype, device: torch.device) -> Case:
        random = torch.Generator(device).manual_seed(0)

        def parameter(*size: int) -> torch.Tensor:
            return (0.02 * torch.randn(*size, device=device, generator=random)).to(dtype)

        size = (batch, shape.side, shape.side, 3)
        return Case(
            shape=shape,
            batch=batch,
            dtype=dtype,
            tiles=torch.randint(0, 256, size, dtype=torch.uint8, device=device, generator=random),
            weight=parameter(shape.hidden, 3, shape.patch, shape.patch),
            bias=parameter(shape.hidden),
            position=parameter(shape.tokens, shape.hidden),
            cls=parameter(shape.hidden) if shape.cls else None,
        )

    def __str__(self) -> str:
        return f"{self.shape.name} batch {self.batch} {NAMES[self.dtype]}"

    def fold(self) -> FoldedPatchEmbed:
        layer = (self.weight, self.bias, MEAN, STD, self.position, self.cls)
        return fold_patch_embed(*layer, dtype=self.dtype, device=self.tiles.device)

    def in_fp64(self) -> torch.Tensor:
        cls = None if self.cls is None else self.cls.double()
        bias, position = self.bias.double(), self.position.double()
        return unfused(self.tiles, self.weight.double(), bias, MEAN, STD, position, cls)


def providers(case: Case, backend: Backend) -> dict[str, Call]:
    """The ways to the same tokens; each allocates its own result."""
    device, folded = case.tiles.device, case.fold()
    shift, scale = (255 * torch.tensor(v, device=device).view(3, 1, 1) for v in (MEAN, STD))

    def chain(tiles: torch.Tensor) -> torch.Tensor:
        pixels = normalise(tiles, shift, scale).to(case.dtype)
        return embed(pixels, case.weight, case.bias, case.position, case.cls)

    calls: dict[str, Call] = {
        backend: lambda: patch_embed(case.tiles, folded, backend=backend),
        "eager": lambda: chain(case.tiles),
    }
    if device.type == "cuda":  # on a CPU it would need a C++ compiler
        compiled = torch.compile(chain, dynamic=False)
        calls["compile"] = lambda: compiled(case.tiles)
    return calls


def floor(case: Case) -> Call:
    """The matrix product alone, of pixels that somebody else has laid out."""
    matrix = case.weight.flatten(1).T  # [K, hidden]
    laid_out = torch.randn(case.batch * case.shape.patches, len(matrix), device=matrix.device).to(case.dtype)
    product = torch.empty(len(laid_out), case.shape.hidden, dtype=case.dtype, device=matrix.device)
    return lambda: torch.mm(laid_out, matrix, out=product)


def measure_errors(case: Case, backend: Backend) -> dict[str, float]:
    """Of every provider; ours writes into poisoned memory, so that a token left out makes the error infinite."""
    exact = case.in_fp64()
    ours = torch.full(exact.shape, float("nan"), dtype=case.dtype, device=exact.device)
    patch_embed(case.tiles, case.fold(), backend=backend, out=ours)
    others = {name: call() for name, call in providers(case, backend).items() if name != backend}
    return {name: relative_error(result, exact) for name, result in {backend: ours, **others}.items()}


def gate(case: Case, backend: Backend, errors: dict[str, float]) -> str | None:
    """Why this case may not be timed, or None."""
    allowed = max(errors["eager"], EXACT_ENOUGH)
    if errors[backend] <= allowed:
        return None
    return (
        f"patch_embed {case}: backend {backend!r} is off by {errors[backend]:.3e}, allowed are {allowed:.3e}"
    )


def _rows(
    case: Case, mode: str, seconds: dict[str, list[float]], errors: dict[str, float], machine: Machine
) -> Iterator[Row]:
    floor_us = percentiles(seconds["gemm"])[1]
    for provider, taken in seconds.items():
        p20, p50, p80, p99 = percentiles(taken)
        yield Row(
            kernel="patch_embed",
            provider=provider,
            mode=mode,
            shape=case.shape.name,
            batch=case.batch,
            dtype=NAMES[case.dtype],
            p20_us=p20,
            p50_us=p50,
            p80_us=p80,
            p99_us=p99,
            gbytes_per_s=case.shape.least_bytes(case.batch, case.dtype) / p50 / 1e3,
            tflops=case.shape.flops(case.batch) / p50 / 1e6,
            fraction_of_floor=floor_us / p50,
            error=errors.get(provider),
            machine=machine,
        )

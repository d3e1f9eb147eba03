"""project against the chain it replaces: correct first, then timed in turns.

Per shape and dtype every provider's result is held against the chain in fp64. Ours must be at most as far off as
the chain in its own dtype; otherwise no time is reported for it. On a GPU both ways of backend "triton" are timed, and
the one that the committed table chooses is marked: where the other wins, the table is to be changed. Random weights
and hidden states: the work does not depend on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import get_args

import torch
import torch.nn.functional as F

from kernels.backend import Backend, choose_backend
from kernels.compiling import compiled
from kernels.measure import Call, alternate, percentiles, relative_error
from kernels.project import (
    FoldedProjector,
    Linear,
    Merge,
    Norm,
    Provider,
    choose_provider,
    fold_projector,
    project,
)
from kernels.project.reference import activate, normalise, unfused
from kernels.report import Machine, Report, Row
from kernels.selection import ALL, Selection

EXACT_ENOUGH = 1e-6
"""Below this an fp32 result is right, even where the chain happens to be closer."""
CHANCE = 1.01
"""Two results that round equally often differ in their errors by less."""

NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}


@dataclass(frozen=True, slots=True)
class Shape:
    name: str
    patches: int
    hidden: int
    widths: tuple[int, ...]
    merge: Merge = field(default_factory=Merge)
    skip: int = 0
    norm: str | None = None
    """layer: over a row, with bias. rms: over a patch."""

    @property
    def rows(self) -> int:
        return self.merge.rows(self.patches)

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(in, out) of each product."""
        inputs = (self.hidden * self.merge.parts, *self.widths)
        return list(zip(inputs, self.widths, strict=False))

    def flops(self, batch: int) -> int:
        return 2 * batch * self.rows * sum(n * out for n, out in self.layers)

    def least_bytes(self, batch: int, dtype: torch.dtype) -> int:
        """Patches and weights in, rows out; once each."""
        weights = sum(n * out + out for n, out in self.layers)
        return dtype.itemsize * (batch * (self.patches * self.hidden + self.rows * self.widths[-1]) + weights)


LLAVA = Shape("LLaVA-1.5/14-336", 576, 1024, (4096, 4096), skip=1)
INTERNVL = Shape("InternVL-1B/14-448", 1024, 1024, (896, 896), Merge(2), 1, "layer")
DEMO = Shape("demo/14-112", 64, 128, (192, 192), Merge(2), 1, "layer")
ON_CPU = ((LLAVA, 1), (INTERNVL, 4), (DEMO, 8))
ON_GPU = tuple(
    (shape, batch)
    for shape in (
        LLAVA,
        INTERNVL,
        Shape("Qwen2.5-VL-7B/448", 1024, 1280, (5120, 3584), Merge(2, "given"), 0, "rms"),
        Shape("SigLIP-so400m/14-224", 256, 1152, (2048,)),
    )
    for batch in (1, 8, 64)
)


def run(device: torch.device, rounds: int, machine: Machine, only: Selection = ALL) -> Iterator[Report]:
    """Gate and time every shape that suits the device, one after the other."""
    backend = choose_backend(device)
    gpu = device.type == "cuda"
    for shape, batch in only.of(ON_GPU if gpu else ON_CPU):
        for dtype in (torch.bfloat16,) if gpu else (torch.bfloat16, torch.float32):
            with torch.inference_mode():
                case = Case.draw(shape, batch, dtype, device)
            yield _measured(case, backend, rounds, machine)


@torch.inference_mode()
def _measured(case: Case, backend: Backend, rounds: int, machine: Machine) -> Report:
    device, report = case.hidden.device, Report([], [])
    ours, theirs = our_calls(case, backend), their_calls(case)
    errors = measure_errors(case, ours, theirs)
    report.failures.extend(gate(case, ours, errors))
    if not report.failures:
        calls = {name: call.fresh for name, call in ours.items()} | theirs | {"gemm": floor(case)}
        for mode in ("eager", "graph" if device.type == "cuda" else "processor"):
            report.rows.extend(_rows(case, mode, alternate(calls, rounds, device, mode), errors, machine))
    return report


@dataclass(frozen=True, slots=True)
class Case:
    """One shape, batch and dtype with its random hidden states and a projector as a checkpoint holds it."""

    shape: Shape
    batch: int
    dtype: torch.dtype
    hidden: torch.Tensor
    linears: tuple[Linear, ...]
    norm: Norm | None

    @staticmethod
    def draw(shape: Shape, batch: int, dtype: torch.dtype, device: torch.device) -> Case:
        random = torch.Generator(device).manual_seed(0)

        def parameter(*size: int, scale: float) -> torch.Tensor:
            return (scale * torch.randn(*size, device=device, generator=random)).to(dtype)

        norm = None
        if shape.norm == "layer":
            size = shape.hidden * shape.merge.parts
            norm = Norm("layer", "row", 1 + parameter(size, scale=0.1), parameter(size, scale=0.1), 1e-5)
        elif shape.norm == "rms":
            norm = Norm("rms", "patch", 1 + parameter(shape.hidden, scale=0.1), None, 1e-6)
        return Case(
            shape=shape,
            batch=batch,
            dtype=dtype,
            hidden=parameter(batch, shape.skip + shape.patches, shape.hidden, scale=1),
            linears=tuple(
                Linear(parameter(out, n, scale=n**-0.5), parameter(out, scale=0.1)) for n, out in shape.layers
            ),
            norm=norm,
        )

    def __str__(self) -> str:
        return f"{self.shape.name} batch {self.batch} {NAMES[self.dtype]}"

    def fold(self, backend: Backend) -> FoldedProjector:
        return fold_projector(
            self.linears,
            norm=self.norm,
            merge=self.shape.merge,
            skip=self.shape.skip,
            dtype=self.dtype,
            device=self.hidden.device,
            backend=backend,
        )

    def in_fp64(self) -> torch.Tensor:
        def exact(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.double()

        norm = self.norm
        if norm is not None:
            bias = None if norm.bias is None else exact(norm.bias)
            norm = Norm(norm.kind, norm.per, exact(norm.weight), bias, norm.eps)
        linears = [
            Linear(exact(one.weight), None if one.bias is None else exact(one.bias)) for one in self.linears
        ]
        return unfused(exact(self.hidden), linears, "gelu", norm, self.shape.merge, self.shape.skip)


@dataclass(frozen=True, slots=True)
class Ours:
    """One of our ways to the rows."""

    case: Case
    folded: FoldedProjector
    backend: Backend
    provider: Provider | None

    def fresh(self) -> torch.Tensor:
        """Into a new tensor, as the chain's."""
        return project(self.case.hidden, self.folded, backend=self.backend, provider=self.provider)

    def into(self, out: torch.Tensor) -> torch.Tensor:
        """`out`, with whatever was written there."""
        project(self.case.hidden, self.folded, backend=self.backend, provider=self.provider, out=out)
        return out


def our_calls(case: Case, backend: Backend) -> dict[str, Ours]:
    """By name; of backend "triton" both providers, the one that the table chooses marked."""
    folded = case.fold(backend)
    if backend != "triton":
        return {backend: Ours(case, folded, backend, None)}
    chosen = choose_provider(folded, case.batch * case.shape.rows)
    ways: tuple[Provider, ...] = get_args(Provider)
    return {f"{way}, chosen" if way == chosen else way: Ours(case, folded, backend, way) for way in ways}


def their_calls(case: Case) -> dict[str, Call]:
    """The chain as transformers writes it, each call into a new tensor."""
    calls: dict[str, Call] = {"eager": lambda: chain(case, case.hidden)}
    if case.hidden.device.type == "cuda":  # on a CPU it would need a C++ compiler
        whole = compiled(lambda hidden: chain(case, hidden))
        calls["compile"] = lambda: whole(case.hidden)
    return calls


def chain(case: Case, hidden: torch.Tensor) -> torch.Tensor:
    """Slice, shuffle, normalise, project: each operation on its own, as transformers' modules do."""
    rows = hidden[:, case.shape.skip :]
    merge, norm = case.shape.merge, case.norm
    if norm is not None and norm.per == "patch":
        rows = normalise(rows, norm)
    if merge.shuffles:
        rows = pixel_shuffle(rows, merge.factor)
    rows = rows.reshape(-1, merge.parts * hidden.shape[2])
    if norm is not None and norm.per == "row":
        rows = F.layer_norm(rows, norm.weight.shape, norm.weight, norm.bias, norm.eps)
    rows = F.linear(rows, case.linears[0].weight, case.linears[0].bias)
    for linear in case.linears[1:]:
        rows = F.linear(activate(rows, "gelu"), linear.weight, linear.bias)
    return rows


def pixel_shuffle(patches: torch.Tensor, factor: int) -> torch.Tensor:
    """As transformers' `InternVLModel.pixel_shuffle`, with its two copies."""
    tiles, count, hidden = patches.shape
    side = round(count**0.5)
    grid = patches.reshape(tiles, side, side // factor, hidden * factor).transpose(1, 2).contiguous()
    grid = grid.view(tiles, side // factor, side // factor, hidden * factor**2)
    return grid.transpose(1, 2).contiguous()


def floor(case: Case) -> Call:
    """The matrix products alone, of rows that somebody else has laid out."""
    rows, device = case.batch * case.shape.rows, case.hidden.device
    inputs = [torch.randn(rows, n, device=device).to(case.dtype) for n, _ in case.shape.layers]
    outputs = [torch.empty(rows, out, dtype=case.dtype, device=device) for _, out in case.shape.layers]

    def products() -> torch.Tensor:
        for x, linear, out in zip(inputs, case.linears, outputs, strict=True):
            torch.mm(x, linear.weight.T, out=out)
        return outputs[-1]

    return products


def measure_errors(case: Case, ours: dict[str, Ours], theirs: dict[str, Call]) -> dict[str, float]:
    """Of every provider; ours write into poisoned memory, so that a row left out makes the error infinite."""
    exact = case.in_fp64()

    def poisoned() -> torch.Tensor:
        return torch.full(exact.shape, float("nan"), dtype=case.dtype, device=exact.device)

    results = {name: call.into(poisoned()) for name, call in ours.items()}
    results |= {name: call() for name, call in theirs.items()}
    return {name: relative_error(result, exact) for name, result in results.items()}


def gate(case: Case, ours: dict[str, Ours], errors: dict[str, float]) -> list[str]:
    """Why this case may not be timed: a sentence for each of ours that is further off than the chain."""
    allowed = max(CHANCE * errors["eager"], EXACT_ENOUGH)
    return [
        f"project {case}: {name!r} is off by {errors[name]:.3e}, allowed are {allowed:.3e}"
        for name in ours
        if not errors[name] <= allowed
    ]


def _rows(
    case: Case, mode: str, seconds: dict[str, list[float]], errors: dict[str, float], machine: Machine
) -> Iterator[Row]:
    floor_us = percentiles(seconds["gemm"])[1]
    for provider, taken in seconds.items():
        p20, p50, p80, p99 = percentiles(taken)
        yield Row(
            kernel="project",
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

"""The benchmark of kernels that do nothing but read and write: correct first, then timed in turns.

Every provider's results are held against fp64. Ours must be at most as far off as the chain in its own dtype; otherwise
no time of the case is reported. The floor is a copy of as many bytes as must move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from kernels.backend import Backend, choose_backend
from kernels.measure import Call, alternate, percentiles, relative_error
from kernels.report import Machine, Report, Row
from kernels.selection import ALL, Named, Selection

CHAIN = "eager"
"""The name of the provider that is the chain, each operation on its own as transformers writes it."""
EXACT_ENOUGH = 1e-6
"""Below this an fp32 result is right, even where the chain happens to be closer."""
CHANCE = 1.01
"""Two results that round equally often differ in their errors by less."""

NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
S = TypeVar("S", bound=Named)

Provider = Callable[..., tuple[torch.Tensor, ...]]
"""What a case has as inputs → results; may write into its inputs and return them."""


@dataclass(frozen=True, slots=True)
class TowerShape:
    """What a tower's layers give to such a kernel."""

    tower: str
    """of the kernel's `aot.TOWERS`"""
    tokens: int
    """of an image"""

    @property
    def name(self) -> str:
        return f"{self.tower}/{self.tokens}"


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One shape in one dtype with random numbers: the work does not depend on them."""

    kernel: str
    shape: str
    batch: int
    """Images."""
    inputs: tuple[torch.Tensor, ...]
    exact: tuple[torch.Tensor, ...]
    """fp64."""
    providers: Mapping[str, Provider]
    """The chain among them; one is named as the backend that is ours."""
    least_bytes: int
    """That must be read and written, once each."""
    flops: int

    @property
    def dtype(self) -> str:
        return NAMES[self.inputs[0].dtype]

    def __str__(self) -> str:
        return f"{self.shape} batch {self.batch} {self.dtype}"


@dataclass(frozen=True, slots=True)
class Benchmark(Generic[S]):
    """One kernel's, of pairs of a shape and a number of images; satisfies `kernels.bench.Run`."""

    draw: Callable[[S, int, torch.dtype, torch.device, Backend], Case]
    on_cpu: Sequence[tuple[S, int]]
    on_gpu: Sequence[tuple[S, int]]

    def __call__(
        self, device: torch.device, rounds: int, machine: Machine, only: Selection = ALL
    ) -> Iterator[Report]:
        """Gate and time every case that suits the device, one after the other."""
        backend = choose_backend(device)
        gpu = device.type == "cuda"
        for shape, batch in only.of(self.on_gpu if gpu else self.on_cpu):
            for dtype in (torch.bfloat16,) if gpu else (torch.bfloat16, torch.float32):
                with torch.inference_mode():
                    case = self.draw(shape, batch, dtype, device, backend)
                yield _measured(case, backend, device, rounds, machine)


@torch.inference_mode()
def _measured(case: Case, backend: Backend, device: torch.device, rounds: int, machine: Machine) -> Report:
    errors, report = measure_errors(case), Report([], [])
    report.failures.extend(gate(case, backend, errors))
    if not report.failures:
        for mode in ("eager", "graph" if device.type == "cuda" else "processor"):
            seconds = alternate(calls(case), rounds, device, mode)
            report.rows.extend(_rows(case, mode, seconds, errors, machine))
    return report


def measure_errors(case: Case) -> dict[str, float]:
    """Of every provider the worst of its results."""
    return {
        name: max(map(relative_error, provider(*(one.clone() for one in case.inputs)), case.exact))
        for name, provider in case.providers.items()
    }


def gate(case: Case, ours: str, errors: Mapping[str, float]) -> list[str]:
    """Why this case may not be timed, if so."""
    allowed = max(CHANCE * errors[CHAIN], EXACT_ENOUGH)
    if errors[ours] <= allowed:
        return []
    return [f"{case.kernel} {case}: backend {ours!r} is off by {errors[ours]:.3e}, allowed are {allowed:.3e}"]


def calls(case: Case) -> dict[str, Call]:
    """Each again and again on the same inputs, and the floor."""

    def call(provider: Provider) -> Call:
        return lambda: provider(*case.inputs)[0]

    source = torch.zeros(case.least_bytes // 2, dtype=torch.uint8, device=case.inputs[0].device)
    target = torch.empty_like(source)
    named = {name: call(provider) for name, provider in case.providers.items()}
    return {**named, "copy": lambda: target.copy_(source)}


def bytes_of(tensors: Sequence[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _rows(
    case: Case,
    mode: str,
    seconds: Mapping[str, list[float]],
    errors: Mapping[str, float],
    machine: Machine,
) -> Iterator[Row]:
    floor_us = percentiles(seconds["copy"])[1]
    for provider, taken in seconds.items():
        p20, p50, p80, p99 = percentiles(taken)
        yield Row(
            kernel=case.kernel,
            provider=provider,
            mode=mode,
            shape=case.shape,
            batch=case.batch,
            dtype=case.dtype,
            p20_us=p20,
            p50_us=p50,
            p80_us=p80,
            p99_us=p99,
            gbytes_per_s=case.least_bytes / p50 / 1e3,
            tflops=case.flops / p50 / 1e6,
            fraction_of_floor=floor_us / p50,
            error=errors.get(provider),
            machine=machine,
        )

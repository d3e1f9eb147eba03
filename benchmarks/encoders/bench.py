"""The whole encoder against plain transformers in bf16: equal output first, then times in turns.

Both begin with uint8 pixels in the device's memory and end with the rows. Equal means: off from transformers' own
fp64 by no more than transformers' bf16 is (times `CHANCE`), on average over enough images that chance has little to
say. Beside the whole, the front and the projector are timed, so that their share of it can be told. On a GPU batches
also go from host memory to host memory, ours through `kernels.runner`. Random weights and pixels: the work does not
depend on them.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from benchmarks.encoders.models import Model
from benchmarks.encoders.native import make_model
from kernels.backend import Backend, choose_backend
from kernels.measure import Call, alternate, captured, percentiles, relative_error
from kernels.report import Machine, Report, Row
from kernels.runner import Attention, Cuda, Device, Runner, TileShape, candidate_sizes, chunk_tiles
from kernels.towers.towers import SMALL, TOWERS, VIT_B, Tower

GATE_IMAGES = 8
"""Over at least so many the error is taken: two orders of the same roundings differ by chance from image to image."""
BATCHES = (1, 8, 64)
ON_CPU = ((VIT_B, 1), (VIT_B, 8))
DTYPE = torch.bfloat16
ROUNDS_ON_CPU = 11
"""Most timed calls per provider on a CPU, where a call takes up to seconds."""
PATIENCE, PATIENCE_ON_CPU = 8.0, 300.0
"""Seconds, see `Options.patience`."""
CHANCE = 1.02
"""Two orders of the same roundings differ in their errors by less. On a GPU both run the same blocks, so that it is
chance whose error is the larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is measured, and for how long."""

    encoders: Sequence[str] = ()
    """Names; none stands for all on a GPU, for `ON_CPU` on a CPU."""
    batches: Sequence[int] = ()
    body: str = "auto"
    """Who runs our blocks, as the service's `encoder_body` says it."""
    attention: Attention = "auto"
    """Of our blocks; transformers' choose by themselves."""
    patience: float | None = None
    """Seconds for the rounds of the whole of one case, and a half of that for each part."""


def run(
    device: torch.device, rounds: int, machine: Machine, options: Options | None = None
) -> Iterator[Report]:
    """Gate and time, one case after the other; what is not found raises before the first."""
    gpu, options = device.type == "cuda", options or Options()
    selection = _selection(gpu, options.encoders, options.batches)
    return _run(selection, device, rounds if gpu else min(rounds, ROUNDS_ON_CPU), machine, options)


def _run(
    selection: Mapping[Tower, list[int]],
    device: torch.device,
    rounds: int,
    machine: Machine,
    options: Options,
) -> Iterator[Report]:
    backend = choose_backend(device)
    patience = options.patience or (PATIENCE if device.type == "cuda" else PATIENCE_ON_CPU)
    for encoder, sizes in selection.items():
        model = make_model(encoder, device, DTYPE, body=options.body, attention=options.attention)
        precise = model.precise()
        for batch in sizes:
            report = Report([], [])
            case = Case(model, backend, batch, _pixels(encoder, batch, device))
            with torch.inference_mode():
                errors = measure_errors(case, precise)
                if failure := gate(case, errors):
                    report.failures.append(failure)
                else:
                    _time(case, rounds, patience, errors, machine, report)
            del case
            yield report
        del model, precise


@dataclass(frozen=True, slots=True)
class Case:
    model: Model
    backend: Backend
    batch: int
    """pictures"""
    tiles: torch.Tensor
    """uint8 [pictures or their cells, side, side, 3]"""

    def __str__(self) -> str:
        return f"{self.model.encoder.name} batch {self.batch} bf16{self.model.variant}"


def whole(case: Case) -> dict[str, Call]:
    """Pixels to rows."""
    tiles, ours, theirs = case.tiles, case.model.ours(case.backend), case.model.transformers()
    calls: dict[str, Call] = {"ours": lambda: ours(tiles), "transformers": lambda: theirs(tiles)}
    if tiles.is_cuda and not case.model.encoder.mix:  # which sends its order along
        calls["ours, graph"] = captured(calls["ours"], tiles.device)
    return calls


def fronts(case: Case) -> dict[str, Call]:
    """Pixels to the first hidden states."""
    tiles = case.tiles
    ours, theirs = case.model.our_front(case.backend), case.model.transformers_front()
    return {"ours": lambda: ours(tiles), "transformers": lambda: theirs(tiles)}


def projections(case: Case) -> dict[str, Call]:
    """Hidden states to rows; nothing where that is nothing."""
    model, encoder = case.model, case.model.encoder
    if model.projector is None:
        return {}
    size = len(case.tiles), _tokens(model), encoder.hidden
    hidden = torch.randn(*size, device=case.tiles.device).to(DTYPE)
    ours = model.our_projection(case.backend)
    return {"ours": lambda: ours(hidden), "transformers": lambda: model.project(hidden)}


def from_host(case: Case, device: Device) -> dict[str, Call]:
    """Pixels in host memory to rows in host memory; theirs are normalised beforehand, in fp32, as processors do it.

    Nothing for pictures of any sizes, whose batches the runner does not take.
    """
    model, encoder = case.model, case.model.encoder
    if encoder.mix:
        return {}
    ours, theirs = model.ours(case.backend), model.transformers_body()
    rows, width = ours(case.tiles[:1])[0].shape

    def forward(tiles: torch.Tensor, out: torch.Tensor) -> None:
        out.copy_(ours(tiles).flatten(0, 1))

    most = chunk_tiles(case.batch)
    shape = TileShape(encoder.side, encoder.side, rows, width, DTYPE)
    runner = Runner(forward, shape, device, most=most, graph_sizes=candidate_sizes(most))
    tiles = case.tiles.cpu()
    values = model.pixel_values(case.tiles).float().cpu()
    return {
        "ours, staged": lambda: runner.run([tiles]).rows,
        "transformers": lambda: theirs(values.to(case.tiles.device).to(DTYPE)).cpu(),
    }


def floor(case: Case) -> Call:
    """The blocks' matrix products alone, one after the other."""
    linears = case.model.products()
    rows = len(case.tiles) * _tokens(case.model)
    inputs = {
        width: torch.randn(rows, width, device=case.tiles.device).to(DTYPE)
        for width in {linear.in_features for linear in linears}
    }

    def products() -> torch.Tensor:
        for linear in linears:
            result = F.linear(inputs[linear.in_features], linear.weight)
        return result

    return products


def measure_errors(case: Case, precise: Model) -> dict[str, float]:
    """Of both, against transformers in fp64: the mean over draws of pixels of `GATE_IMAGES` together, or the batch."""
    model = case.model
    exactly, calls = precise.transformers(), whole(case)
    errors: dict[str, list[float]] = {name: [] for name in calls}
    for seed in reversed(range(-(-GATE_IMAGES // case.batch))):  # the last is what was there
        case.tiles.copy_(_pixels(model.encoder, case.batch, case.tiles.device, seed))
        # image by image, or mix by mix: fp64 takes room, and attention in it keeps all its scores
        images = torch.split(case.tiles, model.encoder.tiles(len(model.encoder.mix) or 1))
        exact = torch.cat([exactly(image) for image in images])
        for name, call in calls.items():
            errors[name].append(relative_error(call().view(exact.shape), exact))
    return {name: statistics.mean(each) for name, each in errors.items()}


def gate(case: Case, errors: dict[str, float]) -> str | None:
    """Why this case may not be timed, or None."""
    allowed = CHANCE * errors["transformers"]
    for name, error in errors.items():
        if not error <= allowed:
            return f"encoder {case}: {name!r} is off by {error:.3e}, allowed are {allowed:.3e}"
    return None


def _time(
    case: Case, rounds: int, patience: float, errors: dict[str, float], machine: Machine, report: Report
) -> None:
    device = case.tiles.device
    seconds = alternate({**whole(case), "gemm": floor(case)}, rounds, device, "eager", patience)
    front = alternate(fronts(case), rounds, device, "eager", patience / 2)
    report.rows.extend(_rows("encoder", case, seconds, errors, machine))
    report.rows.extend(_rows("encoder front", case, front, {}, machine))
    ends = {"patch embedding": front}
    if calls := projections(case):
        ends["projection"] = alternate(calls, rounds, device, "eager", patience / 2)
        report.rows.extend(_rows("encoder projection", case, ends["projection"], {}, machine))
    if device.type == "cuda" and (calls := from_host(case, Cuda(device))):
        hosted = alternate(calls, rounds, device, "eager", patience / 2)
        report.rows.extend(_rows("encoder from host", case, hosted, {}, machine))
        report.notes.extend(
            f"{case} from host, {name}: {_rates(taken, case.batch)}" for name, taken in hosted.items()
        )
    for name, taken in seconds.items():
        if name != "gemm":
            report.notes.append(f"{case} {name}: {_rates(taken, case.batch)}")
    against = statistics.median(seconds["transformers"]) / statistics.median(seconds["ours"])
    report.notes.append(
        f"{case}: ours is {against:.2f} times transformers, blocks {case.model.choose_body()}"
    )
    report.notes.append(f"{case}: {shares(seconds, ends)}")


def shares(whole: dict[str, list[float]], ends: dict[str, dict[str, list[float]]]) -> str:
    """How much of the whole each end takes, in transformers' (before) and in ours (after): a row for the README."""
    parts: list[str] = []
    total = dict.fromkeys(("transformers", "ours"), 0.0)
    for end, seconds in ends.items():
        share = {name: statistics.median(seconds[name]) / statistics.median(whole[name]) for name in total}
        total = {name: total[name] + share[name] for name in total}
        parts.append(f"{end} {share['transformers']:.2%} before, {share['ours']:.2%} after")
    if len(ends) > 1:
        parts.append(f"together {total['transformers']:.2%} before, {total['ours']:.2%} after")
    return "share of the encoder's time: " + "; ".join(parts)


def _rates(seconds: list[float], batch: int) -> str:
    per_image = [one * 1e3 / batch for one in seconds]
    p99 = statistics.quantiles(per_image, n=100, method="inclusive")[98]
    median = statistics.median(per_image)
    return f"{1e3 / median:.1f} images/s, p50 {median:.2f} ms, p99 {p99:.2f} ms per image"


def _rows(
    kernel: str, case: Case, seconds: dict[str, list[float]], errors: dict[str, float], machine: Machine
) -> Iterator[Row]:
    least = percentiles(seconds.get("gemm") or next(iter(seconds.values())))[1]
    for provider, taken in seconds.items():
        p20, p50, p80, p99 = percentiles(taken)
        yield Row(
            kernel=kernel,
            provider=provider + case.model.variant * provider.startswith("ours"),
            mode="eager",
            shape=case.model.encoder.name,
            batch=case.batch,
            dtype="bf16",
            p20_us=p20,
            p50_us=p50,
            p80_us=p80,
            p99_us=p99,
            gbytes_per_s=_least_bytes(kernel, case) / p50 / 1e3,
            tflops=_flops(kernel, case) / p50 / 1e6,
            fraction_of_floor=least / p50,
            error=errors.get(provider),
            machine=machine,
        )


def _flops(kernel: str, case: Case) -> int:
    """Of matrix products with weights; attention's are left out, since windows make them differ."""
    encoder = case.model.encoder
    if kernel == "encoder front":
        return 2 * len(case.tiles) * encoder.patches * 3 * encoder.patch**2 * encoder.hidden
    linears = [] if kernel == "encoder projection" else case.model.products()
    total = 2 * len(case.tiles) * _tokens(case.model) * sum(linear.weight.numel() for linear in linears)
    if case.model.projector is not None:
        inner = [m for m in case.model.projector.modules() if isinstance(m, torch.nn.Linear)]
        rows = encoder.patches * encoder.hidden // inner[0].in_features
        total += 2 * case.batch * rows * sum(linear.weight.numel() for linear in inner)
    return total


def _least_bytes(kernel: str, case: Case) -> int:
    """Pixels and weights in, last hidden states out; once each."""
    encoder, item = case.model.encoder, DTYPE.itemsize
    pixels = 0 if kernel == "encoder projection" else case.tiles.numel()
    weights = {
        "encoder": sum(p.numel() for p in case.model.tower.parameters()),
        "encoder from host": sum(p.numel() for p in case.model.tower.parameters()),
        "encoder front": case.model.parts.weight.numel(),
        "encoder projection": sum(
            p.numel() for p in (case.model.projector or torch.nn.Identity()).parameters()
        ),
    }[kernel]
    return int(pixels + item * (weights + len(case.tiles) * encoder.patches * encoder.hidden))


def _tokens(model: Model) -> int:
    return model.encoder.patches + (model.parts.cls is not None)


def _pixels(encoder: Tower, batch: int, device: torch.device, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    size = (encoder.tiles(batch), encoder.side, encoder.side, 3)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=random).to(device)


def _selection(gpu: bool, only: Sequence[str], batches: Sequence[int]) -> dict[Tower, list[int]]:
    """The batches of each encoder. Raises ValueError for a name that none has."""
    known = {encoder.name: encoder for encoder in (*TOWERS, *SMALL)}
    if unknown := [name for name in only if name not in known]:
        raise ValueError(f"encoder: got {unknown[0]!r}, allowed are {', '.join(known)}")
    if only or gpu:
        chosen = [known[name] for name in only] or list(TOWERS)
        return {encoder: list(batches or (BATCHES if gpu else BATCHES[:2])) for encoder in chosen}
    selection: dict[Tower, list[int]] = {}
    for encoder, batch in ON_CPU:
        if not batches or batch in batches:
            selection.setdefault(encoder, []).append(batch)
    return selection

"""patch_embed against the chain it replaces: correct first, then timed in turns.

Per shape and dtype every provider's result is held against the chain in fp64. Ours must be at most as far off as
the chain in its own dtype; otherwise no time of the shape is reported. The shapes are the embeddings of public towers
without their layers, CLIP's with the LayerNorm in front of its first block, for which we have `kernels.layer_norm`.
Random weights and pixels: the work does not depend on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from kernels.backend import Backend, choose_backend, gpu
from kernels.compiling import compiled
from kernels.layer_norm import layer_norm
from kernels.measure import Call, alternate, percentiles, relative_error
from kernels.patch_embed import FoldedPatchEmbed, configs, fold_patch_embed, patch_embed
from kernels.patch_embed.configs import Config
from kernels.patch_embed.contract import output_shape
from kernels.patch_embed.reference import embed, normalise, unfused
from kernels.report import Machine, Report, Row
from kernels.selection import ALL, Selection
from kernels.towers.front import MEAN, STD, Front
from kernels.towers.towers import Tower, clip, internvl, siglip, vit

EXACT_ENOUGH = 1e-6
"""Below this an fp32 result is right, even where the chain happens to be closer."""
SAME_CHAIN = 1.5
"""Times the chain's error is what its other forms may have, which round in places of their own."""

NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}

# without layers, whose other sizes do not matter
VIT_L = vit("ViT-L/14-336", 336, 14, 1024, 0, 16, 4096)
CLIP = clip("CLIP-ViT-L/14-336", 336, 1024, 0, 16, 4096, 4096)
DEMO = internvl("demo/14-112", 112, 128, 0, 4, 512, 128)
ON_CPU = ((VIT_L, 8), (CLIP, 8), (DEMO, 8))
ON_GPU = tuple(
    (tower, batch)
    for tower in (
        VIT_L,
        CLIP,
        siglip("SigLIP-so400m/14-378", 378, 1152, 0, 16, 4304, 2048),
        internvl("InternViT-300M/14-448", 448, 1024, 0, 16, 4096, 896),
        vit("ViT-B/16-224", 224, 16, 768, 0, 12, 3072),
    )
    for batch in (1, 8, 64)
)


def run(device: torch.device, rounds: int, machine: Machine, only: Selection = ALL) -> Iterator[Report]:
    """Gate and time every shape that suits the device, one after the other."""
    backend = choose_backend(device)
    gpu = device.type == "cuda"
    for tower, batch in only.of(ON_GPU if gpu else ON_CPU):
        for dtype in (torch.bfloat16,) if gpu else (torch.bfloat16, torch.float32):
            yield _measured(Case.draw(tower, batch, dtype, device), backend, rounds, machine)


@torch.inference_mode()
def _measured(case: Case, backend: Backend, rounds: int, machine: Machine) -> Report:
    device, report = case.tiles.device, Report([], [])
    calls = providers(case, backend)
    errors = measure_errors(case, backend, calls)
    report.failures.extend(gate(case, backend, errors))
    if not report.failures:
        for mode in ("eager", "graph" if device.type == "cuda" else "processor"):
            seconds = alternate({**calls, "gemm": floor(case)}, rounds, device, mode)
            report.rows.extend(_rows(case, mode, seconds, errors, machine))
    return report


@dataclass(frozen=True, slots=True)
class Case:
    """One tower's embeddings in one dtype, and random pixels for a batch."""

    front: Front
    tiles: torch.Tensor

    @staticmethod
    def draw(tower: Tower, batch: int, dtype: torch.dtype, device: torch.device) -> Case:
        random = torch.Generator(device).manual_seed(0)
        front = Front(tower, device, dtype)
        for parameter in front.parameters():  # biases and class tokens, too, which begin as 0
            parameter.normal_(0, 0.02, generator=random)
        if (norm := front.before) is not None:
            norm.weight.add_(1)
        size = (batch, tower.side, tower.side, 3)
        tiles = torch.randint(0, 256, size, dtype=torch.uint8, device=device, generator=random)
        return Case(front, tiles)

    def __str__(self) -> str:
        return f"{self.front.tower.name} batch {len(self.tiles)} {NAMES[self.front.dtype]}"

    @property
    def tokens(self) -> int:
        return (self.front.cls is not None) + self.front.tower.patches

    @property
    def flops(self) -> int:
        at = self.front.tower
        return 2 * len(self.tiles) * at.patches * 3 * at.patch**2 * at.hidden

    @property
    def least_bytes(self) -> int:
        """Pixels and weights in, the offsets' fp32 table in, tokens out; once each."""
        at, item = self.front.tower, self.front.dtype.itemsize
        weights = 3 * at.patch**2 * at.hidden * item
        return self.tiles.numel() + weights + self.tokens * at.hidden * (4 + len(self.tiles) * item)

    def fold(self) -> FoldedPatchEmbed:
        p = self.front
        layer = (p.weight, p.bias, MEAN, STD, p.position, p.cls)
        return fold_patch_embed(*layer, dtype=self.front.dtype, device=self.tiles.device)

    def in_fp64(self) -> torch.Tensor:
        p = self.front
        bias, position, cls = (None if t is None else t.double() for t in (p.bias, p.position, p.cls))
        tokens = unfused(self.tiles, p.weight.double(), bias, MEAN, STD, position, cls)
        if p.before is None:
            return tokens
        weight, bias = p.before.weight.double(), p.before.bias.double()
        return F.layer_norm(tokens, weight.shape, weight, bias, p.before.eps)


def providers(case: Case, backend: Backend) -> dict[str, Call]:
    """The ways to the same tokens; each allocates its own result."""
    tiles, p, dtype = case.tiles, case.front, case.front.dtype
    shift, scale = (255 * torch.tensor(v, device=tiles.device).view(3, 1, 1) for v in (MEAN, STD))

    def chain(tiles: torch.Tensor) -> torch.Tensor:
        pixels = normalise(tiles, shift, scale).to(dtype)
        tokens = embed(pixels, p.weight, p.bias, p.position, p.cls)
        return tokens if p.before is None else p.before(tokens)

    calls: dict[str, Call] = {
        backend: ours(case, backend),
        "eager": lambda: chain(tiles),
        "transformers": lambda: p(normalise(tiles, shift, scale).to(dtype)),
    }
    if tiles.is_cuda:  # on a CPU it would need a C++ compiler
        whole = compiled(chain)
        calls["compile"] = lambda: whole(tiles)
        calls |= {
            f"{backend} {config.name}": ours(case, backend, config=config) for config in untried(tiles.device)
        }
    return calls


def untried(device: torch.device) -> tuple[Config, ...]:
    """Block shapes that no table chooses before they have won here."""
    return configs.FLAT.get(gpu(device)[0], ())


def ours(case: Case, backend: Backend, out: torch.Tensor | None = None, config: Config | None = None) -> Call:
    """patch_embed, and layer_norm where the tower has one; into `out`, by default into a new tensor.

    `config`: block shapes in place of those that the tables choose.
    """
    folded, tiles, norm = case.fold(), case.tiles, case.front.before

    def embedded(out: torch.Tensor | None = None) -> torch.Tensor:
        if config is None:
            return patch_embed(tiles, folded, backend=backend, out=out)
        from kernels.patch_embed import fused  # here, so that a CPU's benchmark needs no triton

        made = torch.empty(output_shape(tiles, folded), dtype=folded.dtype, device=tiles.device)
        fused.patch_embed(tiles, folded, made, config)
        return made

    if norm is None:
        return lambda: embedded(out)
    parameters = norm.weight, norm.bias, norm.eps
    return lambda: layer_norm(embedded(), *parameters, backend=backend, out=out)


def floor(case: Case) -> Call:
    """The matrix product alone, of pixels that somebody else has laid out."""
    matrix = case.front.weight.flatten(1).T  # [K, hidden]
    laid_out = torch.randn(len(case.tiles) * case.front.tower.patches, len(matrix), device=matrix.device).to(
        case.front.dtype
    )
    product = torch.empty(len(laid_out), matrix.shape[1], dtype=case.front.dtype, device=matrix.device)
    return lambda: torch.mm(laid_out, matrix, out=product)


def measure_errors(case: Case, backend: Backend, theirs: Mapping[str, Call]) -> dict[str, float]:
    """Of every provider; ours writes into poisoned memory, so that a token left out makes the error infinite."""
    exact = case.in_fp64()
    poisoned = torch.full(exact.shape, float("nan"), dtype=case.front.dtype, device=exact.device)
    calls = {**theirs, backend: ours(case, backend, poisoned)}
    return {name: relative_error(call(), exact) for name, call in calls.items()}


def gate(case: Case, backend: Backend, errors: dict[str, float]) -> list[str]:
    """Why this case may not be timed, if so."""
    bound = max(errors["eager"], EXACT_ENOUGH)
    failures: list[str] = []
    for name, error in errors.items():
        allowed = bound if name == backend else SAME_CHAIN * bound
        if not error <= allowed:
            who = f"backend {name!r}" if name == backend else repr(name)
            failures.append(f"patch_embed {case}: {who} is off by {error:.3e}, allowed are {allowed:.3e}")
    return failures


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
            shape=case.front.tower.name,
            batch=len(case.tiles),
            dtype=NAMES[case.front.dtype],
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

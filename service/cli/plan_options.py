"""The options of `patchbay plan` besides the settings, and the machine that they describe."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace

from service.errors import ConfigurationError
from service.planning.gpus import DATA_SHEETS, DataSheet
from service.planning.machine import Machine
from service.planning.resources import GIB, MIB

LEAST = {"cores": 1, "images_per_request": 1, "text_tokens": 0, "answer_tokens": 1}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gpu",
        metavar="NAME",
        help="one of "
        + ", ".join(DATA_SHEETS)
        + ", and as many as the settings ask for (default: none, a CPU)",
    )
    parser.add_argument(
        "--cores", type=int, default=16, metavar="N", help="CPU cores of the machine (default %(default)s)"
    )
    parser.add_argument(
        "--memory", type=float, default=64, metavar="GIB", help="main memory (default %(default)g)"
    )
    parser.add_argument(
        "--shared-memory", type=float, metavar="GIB", help="free in /dev/shm (default: half of the memory)"
    )
    parser.add_argument(
        "--image",
        action="append",
        required=True,
        metavar="WIDTHxHEIGHT[:WEIGHT[:DETAIL]]",
        help="a kind of image, its relative frequency (default 1), and low, high or auto (default); may be repeated",
    )
    parser.add_argument(
        "--images-per-request",
        type=int,
        default=1,
        metavar="N",
        help="images in one request (default %(default)s)",
    )
    parser.add_argument(
        "--text-tokens",
        type=int,
        default=64,
        metavar="N",
        help="text tokens in one request (default %(default)s)",
    )
    parser.add_argument(
        "--answer-tokens",
        type=int,
        default=128,
        metavar="N",
        help="tokens in one answer (default %(default)s)",
    )
    parser.add_argument("--rate", type=float, metavar="R", help="requests/s to serve; needs --measured")
    parser.add_argument(
        "--measured",
        metavar="R|FILE",
        help="requests/s that one such machine sustains, or the summary.json of the load test that measured it",
    )
    parser.add_argument(
        "--headroom",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="what the replicas bear on top of the rate, for bursts and for one that is down (default %(default)g)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--values", action="store_true", help="print Helm values for a pod on such a node")


def check_options(options: argparse.Namespace) -> None:
    """Raises ConfigurationError for an option that is out of range, or given without one that it needs."""
    for name, least in LEAST.items():
        if (value := getattr(options, name)) < least:
            raise ConfigurationError(f"{name.replace('_', '-')}: got {value}; allowed is {least} or more")
    for name, unit in (("memory", " GiB"), ("shared_memory", " GiB"), ("rate", " requests/s")):
        value = getattr(options, name)
        if value is not None and not 0 < value < math.inf:
            raise ConfigurationError(f"{name.replace('_', '-')}: got {value:g}; allowed is more than 0{unit}")
    if not 0 <= options.headroom < math.inf:
        raise ConfigurationError(f"headroom: got {options.headroom:g}; allowed is 0 or more")
    if (options.rate is None) is not (options.measured is None):
        raise ConfigurationError(
            "rate and measured go together: the rate to serve, and the rate that one machine was measured to sustain"
        )


def imagined(
    sheet: DataSheet | None, cores: int, memory: float, shared: float | None, gpus: int = 1
) -> Machine:
    """The described machine, with so many GPUs of a kind; memory in GiB."""
    return Machine(
        cores=tuple(range(cores)),
        memory_bytes=int(memory * GIB),
        shared_memory_bytes=int((memory / 2 if shared is None else shared) * GIB),
        gpu=sheet.gpu if sheet else None,
        more_gpus=(sheet.gpu,) * (gpus - 1) if sheet else (),
    )


def left_for_a_pod(node: Machine) -> Machine:
    """What a pod can request of a node, where the system and the cluster's own pods take their part.

    One core, and of the memory the share that GKE and AKS reserve: a quarter of the first 4 GiB, a fifth of the next 4,
    a tenth of the next 8, 6 % of the next 112 and 2 % beyond, and 1 GiB for pods that run on every node. EKS takes
    less. Raises ConfigurationError where nothing is left.
    """
    reserved, left = 1.0 * GIB, float(node.memory_bytes)
    for size, share in ((4, 0.25), (4, 0.2), (8, 0.1), (112, 0.06), (math.inf, 0.02)):
        part = min(left, size * GIB)
        reserved, left = reserved + share * part, left - part
    memory, cores = node.memory_bytes - math.ceil(reserved), len(node.cores) - 1
    if memory < GIB or not cores:
        raise ConfigurationError(
            f"values: a node of {len(node.cores)} cores and {node.memory_bytes / GIB:g} GiB leaves a pod "
            f"{max(0, cores)} and {max(0, memory) / GIB:.1f} GiB: describe a larger one with cores and memory"
        )
    # whole MiB, as the values are written
    return replace(
        node,
        cores=node.cores[:cores],
        memory_bytes=memory // MIB * MIB,
        shared_memory_bytes=min(node.shared_memory_bytes, memory // 2),
    )


def max_sequences(engine_args: Sequence[str]) -> int | None:
    """`--max-num-seqs` among vLLM's flags. Raises ConfigurationError when it is no whole number above 0."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--max-num-seqs", "--max_num_seqs", dest="value", nargs="?", const="")
    value = parser.parse_known_args(list(engine_args))[0].value
    if value is None:
        return None
    if not value.isdecimal() or int(value) < 1:
        raise ConfigurationError(f"engine_args: --max-num-seqs must be a whole number above 0; got {value!r}")
    return int(value)

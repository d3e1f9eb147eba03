"""A resource plan in words."""

from __future__ import annotations

from service.planning.gpu_share import gpu_words, size_words
from service.planning.machine import Machine
from service.planning.resources import Need, Overrides, ResourcePlan


def explain(plan: ResourcePlan, machine: Machine, need: Need, overrides: Overrides) -> tuple[str, ...]:
    """A line for each part, as `patchbay check` and `plan` print them."""
    context = _context_line(plan, need)
    if overrides.gateway_alone:
        return "gateway     only: encoder and engine run elsewhere", context
    where = machine.gpu.name if plan.device == "cuda" and machine.gpu else f"{len(machine.cores)} CPU cores"
    lines = [
        f"device      {plan.device}: {where}, {size_words(machine.memory_bytes)} of memory",
    ]
    encoder = [
        f"encoder     batches of up to {plan.encoder_batch_patches} patches, {plan.encoder_threads} CPU thread(s)"
        + (_of_gpu_memory(plan) if plan.device == "cuda" else ""),
        f"decoding    {plan.decode_workers} sandboxed process(es)",
        f"arena       {size_words(plan.arena_bytes)} of shared memory: "
        f"{plan.arena_bytes // need.row_bytes} soft tokens of {need.row_bytes} bytes",
    ]
    if plan.pinned_bytes:
        encoder.append(
            f"pinned      {size_words(plan.pinned_bytes)} of memory for copies to and from the GPU"
        )
    lines += encoder if overrides.images == "handles" else ["encoder     the engine's own"]
    if plan.device == "cuda":
        assert machine.gpu is not None
        lines.insert(1, f"GPU memory  {gpu_words(machine.gpu)}")
        lines.append(f"engine      {plan.gpu_memory_utilization:.1%} of {_engine_gpus(overrides)}")
    else:
        lines.append(
            f"engine      KV cache of {size_words(plan.kv_cache_bytes or 0)}, {plan.engine_threads} compute thread(s)"
            + (
                f", {steps.threads} in steps of {steps.tokens} tokens or more"
                if (steps := plan.large_steps)
                else ""
            )
            + (" for each rank" if plan.division.ranks > 1 else "")
        )
    if plan.engine_compiled is (plan.device == "cpu"):
        lines[-1] += ", compiled" if plan.engine_compiled else ", not compiled"
    if plan.division.ranks > 1:
        weights = size_words(need.of_rank(plan.division).engine_bytes)
        lines.append(f"ranks       {plan.division.ranks}: {plan.division}; each holds {weights} of weights")
    return *lines, context


def _engine_gpus(overrides: Overrides) -> str:
    ranks = overrides.division.ranks
    if overrides.apart:
        return f"the memory of {ranks} GPU(s) other than the encoder's"
    return (
        "the GPU's memory" if ranks == 1 else f"each GPU's memory, {ranks} of them, the encoder on the first"
    )


def _context_line(plan: ResourcePlan, need: Need) -> str:
    length = f"{plan.max_model_len} tokens" if plan.max_model_len else "what the engine finds"
    largest = f"; the largest image takes {need.max_positions}" if need.max_positions else ""
    return f"context     {length}{largest}"


def _of_gpu_memory(plan: ResourcePlan) -> str:
    graphs = plan.encoder_graph_bytes
    share = f", at most {size_words(graphs)} of it for CUDA graphs" if graphs else ""
    return f", {size_words(plan.encoder_gpu_bytes)} of GPU memory{share}"

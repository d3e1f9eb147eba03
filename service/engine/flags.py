"""The operator's own vLLM flags (everything after `--`): those that would break what Patchbay relies on are refused.

Only the names of flags are checked; their values, and all other flags, are left to vLLM.
"""

from __future__ import annotations

from collections.abc import Sequence

from service.errors import ConfigurationError

LOOPBACK = "the engine listens on loopback only, for Patchbay alone"
CHECKPOINT = "encoder, geometry and engine must read the same checkpoint: name it as MODEL, with --revision"
HANDLES = "it is how Patchbay hands soft tokens to the engine"
ONE_NODE = (
    "ranks read soft tokens from the shared memory of this machine: start an engine on several machines yourself, and "
    "name it in engine_url, with images=passthrough"
)
ONE_CORE = (
    "Patchbay plans for and watches one engine core: start several Patchbays instead (`replicas` in the chart), with a "
    "load balancer in front"
)
RANKS = "the resource plan counts ranks by tensor_parallel_size and pipeline_parallel_size alone"
SETTING = "the resource plan depends on it: use Patchbay's own setting of the same name"

REFUSED = {
    "--host": LOOPBACK,
    "--port": "Patchbay chooses it; use the setting engine_port",
    "--uds": LOOPBACK,
    "--ssl-keyfile": LOOPBACK,
    "--ssl-certfile": LOOPBACK,
    "--ssl-ca-certs": LOOPBACK,
    "--root-path": LOOPBACK,
    "--api-key": "clients authenticate to Patchbay: use the setting api_keys",
    "--grpc": "Patchbay speaks HTTP to the engine",
    "--headless": "Patchbay speaks HTTP to the engine",
    "--tokens-only": "Patchbay needs the engine's OpenAI routes",
    "--config": "a file could contain flags that are refused here: give its flags one by one",
    "--model": CHECKPOINT,
    "--revision": CHECKPOINT,
    "--tokenizer": CHECKPOINT,
    "--tokenizer-revision": CHECKPOINT,
    "--hf-config-path": CHECKPOINT,
    "--skip-tokenizer-init": "Patchbay sends text, so the engine must tokenize it",
    "--served-model-name": "use Patchbay's own setting of the same name",
    "--dtype": SETTING,
    "--max-model-len": SETTING,
    "--gpu-memory-utilization": SETTING,
    "--device-memory-utilization": "use the setting gpu_memory_utilization, on which the resource plan depends",
    "--tensor-parallel-size": SETTING,
    "--pipeline-parallel-size": SETTING,
    "--prefill-context-parallel-size": RANKS,
    "--data-parallel-size": ONE_CORE,
    "--data-parallel-size-local": ONE_CORE,
    "--data-parallel-rank": ONE_CORE,
    "--data-parallel-start-rank": ONE_CORE,
    "--data-parallel-address": ONE_CORE,
    "--data-parallel-rpc-port": ONE_CORE,
    "--data-parallel-backend": ONE_CORE,
    "--data-parallel-hybrid-lb": ONE_CORE,
    "--data-parallel-external-lb": ONE_CORE,
    "--data-parallel-multi-port-external-lb": ONE_CORE,
    "--nnodes": ONE_NODE,
    "--node-rank": ONE_NODE,
    "--master-addr": ONE_NODE,
    "--master-port": ONE_NODE,
    "--distributed-executor-backend": ONE_NODE,
    "--enable-mm-embeds": HANDLES,
    "--ec-transfer-config": HANDLES,
    "--enable-prompt-embeds": "it lets requests carry serialised tensors, which can be used to attack the engine",
    "--limit-mm-per-prompt": "Patchbay uses it to decide whether the engine loads its own vision tower",
    "--language-model-only": "Patchbay decides whether the engine loads its own vision tower",
    "--mm-encoder-only": "the engine must hold the language model",
    "--enable-prompt-tokens-details": "Patchbay needs it to report cached tokens",
    "--allowed-local-media-path": "requests must not read files of this machine",
    "--help": "the engine would exit; vLLM's documentation lists its flags",
}

SHORT = {
    "-h": "--help",
    "-tp": "--tensor-parallel-size",
    "-pp": "--pipeline-parallel-size",
    "-pcp": "--prefill-context-parallel-size",
    "-dp": "--data-parallel-size",
    "-dpl": "--data-parallel-size-local",
    "-dpn": "--data-parallel-rank",
    "-dpr": "--data-parallel-start-rank",
    "-dpa": "--data-parallel-address",
    "-dpp": "--data-parallel-rpc-port",
    "-dpb": "--data-parallel-backend",
    "-dph": "--data-parallel-hybrid-lb",
    "-dpe": "--data-parallel-external-lb",
    "-dpm": "--data-parallel-multi-port-external-lb",
    "-n": "--nnodes",
    "-r": "--node-rank",
}
"""vLLM's short forms of flags that are refused."""


def check_flags(words: Sequence[str]) -> None:
    """Refuses flags that Patchbay must set itself, in any spelling that vLLM accepts.

    Raises ConfigurationError, which names the flag and the reason.
    """
    if words and not words[0].startswith("-"):
        raise ConfigurationError(f"engine_args: {words[0]!r} is not a flag; vLLM's flags begin with --")
    for name in flag_names(words):
        for refused, reason in REFUSED.items():
            if refused == name or (len(name) > len("--") and refused.startswith(name)):
                raise ConfigurationError(f"engine_args: {refused} is not allowed: {reason}")


def flag_names(words: Sequence[str]) -> set[str]:
    """The flags in `words` in the form `--some-flag`: without values, dotted parts and `no-`, with dashes."""
    names = set()
    for word in words:
        if (short := word.partition("=")[0]) in SHORT:
            names.add(SHORT[short])
        if word.startswith("--"):
            name = word.partition("=")[0].partition(".")[0].replace("_", "-")
            names.add("--" + name.removeprefix("--").removeprefix("no-"))
    return names

"""What runs inside vLLM's processes: requests name soft tokens by key, and their rows come from the arena.

One plugin for every family, with no family's name in it: `model` puts it in front of vLLM's own model class, and
`language` makes a class where vLLM has none, `processor` lays handles out in the prompt, `contract` holds what a handle
must be, `connector` and `ledger` bring the rows, `media` closes the way on which tensors could come, `generators` and
`single_tokens` keep seeded requests and prompts of one token from ending an engine on a CPU, `mixed_adapters` adapters
there from answering for the model itself, `large_steps` gives steps that read prompts every core there, `blanks` keeps
the JSON of tool calls from white space without end. It touches vLLM's internals, and was proved with the versions in
`PROVED`.
"""

from __future__ import annotations

import os

from service.engine.plugin.contract import STARTED_FOR_PATCHBAY, UNPROVED, VARIABLE, PluginSettings

PROVED = ("0.32", "0.33")
"""Minor versions of vLLM with which the engine's tests passed: 0.32 with its own CPU build, 0.33 with its Python over
that build (`make next-vllm`)."""


def register() -> None:
    """Entry point in the group `vllm.general_plugins`; vLLM calls it in each of its processes.

    Does nothing in an engine that was not started for Patchbay (`PATCHBAY_ENGINE`), and puts no handles in front unless
    the launcher set `PATCHBAY_PLUGIN`. Raises ValueError for settings, an architecture or a
    vLLM that do not go together, which ends the engine's start.
    """
    if STARTED_FOR_PATCHBAY in os.environ:
        from service.engine.plugin.blanks import bound_blanks
        from service.engine.plugin.generators import make_rewindable
        from service.engine.plugin.large_steps import divide_large_steps
        from service.engine.plugin.mixed_adapters import spare_the_model_itself
        from service.engine.plugin.single_tokens import accept_single_tokens

        make_rewindable()
        accept_single_tokens()
        spare_the_model_itself()
        bound_blanks()
        divide_large_steps()
    if (text := os.environ.get(VARIABLE)) is None:
        return
    settings = PluginSettings.from_json(text)
    import vllm

    minor = ".".join(vllm.__version__.split(".")[:2])
    if minor not in PROVED and UNPROVED not in os.environ:
        raise ValueError(
            f"Patchbay's plugin is proved with vLLM {' and '.join(PROVED)}; this is {vllm.__version__}. "
            f"{UNPROVED}=1 in the engine's environment lets it try"
        )
    from service.engine.plugin.model import put_in_front

    put_in_front(settings)

from __future__ import annotations

import pytest

from service.engine.flags import REFUSED, check_flags, flag_names
from service.errors import ConfigurationError


@pytest.mark.parametrize("flag", sorted(REFUSED))
def test_each_refused_flag_is_named_with_its_reason(flag: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_flags(["--max-num-seqs", "8", flag, "x"])
    assert caught.value.message == f"engine_args: {flag} is not allowed: {REFUSED[flag]}"


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (["--port=9000"], "--port"),
        (["--max_model_len", "8"], "--max-model-len"),
        (["--no-enable-mm-embeds"], "--enable-mm-embeds"),
        (["--no-enable_prompt_tokens_details"], "--enable-prompt-tokens-details"),
        (["--ec-transfer-config.ec_role", "ec_both"], "--ec-transfer-config"),
        (["--limit-mm-per-prompt.image", "3"], "--limit-mm-per-prompt"),
        (["--ec-transfer", "{}"], "--ec-transfer-config"),  # vLLM takes any unambiguous beginning
        (["-h"], "--help"),
        (["-tp", "2"], "--tensor-parallel-size"),
        (["-pp=2"], "--pipeline-parallel-size"),
        (["-dp", "2"], "--data-parallel-size"),
        (["-n", "2"], "--nnodes"),
    ],
)
def test_other_spellings_are_seen_through(words: list[str], flag: str) -> None:
    with pytest.raises(ConfigurationError, match=f"engine_args: {flag} is not allowed"):
        check_flags(words)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--max-num-seqs", "8", "--enable-lora", "-O3", "-cc.mode=none", "--enable-expert-parallel"],
        ["--model-impl", "vllm", "--tokenizer-mode", "slow"],  # longer than a refused name is another name
        ["--chat-template", "--port"[2:]],
    ],
)
def test_all_others_pass(words: list[str]) -> None:
    check_flags(words)


def test_a_word_that_is_no_flag_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'my-model' is not a flag"):
        check_flags(["my-model", "--max-num-seqs", "8"])


def test_names_come_without_values_and_negation() -> None:
    words = ["--a-b=--c", "--no-d_e", "f", "--g.h", "1", "-O3"]
    assert flag_names(words) == {"--a-b", "--d-e", "--g"}


@pytest.mark.filterwarnings("ignore")
def test_the_short_forms_are_those_of_this_vllm() -> None:
    """Every flag that is refused, in whatever form vLLM's own parser takes it."""
    from vllm.engine.arg_utils import EngineArgs
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = EngineArgs.add_cli_args(FlexibleArgumentParser())
    for action in parser._actions:
        longs = [word for word in action.option_strings if word in REFUSED]
        for word in action.option_strings if longs else []:
            with pytest.raises(ConfigurationError, match="|".join(longs)):
                check_flags([word, "1"])

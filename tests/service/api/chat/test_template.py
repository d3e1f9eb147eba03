"""The template's own variables may be set; what would change how the prompt is made may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.api.chat.template import RESERVED, check_template, words_of
from service.errors import InvalidRequest
from service.settings import EMBEDDED_MODEL

TEMPLATE = "{%- if add_vision_id %}Picture 1: {%- endif -%}{{ messages }}{{ bos_token }}{{ custom.tone }}"
KNOWN = words_of(TEMPLATE)


def refused(values: dict[str, Any], known: frozenset[str] | None = KNOWN) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as error:
        check_template(values, known)
    return error.value


@pytest.mark.parametrize(
    "values",
    [
        None,
        {},
        {"add_vision_id": True, "custom": {"tone": "warm"}},
        {"enable_thinking": False},
        {"thinking": True, "add_vision_id": None},
    ],
)
def test_variables_of_the_template_and_the_usual_switches(values: dict[str, Any] | None) -> None:
    check_template(values, KNOWN)


def test_a_variable_that_the_template_does_not_have() -> None:
    error = refused({"add_vision_ids": True})
    assert (error.param, "no variable of this name" in error.message) == (
        "chat_template_kwargs.add_vision_ids",
        True,
    )
    check_template({"add_vision_ids": True}, None)


@pytest.mark.parametrize("name", sorted(RESERVED))
@pytest.mark.parametrize("known", [KNOWN | RESERVED.keys(), None])
def test_names_that_are_no_variables_of_the_template(name: str, known: frozenset[str] | None) -> None:
    error = refused({name: "x"}, known)
    assert (error.param, RESERVED[name] in error.message) == (f"chat_template_kwargs.{name}", True)


def test_everything_that_transformers_takes_for_itself_is_reserved() -> None:
    import inspect

    from transformers import PreTrainedTokenizerBase

    taken = set(inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters)
    assert taken - {"self", "kwargs"} <= RESERVED.keys()


def test_a_switch_is_true_or_false() -> None:
    assert refused({"enable_thinking": "no"}).param == "chat_template_kwargs.enable_thinking"


def test_values_are_bounded() -> None:
    assert "bytes of JSON are too many" in refused({"custom": "x" * 20_000}).message


def test_the_embedded_model_s_template() -> None:
    words = words_of((Path(EMBEDDED_MODEL) / "chat_template.jinja").read_text())
    assert {"messages", "add_generation_prompt"} <= words and "add_vision_id" not in words

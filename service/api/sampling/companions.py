"""Fields that have a meaning only together with others, or not together with others."""

from __future__ import annotations

from service.api.sampling.fields import SamplingFields, StructuredOutputs, TextFormat
from service.errors import InvalidRequest

CONSTRAINTS = ("json", "regex", "choice", "grammar", "json_object", "structural_tag")


def check_sampling(fields: SamplingFields) -> None:
    """Raises InvalidRequest."""
    if fields.stream_options is not None and not fields.stream:
        raise refused("stream_options", "stream_options requires stream to be true.")
    if fields.structured_outputs is not None:
        _check_constraint(fields, fields.structured_outputs)
    held = not isinstance(fields.response_format, TextFormat | None) or fields.structured_outputs is not None
    check_allowed(fields, held=held)


def check_allowed(fields: SamplingFields, *, held: bool) -> None:
    """`held`: whether the answer has a form. Where no token is both, the engine fails. Raises InvalidRequest."""
    if held and fields.allowed_token_ids is not None:
        raise refused(
            "allowed_token_ids",
            "allowed_token_ids: the answer is held to a form, which says what tokens it may have; send one of the two.",
        )


def check_least(fields: SamplingFields, name: str, most: int) -> None:
    """`most` tokens are what the field `name` allows an answer. Raises InvalidRequest."""
    if fields.min_tokens is not None and fields.min_tokens > most:
        raise refused("min_tokens", f"min_tokens is {fields.min_tokens}, but {name} allows only {most}.")


def refused(path: str, sentence: str) -> InvalidRequest:
    return InvalidRequest(sentence, param=path)


def _check_constraint(fields: SamplingFields, outputs: StructuredOutputs) -> None:
    path = "structured_outputs"
    given = [
        name for name in CONSTRAINTS if getattr(outputs, "json_" if name == "json" else name) is not None
    ]
    if len(given) != 1:
        raise refused(
            path,
            f"{path} should have exactly one of {', '.join(CONSTRAINTS)}; received {' and '.join(given) or 'none'}.",
        )
    if fields.response_format is not None and not isinstance(fields.response_format, TextFormat):
        raise refused(
            path, f"{path}: response_format already says what the answer should be; send one of the two."
        )

"""Answers are as the OpenAPI document says; `make fuzz` asks more."""

from __future__ import annotations

from service.api.openapi import document
from tests.service.api.conformance import CHAT, hold_to_document


def test_every_answer_is_declared_and_what_breaks_a_schema_is_refused() -> None:
    found = hold_to_document(examples=20, seed=1)
    assert found.failures == []
    asked = {operation for operation, _ in found.statuses}
    told = {f"{verb.upper()} {path}" for path, verbs in document()["paths"].items() for verb in verbs}
    # Schemathesis asks for the document itself before it begins
    assert asked == told - {"GET /openapi.json"}
    assert found.statuses[f"POST {CHAT}", 200] > 10
    assert found.statuses[f"POST {CHAT}", 400] > 50

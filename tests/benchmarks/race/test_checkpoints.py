"""Which tokens a checkpoint with random weights must not write."""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast

from benchmarks.race.checkpoints import END, IMAGE, VOCABULARY, silent
from service.settings import EMBEDDED_MODEL


def test_special_tokens_and_parts_of_a_character_are_no_text_by_themselves() -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(EMBEDDED_MODEL)
    found = set(silent(VOCABULARY))
    parts = tokenizer.encode("é", add_special_tokens=False)
    assert len(parts) == 2 and found.issuperset(parts) and {END, IMAGE} <= found
    assert not found & set(tokenizer.encode("What is red?", add_special_tokens=False))

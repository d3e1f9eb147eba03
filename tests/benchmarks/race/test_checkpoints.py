"""Which tokens a checkpoint with random weights must not write."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from benchmarks.race.checkpoints import DECODER, END, IMAGE, VOCABULARY, save, silent
from service.settings import EMBEDDED_MODEL


def test_special_tokens_and_parts_of_a_character_are_no_text_by_themselves() -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(EMBEDDED_MODEL)
    found = set(silent(VOCABULARY))
    parts = tokenizer.encode("é", add_special_tokens=False)
    assert len(parts) == 2 and found.issuperset(parts) and {END, IMAGE} <= found
    assert not found & set(tokenizer.encode("What is red?", add_special_tokens=False))


def test_no_step_of_a_checkpoint_finds_them_the_likeliest(tmp_path: Path) -> None:
    small = DECODER | {"num_hidden_layers": 1, "hidden_size": 64, "intermediate_size": 64}
    save(Qwen2ForCausalLM(Qwen2Config(**small)), tmp_path)
    head = Qwen2ForCausalLM.from_pretrained(tmp_path).get_output_embeddings().weight
    zero = (head == 0).all(dim=1).nonzero().flatten().tolist()
    assert zero == silent(VOCABULARY)

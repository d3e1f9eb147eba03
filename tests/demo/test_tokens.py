"""The tokenizer encodes any text, digits one by one; the template is what training wrote."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tokenizers import Tokenizer
from transformers import AutoProcessor, AutoTokenizer

from demo.batches import Writer
from demo.questions import Question
from demo.shape import VOCABULARY
from demo.tokens import SPECIAL, train_tokenizer

MODEL = Path("demo/model")
TOKENIZER = AutoTokenizer.from_pretrained(MODEL)


@given(st.text())
def test_any_text_comes_back(text: str) -> None:
    ids = TOKENIZER.encode(text, add_special_tokens=False, split_special_tokens=True)
    assert TOKENIZER.decode(ids, clean_up_tokenization_spaces=False) == unicodedata.normalize("NFC", text)


@given(st.integers(0, 10**9))
def test_digits_are_single_tokens(number: int) -> None:
    assert TOKENIZER.tokenize(str(number)) == list(str(number))


def test_special_tokens_are_single_and_last() -> None:
    first = len(TOKENIZER) - len(SPECIAL)
    assert [TOKENIZER.convert_tokens_to_ids(token) for token in SPECIAL] == list(range(first, len(TOKENIZER)))


def test_a_new_tokenizer_has_the_size_the_model_expects() -> None:
    fresh = train_tokenizer()
    assert fresh.get_vocab_size() <= VOCABULARY
    assert [fresh.token_to_id(token) for token in SPECIAL] == [
        TOKENIZER.convert_tokens_to_ids(token) for token in SPECIAL
    ]


@pytest.mark.parametrize("system", [None, "Answer briefly."])
def test_training_writes_what_template_and_processor_write(system: str | None) -> None:
    processor = AutoProcessor.from_pretrained(MODEL)
    pictures = [Image.new("RGB", (120, 120)), Image.new("RGB", (224, 112))]
    messages = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Which image has the red star?"},
                {"type": "image"},
                {"type": "image"},
            ],
        },
        {"role": "assistant", "content": "the first"},
        {"role": "user", "content": "Is there a 7?"},
        {"role": "assistant", "content": [{"type": "text", "text": "no"}]},
    ]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    text = processor.apply_chat_template(messages, tokenize=False)
    theirs = processor(images=pictures, text=text)["input_ids"][0]
    writer = Writer(Tokenizer.from_file(str(MODEL / "tokenizer.json")))
    turns = [
        Question("two images", "Which image has the red star?", "the first"),
        Question("presence", "Is there a 7?", "no"),
    ]
    ours = writer.prefix([1, 3], system) + writer.block(turns)[0]
    assert [*ours, *theirs[len(ours) :]] == list(theirs)
    assert len(theirs) - len(ours) == 1  # the newline after the last message


def test_generation_prompt_opens_the_assistants_turn() -> None:
    text = TOKENIZER.apply_chat_template(
        [{"role": "user", "content": "Hello"}], add_generation_prompt=True, tokenize=False
    )
    assert text == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"

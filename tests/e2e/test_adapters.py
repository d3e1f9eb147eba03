"""A LoRA adapter is one more model: listed, and asked by its name; one that changes the tower is refused."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import openai
import pytest

from benchmarks.servers import PATCHBAY
from tests.e2e.adapters import TOWER, write_adapter
from tests.e2e.conftest import ADAPTER
from tests.e2e.server import Server, environment
from tests.e2e.test_openai_client import asks, details, picture

pytestmark = pytest.mark.e2e
PROMPTS = ("What do you", "I am the", "Tell me of", "A red star and")


def answer(client: openai.OpenAI, model: str) -> openai.types.chat.ChatCompletion:
    return client.chat.completions.create(
        model=model, messages=asks(picture(70, detail="low")), max_tokens=12, temperature=0
    )


def test_it_is_listed_and_answers_under_its_name(patchbay: Server) -> None:
    client = openai.OpenAI(base_url=f"{patchbay.url}/v1", api_key="none", max_retries=0)
    base, adapter = client.models.list().data
    assert adapter.id == ADAPTER and adapter.to_dict()["parent"] == base.id
    plain, adapted, again = (answer(client, model) for model in (base.id, ADAPTER, base.id))
    assert adapted.model == ADAPTER
    assert details(adapted.usage)["image_tokens"] == details(plain.usage)["image_tokens"] == 16
    assert adapted.choices[0].message.content != plain.choices[0].message.content
    assert again.choices[0].message.content == plain.choices[0].message.content


def test_asked_at_once_each_answers_as_if_asked_alone(patchbay: Server) -> None:
    async def ask(client: openai.AsyncOpenAI, model: str, prompt: str) -> str:
        # enough tokens that all are in one batch for most of the time
        made = await client.completions.create(model=model, prompt=prompt, max_tokens=48, temperature=0)
        return made.choices[0].text

    async def compare() -> None:
        async with openai.AsyncOpenAI(base_url=f"{patchbay.url}/v1", api_key="none", max_retries=0) as client:
            base, adapter = [model.id async for model in client.models.list()]
            asked = [(model, prompt) for prompt in PROMPTS for model in (base, adapter)]
            at_once = await asyncio.gather(*(ask(client, *each) for each in asked))
            alone = [await ask(client, *each) for each in asked]
        assert dict(zip(asked, at_once, strict=True)) == dict(zip(asked, alone, strict=True))

    asyncio.run(compare())


def test_one_that_changes_the_tower_is_refused_in_a_sentence(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "tower", TOWER, side=128, layers=1)
    refused = subprocess.run(
        [*PATCHBAY, "check", "--", "--enable-lora", "--lora-modules", f"seeing={folder}"],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert refused.returncode != 0
    assert "the LoRA adapter seeing changes the vision tower (base_model" in refused.stderr
    assert "choose images=passthrough" in refused.stderr

"""A LoRA adapter is one more model: listed, and asked by its name; one that changes the tower is refused."""

from __future__ import annotations

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

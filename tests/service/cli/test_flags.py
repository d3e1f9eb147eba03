import re

import pytest

from service.cli import flags
from service.cli.main import main, parser
from service.settings import Settings


def test_only_what_was_given_becomes_a_setting() -> None:
    options = parser().parse_args(["serve", "./model", "--port", "9", "--allow-private-urls"])
    assert flags.given(options) == {"model": "./model", "port": "9", "allow_private_urls": True}


@pytest.mark.parametrize("command", ["serve", "check"])
def test_help_teaches_every_setting(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = re.sub(r"\s+", "", capsys.readouterr().out)
    for name in Settings.model_fields:
        assert f"PATCHBAY_{name.upper()}" in text
        assert name == "model" or f"--{name.replace('_', '-')}" in text


def test_help_shows_a_default_where_there_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "[PATCHBAY_PORT, default 8000]" in text
    assert "[PATCHBAY_ENGINE_URL]" in text
    assert "[PATCHBAY_API_KEYS]" in text
    assert "[PATCHBAY_MODEL]" in text


def test_what_follows_two_dashes_goes_to_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, object]] = []
    monkeypatch.setattr("service.cli.check.check", lambda given: seen.append(given) or 0)
    assert main(["check", "--port", "9", "--", "--max-num-seqs", "4"]) == 0
    assert seen == [{"port": "9", "engine_args": ("--max-num-seqs", "4")}]


def test_an_impossible_setting_is_one_sentence_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--max-images", "none"]) == 1
    assert capsys.readouterr().err.startswith("patchbay check: max_images: ")

"""The file of API keys: what it may say, and how a mistake is told."""

from __future__ import annotations

import hashlib

import pytest

from service.domain import Caller, Priority
from service.errors import ConfigurationError
from service.keys.entry import of_key, read_entries

HASH = hashlib.sha256(b"secret").hexdigest()


def entry(**fields: object) -> str:
    lines = [f"{name} = {value!r}".replace("'", '"') for name, value in fields.items()]
    return "\n".join(["[[keys]]", *lines, ""])


def caller(**fields: object) -> Caller:
    (found,) = read_entries(entry(**({"name": "a", "sha256": HASH} | fields)))
    return found.caller()


def test_name_and_hash_are_enough() -> None:
    made = caller()
    assert (made.name, made.models, made.priority, made.weight) == ("a", None, Priority.INTERACTIVE, 1.0)
    assert (made.max_requests, made.max_bodies, made.max_visual_tokens, made.requests_per_minute) == (
        None,
    ) * 4


def test_every_field_reaches_the_caller() -> None:
    limits = {"max_requests": 1, "max_bodies": 2, "max_visual_tokens": 3, "requests_per_minute": 4}
    made = caller(models=["x", "y"], priority="batch", weight=2.5, **limits)
    assert (made.models, made.priority, made.weight) == (frozenset({"x", "y"}), Priority.BATCH, 2.5)
    assert {name: getattr(made, name) for name in limits} == limits


def test_caches_are_apart_unless_they_are_shared_on_purpose() -> None:
    other = hashlib.sha256(b"other").hexdigest()
    assert len(caller().tenant) == 64
    assert caller().tenant == of_key("secret", "another-name").caller().tenant
    assert caller().tenant != caller(sha256=other).tenant
    assert caller(cache="team").tenant == caller(cache="team", sha256=other).tenant
    assert caller(cache="team").tenant != caller(cache="team2").tenant


def test_no_entries_are_a_file_too() -> None:
    assert read_entries("keys = []") == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[keys", "not valid TOML"),
        ("", "[[keys]] tables and nothing else"),
        ("keys = 3", "[[keys]] tables and nothing else"),
        (f"{entry(name='a', sha256=HASH)}[more]\nx = 1\n", "[[keys]] tables and nothing else"),
        ("keys = [3]", "key 1: it: "),
        (entry(name="a"), "key a: sha256: Field required"),
        (entry(sha256=HASH), "key 1: name: Field required"),
        (entry(name="a b", sha256=HASH), "key a b: name: String should match"),
        (entry(name="a", sha256="secret"), "key a: sha256: String should match"),
        (entry(name="a", sha256=HASH, limit=3), "key a: limit: Extra inputs are not permitted"),
        (
            entry(name="a", sha256=HASH, weight=0),
            "key a: weight: Input should be greater than or equal to 0.01",
        ),
        (entry(name="a", sha256=HASH, max_requests=0), "key a: max_requests: "),
        (
            entry(name="a", sha256=HASH, priority="urgent"),
            "key a: priority: Input should be 'interactive' or 'batch'",
        ),
        (entry(name="a", sha256=HASH, models=[]), "key a: models: "),
    ],
)
def test_a_mistake_is_told_with_key_and_field(text: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_entries(text)
    assert told in refused.value.message


def test_a_key_in_the_place_of_its_hash_is_not_told() -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_entries(entry(name="a", sha256="pb-verysecret"))
    assert "verysecret" not in refused.value.message

"""Which keys are accepted, and what happens when their file changes."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from service.domain import ANYBODY
from service.errors import ConfigurationError, Unauthorized
from service.keys import KeyStore
from service.keys.entry import of_key
from tests.waiting import until

pytestmark = pytest.mark.anyio
KEYS = ("sk-one", "sk-two")


def write(file: Path, *names: str, more: str = "") -> Path:
    entries = [
        f'[[keys]]\nname = "{name}"\nsha256 = "{of_key("sk-" + name, name).sha256}"\n' for name in names
    ]
    file.write_text("".join(entries) + more)
    return file


def name_of(store: KeyStore, key: str) -> str | None:
    try:
        return store.caller(f"Bearer {key}").name
    except Unauthorized:
        return None


def test_each_key_of_the_list_is_a_caller() -> None:
    store = KeyStore(KEYS)
    one, two = store.caller("Bearer sk-one"), store.caller("bearer  sk-two ")
    assert (one.name, two.name, len(store)) == ("key-1", "key-2", 2)
    assert one.tenant != two.tenant
    assert all(re.fullmatch("[0-9a-f]{64}", caller.tenant) for caller in (one, two))
    assert KeyStore(KEYS[::-1]).caller("Bearer sk-one").tenant == one.tenant


def test_without_keys_everybody_is_one_caller() -> None:
    store = KeyStore()
    assert store.caller(None) is store.caller("Bearer whatever") is ANYBODY
    assert ANYBODY.tenant == ""


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "sk-one",
        "Basic sk-one",
        "Bearer sk-on",
        "Bearer sk-one2",
        "Bearer é",
        "Bearer \udcff",
    ],
)
def test_everything_else_is_refused(header: str | None) -> None:
    with pytest.raises(Unauthorized) as refused:
        KeyStore(KEYS).caller(header)
    assert "sk-one" not in refused.value.message


@pytest.mark.parametrize("key", ["", "a b", "clé", "a\n"])
def test_a_key_that_no_header_could_carry(key: str) -> None:
    with pytest.raises(ConfigurationError, match="API key number 2"):
        KeyStore(["good", key])


def test_list_and_file_are_used_together(tmp_path: Path) -> None:
    store = KeyStore(KEYS, write(tmp_path / "keys", "three"))
    assert [name_of(store, key) for key in (*KEYS, "sk-three", "sk-four")] == [
        "key-1",
        "key-2",
        "three",
        None,
    ]


def test_a_file_without_entries_lets_nobody_in(tmp_path: Path) -> None:
    store = KeyStore(file=write(tmp_path / "keys", more="keys = []"))
    assert name_of(store, "sk-one") is None and len(store) == 0


def test_a_changed_file_is_taken_over(tmp_path: Path) -> None:
    file = write(tmp_path / "keys", "old", "kept")
    store = KeyStore(file=file)
    write(file, "kept", "new")
    store.reload(file)
    assert [name_of(store, f"sk-{name}") for name in ("old", "kept", "new")] == [None, "kept", "new"]


@pytest.mark.parametrize("broken", ["[[keys", "é".encode("latin-1")])
def test_a_file_that_became_unusable_changes_nothing(
    tmp_path: Path, broken: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file = write(tmp_path / "keys", "kept")
    store = KeyStore(file=file)
    file.write_bytes(broken if isinstance(broken, bytes) else broken.encode())
    for _ in range(3):
        store.reload(file)
    assert name_of(store, "sk-kept") == "kept" and store.reload_failed
    assert caplog.text.count("the keys read before stay in force") == 1
    write(file, "kept")
    store.reload(file)
    assert not store.reload_failed


def test_a_file_that_is_gone_for_a_while_changes_nothing(tmp_path: Path) -> None:
    file = write(tmp_path / "keys", "kept")
    store = KeyStore(file=file)
    file.rename(tmp_path / "elsewhere")
    store.reload(file)
    assert name_of(store, "sk-kept") == "kept" and store.reload_failed
    (tmp_path / "elsewhere").rename(file)
    store.reload(file)
    assert not store.reload_failed


async def test_watching_notices_a_change(tmp_path: Path) -> None:
    file = write(tmp_path / "keys", "old")
    store = KeyStore(file=file)
    watching = asyncio.create_task(store.watch(every=0.001))
    write(file, "new")
    await until(lambda: name_of(store, "sk-new") == "new")
    watching.cancel()


async def test_without_a_file_there_is_nothing_to_watch() -> None:
    await KeyStore(KEYS).watch(every=0)


def test_what_cannot_be_used_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        KeyStore(file=tmp_path / "none")
    twice = write(
        tmp_path / "twice", "a", more=f'[[keys]]\nname = "a"\nsha256 = "{of_key("b", "b").sha256}"\n'
    )
    with pytest.raises(ConfigurationError, match="the name a is given to more than one key"):
        KeyStore(file=twice)
    same = write(
        tmp_path / "same", "a", more=f'[[keys]]\nname = "b"\nsha256 = "{of_key("sk-a", "b").sha256}"\n'
    )
    with pytest.raises(ConfigurationError, match="b is the same key as a"):
        KeyStore(file=same)
    (tmp_path / "large").write_bytes(b"#" * (4 * 1024**2 + 1))
    with pytest.raises(ConfigurationError, match="has more than 4194304 bytes"):
        KeyStore(file=tmp_path / "large")

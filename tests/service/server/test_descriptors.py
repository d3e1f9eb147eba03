from __future__ import annotations

import resource

import pytest

from service.errors import ConfigurationError
from service.ingest import FetchLimits
from service.server import Descriptors, plan_descriptors
from service.server.descriptors import ADMIN_CONNECTIONS, FETCHES, OWN


def test_sixteen_connections_for_each_place() -> None:
    planned = plan_descriptors(None, 256, hard_limit=2**20)
    assert planned.connections == 4096
    # each place has a connection to the engine too
    assert planned.needed == 4096 + 256 + OWN + FETCHES + ADMIN_CONNECTIONS


def test_no_limit_at_all() -> None:
    assert plan_descriptors(None, 256, hard_limit=resource.RLIM_INFINITY).connections == 4096


def test_as_many_as_there_is_room_for() -> None:
    planned = plan_descriptors(None, 256, hard_limit=1024)
    assert 256 < planned.connections < 512
    assert planned.needed == 1024


def test_what_was_asked_for_is_what_there_is() -> None:
    assert plan_descriptors(300, 256, hard_limit=1024).connections == 300


@pytest.mark.parametrize(
    "wanted, inflight, words",
    [(2000, 256, ["max_connections=2000", "2640", "1024"]), (None, 600, ["max_inflight=600", "1024"])],
)
def test_too_few_descriptors_are_refused_by_name(wanted: int | None, inflight: int, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        plan_descriptors(wanted, inflight, hard_limit=1024)
    assert all(word in refused.value.message for word in [*words, "ulimit"])


def test_images_are_fetched_on_as_many_connections_as_are_set_aside() -> None:
    assert FetchLimits().connections == FETCHES


@pytest.mark.parametrize("soft, raised", [(1024, 2000), (4096, None), (resource.RLIM_INFINITY, None)])
def test_the_soft_limit_is_raised_as_far_as_needed(
    soft: int, raised: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, 8192))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    Descriptors(connections=1000, needed=2000).ensure()
    assert asked == ([(raised, 8192)] if raised else [])

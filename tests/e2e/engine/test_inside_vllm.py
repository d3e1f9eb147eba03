"""The plugin's classes in vLLM's own surroundings, without a running engine."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.arena import ArenaMismatch, ArenaSpec, ArenaStore
from service.domain import Run, SoftLayout
from service.engine.plugin.contract import HandleRefused

pytestmark = pytest.mark.e2e

KEY, OTHER = "ab" * 32, "cd" * 32


@pytest.fixture(scope="module")
def plugin() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch and vLLM about themselves
        from vllm.distributed.ec_transfer.ec_connector.base import ECConnectorRole

        from service.engine.plugin import connector, processor
    return SimpleNamespace(connector=connector, processor=processor, role=ECConnectorRole)


@pytest.fixture(params=["float32", "bfloat16", "float16"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ArenaStore]:
    spec = ArenaSpec(width=6, dtype=request.param, page_rows=4, pages=8, slots=4, max_pages=3)
    store = ArenaStore(str(tmp_path / "arena"), spec)
    yield store
    store.close()


def config(dtype: Any, *, embeds: int = 6, **extra: Any) -> Any:
    transfer = SimpleNamespace(is_ec_producer=False, is_ec_consumer=True, ec_connector_extra_config=extra)
    model = SimpleNamespace(dtype=dtype, get_inputs_embeds_size=lambda: embeds)
    return SimpleNamespace(
        ec_transfer_config=transfer, model_config=model, device_config=SimpleNamespace(device="cpu")
    )


def image(key: str, offset: int, rows: int, data: Any = ("soft_layout",)) -> Any:
    place = SimpleNamespace(offset=offset, length=rows + 2, get_num_embeds=lambda: rows)
    return SimpleNamespace(identifier=key, mm_position=place, data=data)


def request(*features: Any) -> Any:
    return SimpleNamespace(request_id="r", mm_features=list(features))


def step(tokens: int = 9, freed: tuple[str, ...] = ()) -> Any:
    return SimpleNamespace(total_num_scheduled_tokens=tokens, free_encoder_mm_hashes=list(freed))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_rows_reach_a_worker_as_the_models_numbers(plugin: Any, store: ArenaStore, dtype: str) -> None:
    import torch

    stored = torch.randn(5, 6).to(getattr(torch, store.spec.dtype))  # [rows, width]
    store.put(KEY, stored.view(torch.uint8).numpy())
    vllm_config = config(getattr(torch, dtype), arena=store.path)
    scheduler = plugin.connector.ArenaConnector(vllm_config, plugin.role.SCHEDULER)
    worker = plugin.connector.ArenaConnector(vllm_config, plugin.role.WORKER)
    asked = request(image(KEY, 3, 5))
    assert scheduler.ensure_cache_available(asked, 0)
    assert scheduler.has_cache_item(KEY)
    scheduler.update_state_after_alloc(asked, 0)
    worker.bind_connector_metadata(pickle.loads(pickle.dumps(scheduler.build_connector_meta(step()))))
    cache: dict[str, torch.Tensor] = {}
    worker.start_load_caches(cache)
    assert cache.keys() == {KEY}
    assert torch.equal(cache[KEY], stored.to(getattr(torch, dtype)))
    assert not scheduler.has_cache_item(KEY)


def test_only_images_that_are_still_to_be_computed_are_looked_up(plugin: Any, store: ArenaStore) -> None:
    import torch

    connector = plugin.connector.ArenaConnector(
        config(torch.float32, arena=store.path), plugin.role.SCHEDULER
    )
    store.put(OTHER, np.zeros((4, store.spec.row_bytes), np.uint8))
    asked = request(image(KEY, 3, 5), image(OTHER, 20, 4), image("raw", 40, 4, data=("pixel_values",)))
    assert connector.ensure_cache_available(asked, 10)
    assert not connector.has_cache_item(KEY) and not connector.has_cache_item("raw")
    connector.update_state_after_alloc(asked, 2)
    assert connector.build_connector_meta(step()).loads == {}
    assert connector.take_unavailable_requests() == set()
    assert not connector.ensure_cache_available(asked, 9)
    assert not connector.ensure_cache_available(asked, 0)
    assert connector.take_unavailable_requests() == {"r"}
    assert connector.take_unavailable_requests() == set()


def test_an_image_without_data_is_no_handle(plugin: Any, store: ArenaStore) -> None:
    import torch

    connector = plugin.connector.ArenaConnector(
        config(torch.float32, arena=store.path), plugin.role.SCHEDULER
    )
    assert connector.ensure_cache_available(request(image(KEY, 0, 4, data=None)), 0)


def test_an_arena_or_a_setting_that_does_not_fit_ends_the_start(plugin: Any, store: ArenaStore) -> None:
    import torch

    make, role = plugin.connector.ArenaConnector, plugin.role.WORKER
    with pytest.raises(ArenaMismatch, match="are 6 wide; the model takes 8"):
        make(config(torch.float32, embeds=8, arena=store.path), role)
    make(config(torch.float32, embeds=2, arena=store.path, width=6), role)  # rows of several levels
    with pytest.raises(ValueError, match="must have arena and may have width"):
        make(config(torch.float32), role)
    with pytest.raises(ValueError, match="must have arena and may have width"):
        make(config(torch.float32, arena=store.path, widht=6), role)
    with pytest.raises(ValueError, match="dtype is float64; allowed are float32, bfloat16, float16"):
        make(config(torch.float64, arena=store.path), role)


prompts = st.lists(st.lists(st.integers(0, 4), max_size=6), min_size=2, max_size=5)
runs = st.builds(Run, token=st.integers(5, 9), count=st.integers(1, 4), embeds=st.booleans())


@given(prompts, st.data())
def test_layouts_take_the_places_of_the_targets(
    plugin: Any, texts: list[list[int]], data: st.DataObject
) -> None:
    target = (9, 8)
    layouts = [
        SoftLayout(target, tuple(data.draw(st.lists(runs, min_size=1, max_size=4)))) for _ in texts[1:]
    ]
    prompt = [*texts[0]]
    for text in texts[1:]:
        prompt += [*target, *text]
    laid, ranges = plugin.processor.lay_out(prompt, layouts)
    rest, done = [], 0
    for place, layout in zip(ranges, layouts, strict=True):
        rest.append(laid[done : place.offset])
        done = place.offset + place.length
        assert laid[place.offset : done] == [run.token for run in layout.runs for _ in range(run.count)]
        carries = [run.embeds for run in layout.runs for _ in range(run.count)]
        assert (place.is_embed is None) == all(carries)
        assert place.is_embed is None or place.is_embed.tolist() == carries
        assert place.get_num_embeds() == layout.tokens
    assert [*rest, laid[done:]] == texts


@pytest.mark.parametrize("prompt", [[], [9], [9, 8, 9, 8], [8, 9]])
def test_a_prompt_with_other_than_one_target_an_image_is_refused(plugin: Any, prompt: list[int]) -> None:
    with pytest.raises(HandleRefused, match="image placeholders for 1 images"):
        plugin.processor.lay_out(prompt, [SoftLayout((9, 8), (Run(9, 3, True),))])


def test_images_without_a_target_stand_at_the_start_in_their_order(plugin: Any) -> None:
    layouts = [SoftLayout((), (Run(9, 2, True),)), SoftLayout((), (Run(8, 1, False), Run(9, 3, True)))]
    laid, ranges = plugin.processor.lay_out([1, 2], layouts)
    assert laid == [9, 9, 8, 9, 9, 9, 1, 2]
    assert [(place.offset, place.length) for place in ranges] == [(0, 2), (2, 4)]


ONE, TWO, THREE, FOUR = 1, 2, 3, 4
JOINS = ((ONE, TWO, THREE), (TWO, ONE, THREE), (TWO, TWO, FOUR))
BETWEEN_NEWLINES = SoftLayout((9,), (Run(TWO, 1, False), Run(8, 2, True), Run(TWO, 1, False)), joins=JOINS)


@pytest.mark.parametrize(
    ("prompt", "laid"),
    [
        ([5, 9, 6], [5, TWO, 8, 8, TWO, 6]),
        ([ONE, 9, ONE], [THREE, 8, 8, THREE]),
        ([THREE, 9, THREE], [THREE, TWO, 8, 8, TWO, THREE]),
        ([9, 9], [TWO, 8, 8, FOUR, 8, 8, TWO]),
        ([9, ONE, 9], [TWO, 8, 8, THREE, TWO, 8, 8, TWO]),
        ([ONE, TWO, 9], [ONE, FOUR, 8, 8, TWO]),
    ],
    ids=["apart", "both ends", "none for it", "two images", "a newline between images", "text stays"],
)
def test_tokens_that_meet_where_an_image_begins_or_ends_are_joined(
    plugin: Any, prompt: list[int], laid: list[int]
) -> None:
    images = prompt.count(9)
    ours, ranges = plugin.processor.lay_out(prompt, [BETWEEN_NEWLINES] * images)
    assert ours == laid
    assert [place.get_num_embeds() for place in ranges] == [2] * images
    for place in ranges:
        tokens = ours[place.offset : place.offset + place.length]
        carries = place.is_embed.tolist()
        assert [token for token, embeds in zip(tokens, carries, strict=True) if embeds] == [8, 8]
    assert all(
        one.offset + one.length <= other.offset for one, other in zip(ranges, ranges[1:], strict=False)
    )


@pytest.mark.parametrize(("prompt", "end"), [([5], [5, 6]), ([5, 6], [5, 6]), ([], [6])])
def test_a_prompt_ends_as_the_layout_says(plugin: Any, prompt: list[int], end: list[int]) -> None:
    layout = SoftLayout((), (Run(9, 2, True),), ending=6)
    laid, ranges = plugin.processor.lay_out(prompt, [layout])
    assert laid == [9, 9, *end]
    assert [(place.offset, place.length) for place in ranges] == [(0, 2)]
    with pytest.raises(HandleRefused, match="differ in their ending"):
        plugin.processor.lay_out(prompt, [layout, replace(layout, ending=7)])


def test_images_that_join_otherwise_are_refused(plugin: Any) -> None:
    other = replace(BETWEEN_NEWLINES, joins=())
    with pytest.raises(HandleRefused, match="differ in their joins"):
        plugin.processor.lay_out([9, 9], [BETWEEN_NEWLINES, other])

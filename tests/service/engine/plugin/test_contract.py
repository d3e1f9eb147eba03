import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import Handle, LanguageModel, Run, SoftLayout
from service.engine.handles import PLUGIN_VERSION, part
from service.engine.plugin.contract import (
    FIELDS,
    REQUIRED,
    HandleRefused,
    Limits,
    PluginSettings,
    check_key,
    read_layout,
)

LIMITS = Limits(max_tokens=40, max_positions=60, vocabulary=100, merge=None)
ROOMY = Limits(max_tokens=40, max_positions=60, vocabulary=200, merge=None)
GOOD = {"soft_version": [PLUGIN_VERSION], "soft_target": [7], "soft_layout": [5, 1, 0, 7, 32, 1, 6, 1, 0]}

runs = st.builds(Run, token=st.integers(0, 99), count=st.integers(1, 5), embeds=st.booleans())
layouts = st.builds(
    SoftLayout,
    target=st.lists(st.integers(0, 99), max_size=3).map(tuple),
    runs=st.lists(runs, min_size=1, max_size=8).map(tuple),
    grid=st.none() | st.tuples(*[st.integers(1, 9)] * 3),
    joins=st.lists(st.tuples(*[st.integers(100, 199)] * 3), max_size=4).map(tuple),
    ending=st.none() | st.integers(0, 199),
).filter(lambda layout: layout.tokens > 0)


@given(layouts)
def test_what_handles_writes_the_plugin_reads(layout: SoftLayout) -> None:
    written = part(Handle("ab" * 32, layout))["image_embeds"]
    assert REQUIRED <= written.keys() <= FIELDS
    assert read_layout(written, ROOMY) == layout


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=12), st.lists(st.integers(-2, 200), max_size=3))
def test_whatever_passes_fits_the_engine(numbers: list[int], target: list[int]) -> None:
    try:
        layout = read_layout({**GOOD, "soft_layout": numbers, "soft_target": target}, LIMITS)
    except HandleRefused:
        return
    assert 0 < layout.tokens <= LIMITS.max_tokens
    assert layout.positions <= LIMITS.max_positions
    assert all(run.count > 0 and run.token >= 0 for run in layout.runs)
    assert all(run.token < LIMITS.vocabulary for run in layout.runs if not run.embeds)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"soft_version": [2]},
            f"the handle is of version 2; the engine's plugin is of version {PLUGIN_VERSION}",
        ),
        ({"soft_version": []}, "the handle is of version ; "),
        ({"soft_layout": []}, "triples"),
        ({"soft_layout": [7, 32]}, "triples"),
        ({"soft_layout": [7, 1, 1] * 61}, "triples"),
        ({"soft_layout": [7, 32, 2]}, "neither 0 nor 1"),
        ({"soft_layout": [7, 32, -1]}, "neither 0 nor 1"),
        ({"soft_layout": [7, 0, 1]}, "takes 0 positions"),
        ({"soft_layout": [7, 10, 1, 7, -5, 1]}, "each run takes at least one"),
        (
            {"soft_layout": [7, 30, 1, 5, 31, 0]},
            "takes 61 positions; each run takes at least one, all at most 60",
        ),
        ({"soft_layout": [100, 1, 0, 7, 1, 1]}, "outside the vocabulary of 100"),
        ({"soft_layout": [-1, 1, 1]}, "outside the vocabulary"),
        ({"soft_layout": [7, 41, 1]}, "has 41 soft tokens; allowed are 1 to 40"),
        ({"soft_layout": [7, 4, 0]}, "has 0 soft tokens"),
        ({"image_grid_thw": [1, 2]}, "three numbers"),
        ({"soft_joins": [1, 2]}, "at most 256 triples of left, right, joined"),
        ({"soft_joins": [1, 2, 3] * 257}, "at most 256 triples"),
        ({"soft_joins": [1, 2, 100]}, "joins a token that .* is outside the vocabulary of 100"),
        ({"soft_joins": [1, 7, 3]}, "joins a token that carries a row"),
        ({"soft_ending": []}, "ending must be one token of the vocabulary of 100"),
        ({"soft_ending": [1, 2]}, "ending must be one token"),
        ({"soft_ending": [100]}, "ending must be one token of the vocabulary of 100"),
    ],
)
def test_a_bad_handle_is_refused_in_a_sentence(changes: dict[str, list[int]], sentence: str) -> None:
    with pytest.raises(HandleRefused, match=sentence):
        read_layout({**GOOD, **changes}, LIMITS)


def test_a_token_beyond_the_vocabulary_may_stand_where_rows_go() -> None:
    assert read_layout({**GOOD, "soft_layout": [500, 3, 1]}, LIMITS).tokens == 3


GRIDS = Limits(max_tokens=40, max_positions=60, vocabulary=100, merge=2)


@pytest.mark.parametrize(
    "grid",
    [[1, 4, 6], [1, 8, 11], [0, 4, 4], [2, 4, 4], [2, 4, 2], [1, 5, 4], [1, 4, 5], [1, -4, -4], [-1, -4, 4]],
    ids=str,
)
def test_a_grid_must_give_the_rows_where_positions_need_it(grid: list[int]) -> None:
    handle = {**GOOD, "soft_layout": [7, 4, 1]}
    with pytest.raises(HandleRefused, match="does not give its 4 soft tokens"):
        read_layout({**handle, "image_grid_thw": grid}, GRIDS)
    assert read_layout({**handle, "image_grid_thw": grid}, LIMITS).grid == tuple(grid)


def test_where_positions_need_a_grid_there_are_rows_only() -> None:
    handle = {**GOOD, "soft_layout": [7, 1, 1, 7, 3, 1]}
    assert read_layout({**handle, "image_grid_thw": [1, 4, 4]}, GRIDS).grid == (1, 4, 4)
    with pytest.raises(HandleRefused, match="has no grid"):
        read_layout(handle, GRIDS)
    with pytest.raises(HandleRefused, match="carry no row"):
        read_layout({**handle, "image_grid_thw": [1, 4, 4], "soft_layout": [5, 1, 0, 7, 4, 1]}, GRIDS)


@given(st.integers(1, 2), st.integers(3, 12), st.integers(3, 12), st.integers(1, 3))
def test_of_grids_that_give_the_rows_only_whole_ones_pass(
    frames: int, height: int, width: int, merge: int
) -> None:
    rows = frames * (height // merge) * (width // merge)
    handle = {**GOOD, "soft_layout": [7, rows, 1], "image_grid_thw": [frames, height, width]}
    limits = Limits(max_tokens=300, max_positions=300, vocabulary=100, merge=merge)
    if frames == 1 and height % merge == width % merge == 0:
        assert read_layout(handle, limits).grid == (frames, height, width)
    else:
        with pytest.raises(HandleRefused, match=f"does not give its {rows} soft tokens"):
            read_layout(handle, limits)


@pytest.mark.parametrize("key", [None, "", "AB" * 32, "ab" * 31, "ab" * 32 + "\n", "../" + "a" * 61])
def test_only_content_keys_are_taken(key: str | None) -> None:
    with pytest.raises(HandleRefused, match="key"):
        check_key(key)
    check_key("0f" * 32)


def test_the_launchers_settings_are_read() -> None:
    text = json.dumps({"architecture": "A", "max_tokens": 5, "version": PLUGIN_VERSION})
    assert PluginSettings.from_json(text) == PluginSettings("A", 5)
    language = {"architecture": "B", "prefix": "model.text.", "placeholder": "<image>"}
    told = json.dumps({**json.loads(text), "language": language})
    assert PluginSettings.from_json(told) == PluginSettings("A", 5, LanguageModel(**language))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must be a JSON object of architecture, max_tokens, version"),
        ("[]", "must be a JSON object"),
        ('{"architecture": "A"}', "must be a JSON object"),
        (
            '{"architecture": "A", "max_tokens": 5, "version": 9}',
            f"for plugin version 9; this is {PLUGIN_VERSION}",
        ),
        ('{"architecture": "", "max_tokens": 5, "version": 1}', "architecture is ''"),
        ('{"architecture": "A", "max_tokens": 0, "version": 1}', "max_tokens is 0"),
        ('{"architecture": "A", "max_tokens": true, "version": 1}', "max_tokens is True"),
        ('{"architecture": "A", "max_tokens": 5, "version": 1, "other": 1}', "and may have language"),
        (
            '{"architecture": "A", "max_tokens": 5, "version": 1, "language": {"architecture": "B"}}',
            "must be an object of architecture, placeholder, prefix",
        ),
        (
            '{"architecture": "A", "max_tokens": 5, "version": 1, "language": '
            '{"architecture": "B", "prefix": "", "placeholder": "<image>"}}',
            "language is .* must be an object",
        ),
    ],
)
def test_wrong_settings_are_refused_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        PluginSettings.from_json(text)

"""The report and the summary hold the figures, need nothing from elsewhere, and say what was missed."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from loadtests import figures as f
from loadtests.charts import Scale, Series, chart
from loadtests.figures import Figures
from loadtests.options import Options
from loadtests.plans import Stage
from loadtests.report import report
from loadtests.server_side import differences
from loadtests.slo import judge
from loadtests.summary import Run, lines_of, stage_words, summary, told

Parse = Callable[..., Options]
BEGAN = 1_700_000_000.0
VOID = {"meta", "br", "link", "img"}


class Page(HTMLParser):
    """Checks that tags close, and gathers the text of cells and what is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [str(value) for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Nothing: it is closed."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open:
            self.cells[-1] += data


@pytest.fixture
def figures() -> Figures:
    """Ten seconds of one request each: eight right, one wrong, one refused."""
    found = Figures()
    for i in range(10):
        at = BEGAN + i
        found.count(at, "chat", f.STARTED)
        found.count(at, "chat", f.AWAITED)
        found.count(at, "chat", f.LEFT)
        if i < 9:
            found.count(at, "chat", f.RIGHT if i < 8 else f.WRONG)
            found.value(at, "chat", f.FIRST_TOKEN, 100.0 + i)
            found.value(at, "chat", f.TOTAL, 200.0 + i)
        else:
            found.count(at, "chat", f.REFUSED)
            found.count(at, "chat", f.TOKENLESS)
    found.count(BEGAN + 8, "chat", f.REASON + "said <b>'lost'</b>")
    return found


@pytest.fixture
def run(options: Parse, figures: Figures) -> Run:
    chosen = options("--rate", "1", "--api-key", "sesame")
    sustained = Stage("step 1", 1.0, BEGAN, BEGAN + 8)
    too_much = Stage("step 2", 2.0, BEGAN + 8, BEGAN + 10)
    for stage in (sustained, too_much):
        stage.lines = judge(figures.over(stage.start, stage.end), chosen.objectives)
    run = Run(chosen, "http://<here>", "demo", BEGAN, BEGAN + 12, stages=[sustained, too_much], capacity=1.0)
    run.levels = [(BEGAN, 1.0), (BEGAN + 8, 2.0)]
    run.lines = lines_of(run, None, figures)
    run.server = {"cache hits": 7.0}
    return run


def test_the_summary_counts_what_happened(run: Run, figures: Figures) -> None:
    told = json.loads(json.dumps(summary(run, figures), allow_nan=False))
    whole = told["whole_run"]
    assert [whole[name] for name in ("started", "right", "wrong", "refused", "failed")] == [10, 8, 1, 1, 0]
    # percentiles are those of the step that was sustained
    assert told["figures"]["first_token_ms"] == {"count": 8, "p50": 103.0, "p95": 107.0, "p99": 107.0}
    assert told["window"] == "at 1 requests/s, the highest rate sustained"
    assert [stage["held"] for stage in told["stages"]] == [True, False]
    assert told["stages"][0]["answered_per_second"] == 1.0
    assert told["capacity"] == 1.0 and told["server"] == {"cache hits": 7.0}
    assert told["reasons"] == [{"reason": "said <b>'lost'</b>", "count": 1}]
    # over the whole run, warm-up left out, nothing but the wrong and the refused is left
    assert not told["passed"]
    assert {line["name"] for line in told["objectives"] if not line["held"]} == {
        "refused, share",
        "right answers, share",
    }


def test_no_secret_is_written_down(run: Run, figures: Figures) -> None:
    assert summary(run, figures)["options"]["api_key"] is True
    assert "sesame" not in report(run, figures) + json.dumps(summary(run, figures))


def test_requests_without_an_end_are_a_failure(run: Run, figures: Figures) -> None:
    figures.count(BEGAN + 9, "chat", f.STARTED)
    assert [line.met for line in lines_of(run, None, figures) if line.name == "unfinished requests"] == [
        False
    ]


def test_what_is_infinite_is_null(run: Run, figures: Figures) -> None:
    figures.count(BEGAN + 1, "chat", f.AWAITED, 50)
    told = summary(run, figures)
    assert told["figures"]["first_token_ms"]["p95"] is None and told["figures"]["awaiting"] == 50
    assert "never" in report(run, figures)


def test_the_report_is_one_sound_page_with_the_figures(run: Run, figures: Figures) -> None:
    text = report(run, figures)
    page = Page()
    page.feed(text)
    assert page.open == [] and page.loaded == []
    assert "<script" not in text and "url(" not in text and "@import" not in text
    assert "failed" in text and "1 requests/s sustained" in text
    assert "At 2 requests/s: missed refused, right answers." in text
    assert {"107", "cache hits", "said <b>'lost'</b>", "step 2", "right answers, share"} <= set(page.cells)
    assert "http://&lt;here&gt;" in text


def test_the_reports_charts_are_sound_and_inside_their_frames(run: Run, figures: Figures) -> None:
    drawings = re.findall(r"<svg.*?</svg>", report(run, figures), re.S)
    assert len(drawings) == 4
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        width, height = map(float, root.attrib["viewBox"].split()[2:])
        assert any("line" in path.get("class", "") for path in root.iter("path"))
        for path in root.iter("path"):
            for letter, x, y in re.findall(r"([ML])([-\d.]+) ([-\d.]+)", path.get("d", "")):
                assert letter and 0 <= float(x) <= width and 0 <= float(y) <= height


def test_a_service_that_is_behind_is_seen_by_when_requests_ended(options: Parse) -> None:
    found = Figures()
    found.count(BEGAN, "chat", f.STARTED, 10)
    found.count(BEGAN, "chat", f.RIGHT, 10)
    found.count(BEGAN + 9, "chat", f.LEFT, 10)
    run = Run(options("--shape", "users"), "http://x", "demo", BEGAN, BEGAN + 10)
    (path,) = re.findall(r'class="c1 line" d="(.*?)"', report(run, found).partition("</svg>")[0])
    heights = [float(y) for _, y in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", path)]
    assert heights.index(min(heights)) == len(heights) - 1


def test_a_stage_that_is_over_is_told_in_a_line(run: Run, figures: Figures) -> None:
    told = [stage_words(stage, run.options, figures) for stage in run.stages]
    assert told == [
        "step 1, 1 requests/s: 8 sent, first token p95 107 ms; objectives met",
        "step 2, 2 requests/s: 2 sent, first token p95 108 ms; missed: refused, right answers",
    ]
    figures.count(BEGAN + 8, "chat", f.AWAITED, 50)
    assert "first token p95 never;" in stage_words(run.stages[1], run.options, figures)


def test_an_objective_that_no_token_met_is_told_as_never(run: Run, figures: Figures) -> None:
    figures.count(BEGAN + 6, "chat", f.AWAITED, 50)
    run.lines = lines_of(run, None, figures)
    line = summary(run, figures)["objectives"][0]
    assert (line["name"], line["value"], line["never"]) == ("first token p95, ms", None, True)
    assert told(None, True) == "never" and told(None) == "not measured"
    assert (told(14_578.3), told(0.98761), told(0.0)) == ("14,578", "0.9876", "0")


def test_a_run_without_a_request_still_gives_a_report(options: Parse) -> None:
    run = Run(options("--shape", "users"), "http://x", "demo", BEGAN, BEGAN + 1)
    run.lines = lines_of(run, None, Figures())
    page = Page()
    page.feed(report(run, Figures()))
    assert page.open == []
    assert not summary(run, Figures())["passed"]


def test_a_scale_puts_ends_at_ends() -> None:
    for log in (False, True):
        scale = Scale(1, 1000, 50, 250, log)
        assert (scale(1), scale(1000)) == (50, 250)
    assert Scale(1, 1000, 0, 300, True)(10) == pytest.approx(100)
    assert Scale(1, 1000, 0, 300, True).ticks() == [1, 10, 100, 1000]
    assert Scale(0, 23, 0, 1).ticks() == [0, 5, 10, 15, 20]


def test_a_chart_leaves_out_what_is_beyond_measure() -> None:
    drawn = chart("t", [Series("s", "c1", [(0, 1), (1, math.inf), (2, 3)])], x="s", y="ms", log=True)
    assert "inf" not in drawn and "nan" not in drawn
    assert "Nothing was measured" in chart("t", [Series("s", "c1", [(0, math.inf)])], x="s", y="ms")


BEFORE = """# TYPE patchbay_cache_requests_total counter
patchbay_cache_requests_total{result="hit"} 5
patchbay_cache_requests_total{result="miss"} 5
"""
AFTER = """# TYPE patchbay_cache_requests_total counter
patchbay_cache_requests_total{result="hit"} 14
patchbay_cache_requests_total{result="miss"} 6
# TYPE patchbay_inflight gauge
patchbay_inflight{stage="request"} 2
"""


def test_the_services_counters_are_differences() -> None:
    found = differences(BEFORE, AFTER)
    assert (found["cache hits"], found["cache misses"], found["cache hit share"]) == (9, 1, 0.9)
    assert found["in flight at the end"] == 2


@pytest.mark.parametrize(("before", "after"), [(None, AFTER), (BEFORE, None), ("x 1\n", "x 2\n")])
def test_nothing_is_told_of_a_service_without_them(before: str | None, after: str | None) -> None:
    assert differences(before, after) == {}


def test_the_names_asked_for_are_patchbays() -> None:
    from prometheus_client import CollectorRegistry

    from loadtests.server_side import COUNTERS, GAUGES
    from service.telemetry.metrics import Metrics

    ours = {family.name for family in Metrics(CollectorRegistry()).families}
    assert {name for name, _ in (*COUNTERS.values(), *GAUGES.values())} <= ours

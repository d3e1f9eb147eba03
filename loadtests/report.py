"""The run as one self-contained HTML file: no script, no font, no external image."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any

from loadtests import figures as f
from loadtests.charts import Series, chart
from loadtests.figures import Cell, Figures
from loadtests.plans import Stage
from loadtests.style import STYLE
from loadtests.summary import Run, answered_per_second, summary
from loadtests.summary import told as told_number

COLUMNS, QUANTILES = 45, 30
"""Maximum number of points in a line over time: for counts, and for percentiles, which need more requests each."""


def report(run: Run, figures: Figures) -> str:
    """The whole page."""
    told = summary(run, figures)
    verdict = "passed" if told["passed"] else "failed"
    parts = [
        f'<header class="{verdict}"><p class="verdict">{verdict}</p><h1>{_headline(told)}</h1>',
        f"{_limited(run)}<p>{_words(run)}</p></header>",
        "<h2>Objectives</h2>",
        _objectives(told["objectives"]),
        f"<h2>Requests, {html.escape(told['window'])}</h2>",
        _kinds(told),
        "<h2>Over time</h2>",
        *_over_time(run, figures),
    ]
    if run.stages:
        parts += ["<h2>Stages</h2>", *_by_rate(run, figures), _stages(run.stages, figures)]
    if told["reasons"]:
        rows = [(_text(each["reason"]), str(each["count"])) for each in told["reasons"]]
        parts += ["<h2>Failures and refusals</h2>", _table(("reason", "count"), rows)]
    if run.server:
        rows = [(_text(name), told_number(value)) for name, value in run.server.items()]
        parts += [
            "<h2>The service's own figures</h2>",
            _table(("from the beginning of the run to its end", ""), rows),
        ]
    parts += [
        "<h2>Options</h2>",
        _table(("option", ""), [(k, _text(str(v))) for k, v in told["options"].items()]),
    ]
    body = "\n".join(parts)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Load test: {verdict}</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>\n"
    )


def _headline(told: dict[str, Any]) -> str:
    if told["options"]["shape"] == "steps":
        capacity = told["capacity"]
        return (
            f"{capacity:.3g} requests/s sustained" if capacity else "not even the lowest rate was sustained"
        )
    done = told["figures"]
    return f"{done[f.RIGHT] + done[f.WRONG]:,} answers, first token p95 {_ms(done[f.FIRST_TOKEN]['p95'])} ms"


def _limited(run: Run) -> str:
    """The objectives missed at the lowest rate that was too high."""
    failed = (
        [stage for stage in run.stages if not stage.objectives_met] if run.options.shape == "steps" else []
    )
    if not failed:
        return ""
    stage = min(failed, key=lambda stage: stage.level)
    return f"<p>At {stage.level:.3g} requests/s: missed {_text(stage.missed)}.</p>"


def _words(run: Run) -> str:
    o = run.options
    loop = "requests are sent when due" if o.model == "open" else "users wait for their answers"
    return (
        f"{_text(o.shape)}, {o.model} model ({loop}), {_text(run.model)} at {_text(run.url)}, "
        f"{run.ended - run.began:.0f} s, {run.processes} generator process{'es' if run.processes > 1 else ''}. "
        "Times are measured from when a request was due."
    )


def _objectives(lines: list[dict[str, Any]]) -> str:
    rows = []
    for line in lines:
        mark = '<b class="met">met</b>' if line["held"] else '<b class="missed">missed</b>'
        asked = f"{line['direction']} {told_number(line['limit'])}"
        rows.append((_text(line["name"]), told_number(line["value"], line["never"]), asked, mark))
    return _table(("objective", "measured", "allowed", ""), rows)


def _kinds(told: dict[str, Any]) -> str:
    head = ("kind", "sent", "right", "wrong", "refused", "failed", "first token p50, ms", "p95", "p99")
    head += ("gap p95, ms", "answer p95, ms", "tokens/s p50")
    rows = [_kind(name, cell) for name, cell in told["kinds"].items()]
    return _table(head, [*rows, _kind("all", told["figures"])])


def _kind(name: str, cell: dict[str, Any]) -> tuple[str, ...]:
    counts = tuple(f"{cell[each]:,}" for each in (f.STARTED, *f.ENDS))
    first = tuple(_ms(cell[f.FIRST_TOKEN][q], cell["awaiting"]) for q in ("p50", "p95", "p99"))
    speed = cell[f.TOKENS_PER_SECOND]["p50"]
    rest = (
        _ms(cell[f.INTER_TOKEN]["p95"]),
        _ms(cell[f.TOTAL]["p95"]),
        "–" if speed is None else f"{speed:,.0f}",
    )
    return (name, *counts, *first, *rest)


def _stages(stages: Sequence[Stage], figures: Figures) -> str:
    rows = []
    for stage in stages:
        cell = figures.over(stage.start, stage.end)
        missed = f'<b class="missed">{_text(stage.missed)}</b>'
        mark = '<b class="met">met</b>' if stage.objectives_met else missed
        first = (_quantile(cell, q) for q in (0.5, 0.95, 0.99))
        mark = mark if stage.lines else "not judged"
        rows.append(
            (stage.name, f"{stage.level:.3g}", f"{answered_per_second(stage, figures):.3g}", *first, mark)
        )
    head = ("stage", "level", "answered/s", "first token p50, ms", "p95", "p99", "objectives")
    return _table(head, rows)


def _over_time(run: Run, figures: Figures) -> list[str]:
    start, end = figures.span()
    if end <= start:
        return ["<p>No request was sent.</p>"]
    width = max(1, math.ceil((end - start) / COLUMNS))
    windows = _windows(figures, width)
    wider = _windows(figures, max(1, math.ceil((end - start) / QUANTILES)))

    def rate(*names: str) -> list[tuple[float, float]]:
        return [(at, sum(cell.counts[name] for name in names) / width) for at, cell in windows]

    unit = "requests/s" if run.options.model == "open" else "users"
    levels = [(max(0.0, at - start), level) for at, level in run.levels] + [(end - start, 0.0)]
    ours = run.options.model == "open" and run.levels
    offered = [Series("offered", "c0", levels, steps=True, dashed=True)] if ours else []
    first = [
        Series(name, colour, [(at, q) for at, cell in wider if (q := cell.quantile(f.FIRST_TOKEN, share))])
        for name, colour, share in (("p99", "c0", 0.99), ("p95", "c2", 0.95), ("p50", "c1", 0.5))
    ]
    flying, total = [], 0
    for at, cell in windows:
        total += cell.counts[f.STARTED] - cell.counts[f.LEFT]
        flying.append((at, float(total)))
    bad = (
        ("refused, by the second in which they were due", "c2", rate(f.REFUSED)),
        ("failed or wrong, by the second in which they were due", "c3", rate(f.FAILED, f.WRONG)),
    )
    limit = run.options.objectives.first_token_p95
    seconds = "seconds"
    return [
        chart(
            "Requests",
            [
                *offered,
                Series("ended, by the second in which they ended", "c1", rate(f.LEFT)),
                *(Series(name, colour, points) for name, colour, points in bad if any(y for _, y in points)),
            ],
            x=seconds,
            y="requests/s" if ours else f"requests/s; levels in {unit}",
        ),
        chart("First token", first, x=seconds, y="ms, logarithmic", limit=limit, log=True),
        chart("Requests in flight", [Series("in flight", "c1", flying)], x=seconds, y="requests"),
    ]


def _windows(figures: Figures, seconds: int) -> list[tuple[int, Cell]]:
    """All figures, divided into windows, each with its start in seconds from the beginning."""
    start, end = figures.span()
    return [(at - start, figures.over(at, at + seconds)) for at in range(start, end, seconds)]


def _by_rate(run: Run, figures: Figures) -> list[str]:
    if run.options.shape != "steps":
        return []
    points: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for stage in run.stages:
        slow = figures.over(stage.start, stage.end).quantile(f.FIRST_TOKEN, 0.95)
        if slow is not None and math.isfinite(slow):
            points[stage.objectives_met].append((stage.level, slow))
    both = sorted(points[True] + points[False])
    return [
        chart(
            "First token p95 at each rate",
            [
                Series("objectives met", "c1", points[True], marks=True),
                Series("an objective missed", "c3", points[False], marks=True),
                Series("p95", "c0", both, dashed=True),
            ],
            x="requests/s offered",
            y="ms, logarithmic",
            limit=run.options.objectives.first_token_p95,
            log=True,
        )
    ]


def _quantile(cell: Cell, q: float) -> str:
    found = cell.quantile(f.FIRST_TOKEN, q)
    return _ms(None if found is None or not math.isfinite(found) else found, cell.awaiting)


def _ms(value: float | None, awaiting: int = 0) -> str:
    """`awaiting`: how many never arrived, to distinguish "never" from "not measured"."""
    if value is None:
        return "never" if awaiting else "–"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _text(text: str) -> str:
    return html.escape(text)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The cells are HTML."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'

"""`report.html`: one file with the results of a run, which needs no network and no installation.

This module computes what the templates show. Jinja2 escapes every text; only streambench's script and style sheet, the
figures' SVG and the explorer's JSON are inserted unescaped. Why each run has one page: docs/report.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streambench.analysis.leaderboard import Leaderboard, leaderboard_of
from streambench.analysis.run_quality import KINDS as DOUBTS
from streambench.analysis.run_quality import quality_warnings
from streambench.clock import NS
from streambench.errors import InputError, Problem
from streambench.metrics.definitions import METRICS
from streambench.metrics.findings import FINDINGS
from streambench.metrics.outcomes import OUTCOMES
from streambench.records.run_folder import write_asked
from streambench.records.schema import KINDS
from streambench.records.trace_ids import LINK, why_no_link
from streambench.redaction import mask_url
from streambench.report import request_explorer
from streambench.report.figures import catalogue
from streambench.report.group_tables import telling_groupings
from streambench.report.headline import headline
from streambench.report.html import asset, figure_shown, rendered
from streambench.report.leaderboard_tables import leaderboard, matrices, objective_text, usage_rows
from streambench.report.terminal import STATUS, notes
from streambench.text import count, for_html, number, printable_lines, shown

if TYPE_CHECKING:
    from streambench.analysis.run import Run

PAGE = "report.html"
CONFIG_LIMIT = 60_000
MESSAGE_LIMIT = 240
WARNINGS = 20
DOUBTS_TOLD = 5
"""Lines of one kind of quality warning at most: a run with ten models repeats most warnings ten times."""


def render_page(run: Run, found: Leaderboard | None = None, trace_url: str | None = None) -> str:
    """Returns the whole page; the same run gives the same bytes.

    `trace_url` is the pattern of links to traces; without it, the config's `telemetry.trace_url` is used. Raises
    InputError if it makes no links. A run without requests, without an end, or with a damaged journal gives a page that
    says so.
    """
    check_trace_url(trace_url)
    trace_url = trace_url or _stored_trace_url(run)
    found = found or leaderboard_of(run)
    material = catalogue.FigureData.of(run)
    picked = request_explorer.explorer(run.measured)
    names = {row.model.model: row.name for row in found.rows}
    return rendered(
        "page.html",
        script=asset("page.js"),
        title=for_html(run.header.name, 80),
        run_id=for_html(run.header.run_id, 120),
        started=_instant(run.header.wall_ns),
        board=found,
        lines=headline(found, run.header),
        alerts=list(alerts(run, found)),
        leaderboard=leaderboard(found, {model.name: model.look.colour for model in material.models}),
        matrices=matrices(found),
        figures=[figure_shown(draw(material)) for draw in catalogue.FIGURES.values()],
        outcomes=_outcomes(found),
        examples=_examples(found),
        findings=_findings(found),
        groupings=list(telling_groupings(run, found)),
        doubts=warnings_shown(run, found),
        usage=usage_rows(found, run),
        sessions=any(row.model.cost_usd.per_session is not None for row in found.rows),
        objective=objective_text(run.header),
        explorer=picked,
        static=[_static(one, names) for one in picked.worst],
        data=request_explorer.to_script(
            request_explorer.as_data(picked, names, trace_url)
            | {"colours": [model.look.colour for model in _looks(material, list(names))], "kinds": dict(KINDS)}
        ),
        method=_method(run, found),
    )


def write_page(run: Run, path: Path, found: Leaderboard | None = None, trace_url: str | None = None) -> None:
    """Writes the page to `path`, completely or not at all.

    Raises InputError as `render_page` does, and DiskError if the file cannot be written.
    """
    write_asked(path, render_page(run, found, trace_url))


def check_trace_url(pattern: str | None) -> None:
    """Raises InputError if a pattern is not a web address that contains `{trace_id}`. None is accepted."""
    why = None if pattern is None else why_no_link(pattern)
    if pattern is not None and why is not None:
        found = shown(mask_url(pattern))
        raise InputError(
            [Problem(f"is not a pattern for links: it {why}", where="--trace-url", found=found, accepted=LINK)]
        )


def _stored_trace_url(run: Run) -> str | None:
    """Returns the config's pattern; None if it makes no links. It is checked again: the run's file may be edited."""
    pattern = (run.header.config.get("telemetry") or {}).get("trace_url")
    return pattern if isinstance(pattern, str) and why_no_link(pattern) is None else None


# --- parts


def _instant(wall_ns: int) -> str:
    return f"{datetime.fromtimestamp(wall_ns // NS, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _looks(material: catalogue.FigureData, names: Sequence[str]) -> Iterator[Any]:
    return (material.model(name) for name in names)


def alerts(run: Run, found: Leaderboard) -> Iterator[str]:
    """Yields what a reader must know first: remarks on combined runs, missing requests, simulation, journal faults."""
    yield from (for_html(remark, 2 * MESSAGE_LIMIT) for remark in found.remarks)
    summary = found.summary
    if not summary.complete:
        why = for_html(summary.reason, 600) if summary.reason else STATUS.get(summary.status, summary.status)
        measured = f"{count(found.requests)} of {count(summary.requests_planned)} requests"
        yield f"This run is incomplete: {why}. It has {measured}."
    if summary.simulated:
        every = len(summary.simulated) == len(summary.models)
        which = "All models" if every else f"{len(summary.simulated)} of {len(summary.models)} models"
        verb = "are" if every or len(summary.simulated) != 1 else "is"
        yield f"Simulated. {which} {verb} simulated, which is not a measurement of a real model."
    skipped = [for_html(warning, MESSAGE_LIMIT) for warning in run.warnings[:WARNINGS]]
    if skipped:
        more = len(run.warnings) - len(skipped)
        yield f"Journal: {'; '.join(skipped)}{f'; and {more} more' if more else ''}."


def warnings_shown(run: Run, found: Leaderboard) -> list[dict[str, str]]:
    """Returns the quality warnings that `streambench check` lists; of one kind at most DOUBTS_TOLD lines, of which the
    last says how many are left out.
    """
    kinds: dict[str, list[str]] = {}
    for doubt in quality_warnings(run, comparisons=found.comparisons["ttft_ms"]):
        kinds.setdefault(DOUBTS[doubt.kind], []).append(for_html(doubt.why, 400))
    return [{"kind": kind, "why": why} for kind, every in kinds.items() for why in _few(every)]


def _few(whys: list[str]) -> list[str]:
    if len(whys) <= DOUBTS_TOLD:
        return whys
    more = len(whys) - DOUBTS_TOLD + 1
    return [*whys[: DOUBTS_TOLD - 1], f"and {more} more of this kind; `streambench check` lists all"]


def _outcomes(found: Leaderboard) -> dict[str, Any]:
    """Returns a table of counts: a row for each model, a column for each outcome that occurred."""
    kinds = [name for name in reversed(list(OUTCOMES)) if any(row.model.outcomes.get(name) for row in found.rows)]
    return {
        "kinds": [(name, OUTCOMES[name]) for name in kinds],
        "rows": [(row, [row.model.outcomes.get(name, 0) for name in kinds]) for row in found.rows],
    }


def _examples(found: Leaderboard) -> list[dict[str, Any]]:
    return [
        {
            "model": row.name,
            "outcome": outcome,
            "count": row.model.outcomes[outcome],
            "of": row.model.requests,
            "text": for_html(example.text, MESSAGE_LIMIT),
            "alike": example.requests,
        }
        for row in found.rows
        for outcome, example in row.model.evidence.items()
    ]


def _findings(found: Leaderboard) -> list[dict[str, Any]]:
    """Returns each finding that occurred: its meaning, and each model that had it with counts and an example."""
    listed = []
    for name, meaning in FINDINGS.items():
        models = [
            {
                "model": row.name,
                "count": row.model.findings[name],
                "of": row.model.requests,
                "fact": for_html(row.model.facts[name], MESSAGE_LIMIT),
            }
            for row in found.rows
            if row.model.findings.get(name)
        ]
        if models:
            listed.append({"name": name, "meaning": meaning, "models": models})
    return listed


def _static(one: request_explorer.ExploredRequest, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "seq": one.record.ticket.seq,
        "model": names[one.record.ticket.model],
        "prompt": for_html(one.record.ticket.prompt_id, 60),
        "outcome": one.outcome,
        "numbers": [number(one.numbers[name]) for name in request_explorer.SHOWN],
    }


def _method(run: Run, found: Leaderboard) -> dict[str, Any]:
    header = run.header
    config = json.dumps(dict(header.config), indent=2, default=str, ensure_ascii=False)
    versions = {for_html(str(name), 60): for_html(str(value), 120) for name, value in header.versions.items()}
    host = {for_html(str(name), 60): for_html(str(value), 200) for name, value in header.host.items()}
    return {
        "notes": list(notes(found.summary)),
        "metrics": METRICS,
        "config": printable_lines(config, CONFIG_LIMIT),
        "overrides": [for_html(each, 200) for each in header.overrides],
        "facts": {
            "seed": str(header.seed),
            "suite": for_html(str(header.suite.get("hash", "-")), 80),
            "schema": header.schema,
        }
        | versions
        | host,
        "thinned": found.thinned,
        "intervals": _interval_needs(),
    }


def _interval_needs() -> str:
    from streambench.analysis.stats.estimates import INTERVAL_NEEDED

    needs = (f"{name} {values} values of {prompts} prompts" for name, (values, prompts) in INTERVAL_NEEDED.items())
    return "; ".join(needs)

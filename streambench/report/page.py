"""`report.html`: one file that says what a run showed, to whoever opens it, without a network or an installation.

Templates draw; this module makes what they draw. Jinja2 escapes every text; only our own script and style, the figures'
SVG and the explorer's JSON go in as they are. Why one page a run: docs/report.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streambench import plots
from streambench.clock import NS
from streambench.documents import shown
from streambench.errors import InputError, Problem
from streambench.findings import FINDINGS
from streambench.health import OUTCOMES
from streambench.metrics import METRICS
from streambench.records import KINDS
from streambench.report import explorer as requests
from streambench.report.groups import telling_groupings
from streambench.report.html import asset, figure_shown, rendered
from streambench.report.names import lines_of, safe
from streambench.report.sentences import headline
from streambench.report.standings import Board, board
from streambench.report.tables import leaderboard, matrices, objective_text, usage_rows
from streambench.report.terminal import STATUS, notes
from streambench.results import write_asked
from streambench.secrets import mask_url
from streambench.trace_ids import LINK, why_no_link
from streambench.verdicts import DOUBTS, doubts
from streambench.words import number

if TYPE_CHECKING:
    from streambench.results import Run

PAGE = "report.html"
CONFIG_LIMIT = 60_000
MESSAGE_LIMIT = 240
WARNINGS = 20
DOUBTS_TOLD = 5
"""Lines of one kind of doubt, at most: ten models have most doubts ten times."""


def render_page(run: Run, found: Board | None = None, trace_url: str | None = None) -> str:
    """The whole page; the same run gives the same bytes. Raises InputError for a `trace_url` that makes no links.

    Without one the config's `telemetry.trace_url` stands.

    Also of a run without requests, without an end, or with a torn journal: it says so.
    """
    check_trace_url(trace_url)
    trace_url = trace_url or _stored_trace_url(run)
    found = found or board(run)
    material = plots.Material.of(run)
    picked = requests.explorer(run.records)
    names = {row.model.model: row.name for row in found.rows}
    return rendered(
        "page.html",
        script=asset("page.js"),
        title=safe(run.header.name, 80),
        run_id=safe(run.header.run_id, 120),
        started=_instant(run.header.wall_ns),
        board=found,
        lines=headline(found, run.header),
        alerts=list(alerts(run, found)),
        leaderboard=leaderboard(found, {model.name: model.look.colour for model in material.models}),
        matrices=matrices(found),
        figures=[figure_shown(draw(material)) for draw in plots.FIGURES.values()],
        outcomes=_outcomes(found),
        examples=_examples(found),
        findings=_findings(found),
        groupings=list(telling_groupings(run, found)),
        doubts=doubts_shown(run, found),
        usage=usage_rows(found, run),
        sessions=any(row.model.cost_usd.per_session is not None for row in found.rows),
        objective=objective_text(run.header),
        explorer=picked,
        static=[_static(one, names) for one in picked.worst],
        data=requests.to_script(
            requests.as_data(picked, run.header, names, trace_url)
            | {"colours": [model.look.colour for model in _looks(material, list(names))], "kinds": dict(KINDS)}
        ),
        method=_method(run, found),
    )


def write_page(run: Run, path: Path, found: Board | None = None, trace_url: str | None = None) -> None:
    """Writes the page to `path`, all of it or nothing. Raises InputError, DiskError."""
    write_asked(path, render_page(run, found, trace_url))


def check_trace_url(pattern: str | None) -> None:
    """Raises InputError where a pattern is no web address with a place for the id."""
    why = None if pattern is None else why_no_link(pattern)
    if pattern is not None and why is not None:
        found = shown(mask_url(pattern))
        raise InputError([Problem(f"makes no links: it {why}", where="--trace-url", found=found, accepted=LINK)])


def _stored_trace_url(run: Run) -> str | None:
    """As the run's header has it, which anybody may have edited."""
    pattern = (run.header.config.get("telemetry") or {}).get("trace_url")
    return pattern if isinstance(pattern, str) and why_no_link(pattern) is None else None


# --- parts


def _instant(wall_ns: int) -> str:
    return f"{datetime.fromtimestamp(wall_ns // NS, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _looks(material: plots.Material, names: Sequence[str]) -> Iterator[Any]:
    return (material.model(name) for name in names)


def alerts(run: Run, found: Board) -> Iterator[str]:
    """What must be known before a number is read."""
    yield from (safe(remark, 2 * MESSAGE_LIMIT) for remark in found.remarks)
    summary = found.summary
    if not summary.complete:
        why = safe(summary.reason, 600) if summary.reason else STATUS.get(summary.status, summary.status)
        yield f"This run is incomplete: {why}. It has {found.requests:,} of {summary.requests_planned:,} requests."
    if summary.simulated:
        every = len(summary.simulated) == len(summary.models)
        which = "All models" if every else f"Of {len(summary.models)} models {len(summary.simulated)}"
        verb = "are" if every or len(summary.simulated) != 1 else "is"
        yield f"Simulated. {which} {verb} simulated, which is no measure of any real model."
    skipped = [safe(warning, MESSAGE_LIMIT) for warning in run.warnings[:WARNINGS]]
    if skipped:
        more = len(run.warnings) - len(skipped)
        yield f"Of the journal: {'; '.join(skipped)}{f'; and {more} more' if more else ''}."


def doubts_shown(run: Run, found: Board) -> list[dict[str, str]]:
    """What speaks against quoting the run, as `check` has it; of one kind a few, and how many more there are."""
    kinds: dict[str, list[str]] = {}
    for doubt in doubts(run, comparisons=found.comparisons["ttft_ms"]):
        kinds.setdefault(DOUBTS[doubt.kind], []).append(safe(doubt.why, 400))
    return [{"kind": kind, "why": why} for kind, every in kinds.items() for why in _few(every)]


def _few(whys: list[str]) -> list[str]:
    if len(whys) <= DOUBTS_TOLD:
        return whys
    more = len(whys) - DOUBTS_TOLD + 1
    return [*whys[: DOUBTS_TOLD - 1], f"and {more} more like these, which streambench check lists"]


def _outcomes(found: Board) -> dict[str, Any]:
    """A table: a row a model, a column an outcome that occurred."""
    kinds = [name for name in reversed(list(OUTCOMES)) if any(row.model.outcomes.get(name) for row in found.rows)]
    return {
        "kinds": [(name, OUTCOMES[name]) for name in kinds],
        "rows": [(row, [row.model.outcomes.get(name, 0) for name in kinds]) for row in found.rows],
    }


def _examples(found: Board) -> list[dict[str, Any]]:
    return [
        {
            "model": row.name,
            "outcome": outcome,
            "count": row.model.outcomes[outcome],
            "of": row.model.requests,
            "text": safe(example.text, MESSAGE_LIMIT),
            "alike": example.requests,
        }
        for row in found.rows
        for outcome, example in row.model.evidence.items()
    ]


def _findings(found: Board) -> list[dict[str, Any]]:
    """By finding: what it means, and each model that had it."""
    listed = []
    for name, meaning in FINDINGS.items():
        models = [
            {
                "model": row.name,
                "count": row.model.findings[name],
                "of": row.model.requests,
                "fact": safe(row.model.facts[name], MESSAGE_LIMIT),
            }
            for row in found.rows
            if row.model.findings.get(name)
        ]
        if models:
            listed.append({"name": name, "meaning": meaning, "models": models})
    return listed


def _static(one: requests.Seen, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "seq": one.record.ticket.seq,
        "model": names[one.record.ticket.model],
        "prompt": safe(one.record.ticket.prompt_id, 60),
        "outcome": one.outcome,
        "numbers": [number(one.numbers[name]) for name in requests.SHOWN],
    }


def _method(run: Run, found: Board) -> dict[str, Any]:
    header = run.header
    config = json.dumps(dict(header.config), indent=2, default=str, ensure_ascii=False)
    versions = {safe(str(name), 60): safe(str(value), 120) for name, value in header.versions.items()}
    host = {safe(str(name), 60): safe(str(value), 200) for name, value in header.host.items()}
    return {
        "notes": list(notes(found.summary)),
        "metrics": METRICS,
        "config": lines_of(config, CONFIG_LIMIT),
        "overrides": [safe(each, 200) for each in header.overrides],
        "facts": {
            "seed": str(header.seed),
            "suite": safe(str(header.suite.get("hash", "-")), 80),
            "schema": header.schema,
        }
        | versions
        | host,
        "thinned": found.thinned,
        "intervals": _interval_needs(),
    }


def _interval_needs() -> str:
    from streambench import stats

    told = (f"{name} {values} values of {prompts} prompts" for name, (values, prompts) in stats.INTERVAL_NEEDED.items())
    return "; ".join(told)

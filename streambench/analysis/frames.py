"""Builds tidy pandas frames from records: one row per attempt, request or chunk.

Columns are declared in tables: raw facts (`_ns` integers, `<NA>` if unknown) in ATTEMPT_COLUMNS, then the metrics of
SCALARS in their display unit (float, NaN if unknown). Warm-up and simulated rows are marked, never dropped.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, TypeAlias

import pandas as pd

from streambench.analysis.measured import RunFacts
from streambench.metrics.cost import price_in, priced_usd, stated_usd
from streambench.metrics.definitions import (
    METRICS,
    NS_PER_MS,
    Metric,
    answer_tokens,
    chunk_gaps,
    hidden_tokens,
    known_gaps,
    output_of,
    parallel_calls,
    reasoning_chars,
    streamed_tokens,
)
from streambench.metrics.model_names import model_order
from streambench.metrics.outcomes import OUTCOMES
from streambench.records.schema import (
    GENERATED,
    KINDS,
    AttemptRecord,
    ChunkTimeline,
    RunHeader,
    final_attempts,
    in_one_part,
)

Frame: TypeAlias = pd.DataFrame
Dtype = Literal["Int64", "float64", "string", "boolean", "category", "datetime64[ns, UTC]"]
Read = Callable[[AttemptRecord, RunFacts], Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the attempts frame: its name, its dtype, and the function that reads it from a record.

    `categories` are the known values of a category column, in order.
    """

    name: str
    dtype: Dtype
    read: Read
    categories: tuple[str, ...] | None = None


def _ticket(name: str, dtype: Dtype, categories: tuple[str, ...] | None = None) -> Column:
    return Column(name, dtype, lambda record, _: getattr(record.ticket, name), categories)


def _fact(name: str, dtype: Dtype) -> Column:
    return Column(name, dtype, lambda record, _: getattr(record, name))


def _part(part: str, name: str, dtype: Dtype, column: str) -> Column:
    """A field of a part of the record that may be None, such as connection or usage."""
    return Column(column, dtype, lambda record, _: getattr(getattr(record, part), name, None))


def _failure(name: str, dtype: Dtype) -> Column:
    return Column(f"failure_{name}", dtype, lambda record, _: getattr(record.failure or record.error_frame, name, None))


def _cost_usd(record: AttemptRecord, facts: RunFacts) -> float | None:
    return priced_usd(record, price_in(facts.header.config, record.ticket.model))


def _per_1k(record: AttemptRecord, facts: RunFacts) -> float | None:
    """Cost in USD per 1,000 output tokens: by the config's price if there is one, else as the gateway stated it."""
    price, output = price_in(facts.header.config, record.ticket.model), record.usage and record.usage.output
    cost = stated_usd(record) if price is None else priced_usd(record, price)
    return 1000 * cost / output if cost is not None and output else None


def _started_wall_ns(record: AttemptRecord, facts: RunFacts) -> int:
    return facts.header.started_wall_ns(record)


def _if_tools(record: AttemptRecord, count: int) -> int | None:
    """Returns `count`; None if the request declared no functions and no tool call came."""
    return count if record.tool_calls or (record.asked is not None and record.asked.tools) else None


def _calls_judged(record: AttemptRecord, *, valid: bool) -> int:
    return sum(call.arguments_valid is valid for call in record.tool_calls)


ATTEMPT_COLUMNS: tuple[Column, ...] = (
    Column("run_id", "category", lambda _, facts: facts.header.run_id),
    _ticket("seq", "Int64"),
    _fact("attempt", "Int64"),
    _ticket("gateway", "category"),
    _ticket("model", "category"),
    _ticket("prompt_id", "category"),
    _ticket("repeat", "Int64"),
    _ticket("block", "Int64"),
    _ticket("session_id", "string"),
    _ticket("turn", "Int64"),
    _ticket("phase", "category", ("warmup", "measure")),
    Column("warmup", "boolean", lambda record, _: record.ticket.phase == "warmup"),
    Column("simulated", "boolean", lambda record, facts: record.ticket.model in facts.header.simulated),
    _fact("api", "category"),
    _fact("streamed", "boolean"),
    Column("outcome", "category", lambda record, facts: facts.outcome(record), tuple(OUTCOMES)),
    Column("findings", "string", lambda record, facts: ",".join(found.name for found in facts.findings(record))),
    Column("n_findings", "Int64", lambda record, facts: len(facts.findings(record))),
    _fact("finish_reason", "category"),
    _fact("done", "boolean"),
    _fact("status", "Int64"),
    _failure("kind", "category"),
    _failure("detail", "string"),
    _failure("message", "string"),
    _failure("code", "string"),
    _failure("retry_after_s", "float64"),
    _fact("segment", "Int64"),
    Column("started", "datetime64[ns, UTC]", _started_wall_ns),
    _fact("scheduled_at_ns", "Int64"),
    _fact("start_at_ns", "Int64"),
    _fact("queue_ns", "Int64"),
    _fact("retry_wait_ns", "Int64"),
    _fact("sent_ns", "Int64"),
    _fact("headers_ns", "Int64"),
    _fact("first_byte_ns", "Int64"),
    _fact("last_byte_ns", "Int64"),
    _fact("ended_ns", "Int64"),
    _fact("client_lag_ns", "Int64"),
    _part("connection", "new", "boolean", "new_connection"),
    _part("connection", "stale", "Int64", "stale_connections"),
    _part("connection", "http_version", "category", "http_version"),
    _part("connection", "dns_ns", "Int64", "dns_ns"),
    _part("connection", "connect_ns", "Int64", "connect_ns"),
    _part("connection", "tls_ns", "Int64", "tls_ns"),
    _fact("stamps", "category"),
    _fact("body_bytes", "Int64"),
    _fact("reads", "Int64"),
    Column("chunks", "Int64", lambda record, _: len(record.timeline.kind)),
    Column("generated_chunks", "Int64", lambda record, _: len(output_of(record.timeline).at_ns)),
    Column("gaps_known", "Int64", lambda record, _: len(known_gaps(record.timeline))),
    Column("gaps_unknown", "Int64", lambda record, _: chunk_gaps(record.timeline).count(None)),
    Column("chars", "Int64", lambda record, _: sum(record.timeline.chars)),
    _fact("comments", "Int64"),
    _fact("malformed", "Int64"),
    _part("usage", "input", "Int64", "input_tokens"),
    _part("usage", "output", "Int64", "output_tokens"),
    Column("streamed_tokens", "Int64", lambda record, _: streamed_tokens(record)),
    _part("usage", "reasoning", "Int64", "reasoning_tokens"),
    Column("hidden_tokens", "Int64", lambda record, _: hidden_tokens(record)),
    Column("answer_tokens", "Int64", lambda record, _: answer_tokens(record)),
    Column("reasoning_chars", "Int64", lambda record, _: reasoning_chars(record)),
    _part("usage", "cached", "Int64", "cached_tokens"),
    _part("usage", "total", "Int64", "total_tokens"),
    _part("usage", "source", "category", "usage_source"),
    Column("cost_usd", "float64", _cost_usd),
    Column("cost_stated_usd", "float64", lambda record, _: stated_usd(record)),
    Column("cost_usd_per_1k_output_tok", "float64", _per_1k),
    _fact("usage_refused", "boolean"),
    _part("asked", "effort", "string", "effort"),
    _part("asked", "tools", "Int64", "tools_declared"),
    _part("asked", "tool_choice", "category", "tool_choice"),
    Column("tool_calls", "Int64", lambda record, _: _if_tools(record, len(record.tool_calls))),
    Column("parallel_calls", "Int64", lambda record, _: _if_tools(record, parallel_calls(record))),
    Column("tool_calls_valid", "Int64", lambda record, _: _if_tools(record, _calls_judged(record, valid=True))),
    Column("tool_calls_invalid", "Int64", lambda record, _: _if_tools(record, _calls_judged(record, valid=False))),
    _part("asked", "json", "category", "json_asked"),
    _part("json_answer", "valid", "boolean", "json_valid"),
    _fact("model_served", "string"),
    _fact("response_id", "string"),
    _fact("trace_id", "string"),
    _fact("span_id", "string"),
)

SCALARS: tuple[Metric, ...] = tuple(metric for metric in METRICS if metric.of is not None)
"""The metrics with one number per attempt: each has a column in the attempts and requests frames."""


def attempts_frame(records: Iterable[AttemptRecord], header: RunHeader, facts: RunFacts | None = None) -> Frame:
    """Returns one row per attempt, in the order of `records`: ATTEMPT_COLUMNS, then a float column per SCALARS."""
    facts = facts or RunFacts(header)
    read: list[list[Any]] = [[] for _ in ATTEMPT_COLUMNS]
    numbers = [array("d") for _ in SCALARS]
    # Read row by row: functions that several columns share cache their result for the latest record only.
    for record in records:
        for column, values in zip(ATTEMPT_COLUMNS, read, strict=True):
            values.append(column.read(record, facts))
        for metric, found in zip(SCALARS, numbers, strict=True):
            value = metric.value(record)
            found.append(math.nan if value is None else value)
    columns = {
        column.name: _series(column, values, header) for column, values in zip(ATTEMPT_COLUMNS, read, strict=True)
    }
    metrics = {metric.column: pd.Series(found, dtype="float64") for metric, found in zip(SCALARS, numbers, strict=True)}
    return pd.DataFrame(columns | metrics)


def requests_frame(records: Iterable[AttemptRecord], header: RunHeader, facts: RunFacts | None = None) -> Frame:
    """Returns one row per request (the attempts of one phase and seq), sorted by phase and seq.

    A row has the columns of the last attempt except `attempt`. `cost_usd` and `cost_stated_usd` are sums over all
    attempts, unknown if one is unknown. Two columns are added: `attempts` is the number of attempts, and
    `ttft_with_retries_ms` is TTFT from the start of the first attempt. In a resumed run that is the first attempt of
    the same part, because the gateway does not cause the pause between two parts.
    """
    rows = in_one_part(records)
    last_ones = {id(record) for record in final_attempts(rows)}
    is_last = pd.Series([id(record) in last_ones for record in rows], dtype=bool)
    attempts = attempts_frame(rows, header, facts).assign(last=is_last)
    attempts = attempts.sort_values(["phase", "seq", "attempt"], kind="stable")
    tries = attempts.groupby(["phase", "seq"], observed=True, sort=False)
    of_one_part = attempts.groupby(["phase", "seq", "segment"], observed=True, sort=False)
    attempts = attempts.assign(
        attempts=tries["attempt"].transform("size").astype("Int64"),
        first_start_at_ns=of_one_part["start_at_ns"].transform("first"),
    )
    for cost in ("cost_usd", "cost_stated_usd"):
        attempts[cost] = tries[cost].transform("sum").where(tries[cost].transform("count") == attempts["attempts"])
    last = attempts[attempts["last"]].reset_index(drop=True)
    lost = (last["start_at_ns"] - last["first_start_at_ns"]).astype("float64") / NS_PER_MS
    return last.assign(ttft_with_retries_ms=last["ttft_ms"] + lost).drop(
        columns=["attempt", "last", "first_start_at_ns"]
    )


def chunks_frame(
    records: Iterable[AttemptRecord], header: RunHeader, model: str | None = None, facts: RunFacts | None = None
) -> Frame:
    """Returns one row per chunk of one model (by alias) or of all models, in order of arrival within each attempt.

    Columns: run_id, seq, attempt, gateway, model, prompt_id, phase, warmup, simulated, outcome; `chunk` (its index),
    `kind` (a word of KINDS), `generated`, `offset_ns` since the attempt's start, `chars`, `read`, `shared_read`
    (another chunk arrived in the same read), and `gap_ms` since the previous generated chunk (NaN if there is none,
    or if the gap was not observed).
    """
    facts = facts or RunFacts(header)
    rows = [record for record in records if model is None or record.ticket.model == model]
    lines = [record.timeline for record in rows]
    owners = pd.DataFrame(
        {
            column.name: _series(column, [column.read(record, facts) for record in rows], header)
            for column in CHUNK_OWNER
        }
    )
    lengths = pd.Series([len(line.kind) for line in lines], dtype="int64")
    frame = owners.loc[owners.index.repeat(lengths)].reset_index(drop=True)
    for name, dtype, column in CHUNK_COLUMNS:
        frame[name] = pd.Series(list(chain.from_iterable(map(column, lines))), dtype=dtype)
    frame["kind"] = frame["kind"].map(KINDS).astype(pd.CategoricalDtype(list(KINDS.values())))
    return frame


def together(frames: Sequence[Frame]) -> Frame:
    """Concatenates frames of the same kind; the categories of a column are the union over all frames, in order."""
    if len(frames) == 1:
        return frames[0]
    shared = {}
    for name, dtype in frames[0].dtypes.items():
        if isinstance(dtype, pd.CategoricalDtype):
            every = dict.fromkeys(value for frame in frames for value in frame[name].cat.categories)
            shared[name] = pd.CategoricalDtype(list(every))
    return pd.concat([frame.astype(shared) for frame in frames], ignore_index=True)


def plain_rows(frame: Frame) -> list[dict[str, Any]]:
    """Returns each row as plain JSON data: unknown values are None, timestamps are ISO 8601 text."""
    plain = frame.astype(object).where(frame.notna(), None)
    for name, dtype in frame.dtypes.items():
        if isinstance(dtype, pd.DatetimeTZDtype):
            plain[name] = [None if value is None else value.isoformat() for value in plain[name]]
    return [{str(key): value for key, value in row.items()} for row in plain.to_dict("records")]


def mean_and_quantiles(values: Sequence[float] | array[float], shares: Sequence[float]) -> tuple[float, list[float]]:
    """Returns the mean and pandas' linear quantiles (type 7) at `shares` (0 to 1) of at least one value."""
    sample = pd.Series(values, dtype="float64")
    return float(sample.mean()), [float(found) for found in sample.quantile(list(shares), interpolation="linear")]


def _series(column: Column, values: list[Any], header: RunHeader) -> pd.Series[Any]:
    if column.dtype == "category":
        found: Any = _categories(column, values, header)
        place = {value: code for code, value in enumerate(found)}
        codes = [place.get(value, -1) for value in values]
        return pd.Series(pd.Categorical.from_codes(codes, categories=pd.Index(found, dtype="object")))
    if column.dtype == "datetime64[ns, UTC]":
        return pd.Series(pd.to_datetime(pd.Series(values, dtype="int64"), unit="ns", utc=True))
    if column.dtype == "string":
        # "python" storage, also if pyarrow is installed: gateways may send lone surrogates, which UTF-8 cannot encode.
        return pd.Series(values, dtype=pd.StringDtype("python"))
    return pd.Series(values, dtype=column.dtype)


def _categories(column: Column, values: Sequence[Any], header: RunHeader) -> Sequence[str]:
    # Models are in the config's order in every view, so that each keeps its colour and row.
    known = column.categories or (model_order(header.config) if column.name == "model" else ())
    return list(dict.fromkeys((*known, *(value for value in values if value is not None))))


CHUNK_OWNER = tuple(
    column
    for column in ATTEMPT_COLUMNS
    if column.name
    in {
        "run_id",
        "seq",
        "attempt",
        "gateway",
        "model",
        "prompt_id",
        "phase",
        "warmup",
        "simulated",
        "outcome",
    }
)


def _shared_read(line: ChunkTimeline) -> list[bool]:
    """True for each chunk that shares its read with another. Read numbers ascend, so comparing neighbours suffices."""
    fenced = (None, *line.read, None)
    return [read in (before, after) for before, read, after in zip(fenced, fenced[1:], fenced[2:], strict=False)]


def _gap_ms(line: ChunkTimeline) -> list[float | None]:
    gaps = iter([None, *chunk_gaps(line)])
    found = (next(gaps) if kind in GENERATED else None for kind in line.kind)
    return [None if gap is None else gap / NS_PER_MS for gap in found]


CHUNK_COLUMNS: tuple[tuple[str, str, Callable[[ChunkTimeline], Iterable[Any]]], ...] = (
    ("chunk", "Int64", lambda line: range(len(line.kind))),
    ("kind", "string", lambda line: line.kind),
    ("generated", "boolean", lambda line: [kind in GENERATED for kind in line.kind]),
    ("offset_ns", "Int64", lambda line: line.offset_ns),
    ("chars", "Int64", lambda line: line.chars),
    ("read", "Int64", lambda line: line.read),
    ("shared_read", "boolean", _shared_read),
    ("gap_ms", "float64", _gap_ms),
)

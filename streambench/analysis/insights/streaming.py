"""Insights on streaming: streamed against non-streamed responses of the same model, paired by prompt and repeat."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from streambench.analysis.insights.insight import Insight
from streambench.analysis.stats.estimates import Estimate
from streambench.analysis.stats.number_format import shown
from streambench.analysis.stats.paired import Comparison, compare, pairs_of
from streambench.analysis.stats.signed_rank import MIN_PROMPTS
from streambench.metrics.cost import usd
from streambench.metrics.model_names import alias_of
from streambench.text import count, counted

if TYPE_CHECKING:
    from streambench.analysis.frames import Frame
    from streambench.analysis.run import Run

_TOPIC = "Effect of streaming"
_TWINS = ("model", "gateway", "api", "params", "headers", "price")
"""Keys that must be equal in two config entries of one model, of which one streams and the other does not."""


@dataclass(frozen=True, slots=True)
class _FormPair:
    """The measured `ok` requests of the streaming and the non-streaming entry, and the client lag (p99)."""

    streams: Frame
    wholes: Frame
    lag_ms: float | None

    def compared(self, of_streams: str, of_wholes: str) -> Comparison:
        """Compares a column of the streamed rows with one of the non-streamed; the difference is streamed - whole."""
        streams = self.streams.assign(value=self.streams[of_streams].astype("float64"))
        wholes = self.wholes.assign(value=self.wholes[of_wholes].astype("float64"))
        return compare(pairs_of(streams, wholes, "value", ("streamed", "whole")), of_streams)


def streaming(run: Run, names: Mapping[str, str]) -> Iterator[Insight]:
    """Yields one insight per model that the run asked in both ways."""
    for streamed, whole in form_pairs(run.header.config):
        if streamed in names and whole in names:
            text = " ".join(_sentences(_two(run, streamed, whole)))
            yield Insight(f"{_TOPIC}, {names[streamed]}", text, topic=_TOPIC)


def form_pairs(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields (streaming alias, non-streaming alias) of each model that the config has in both ways."""
    wholes: dict[str, str] = {}
    entries = config.get("models", ())
    for entry in entries:
        if entry.get("stream") is False:
            wholes.setdefault(_same(entry), alias_of(entry))
    for entry in entries:
        if entry.get("stream") is not False and _same(entry) in wholes:
            yield alias_of(entry), wholes[_same(entry)]


def _same(entry: Mapping[str, Any]) -> str:
    return json.dumps([entry.get(key) for key in _TWINS], sort_keys=True, default=str)


def _two(run: Run, streamed: str, whole: str) -> _FormPair:
    ok = run.requests[(run.requests["outcome"] == "ok") & (run.requests["phase"] == "measure")]
    return _FormPair(
        streams=ok[ok["model"] == streamed],
        wholes=ok[ok["model"] == whole],
        lag_ms=run.lag_ms(),
    )


def _sentences(two: _FormPair) -> Iterator[str]:
    first = two.compared("ttft_ms", "e2e_ms")
    if not first.pairs:
        yield "No comparison is possible: no prompt has both a streamed and a non-streamed answer."
        return
    yield _first_text(two, first)
    yield _in_all(two, two.compared("e2e_ms", "e2e_ms"))
    yield _usage(two)
    yield _cost(two)
    if first.prompts < MIN_PROMPTS:
        answered = counted(first.prompts, "prompt")
        yield f"No intervals: {answered} answered both ways, but {MIN_PROMPTS} are needed."


def _first_text(two: _FormPair, first: Comparison) -> str:
    """Returns a sentence on the first text; the difference is streamed - whole, negative if streaming is faster."""
    streamed, whole = _median(two.streams, "ttft_ms"), _median(two.wholes, "e2e_ms")
    medians = f"median {streamed} against {whole}"
    by = _by(first, two, "earlier", "later")
    return f"The first text of a stream comes {by} than the full text of a non-streamed answer: {medians}."


def _in_all(two: _FormPair, whole: Comparison) -> str:
    if whole.difference.low is not None and whole.winner is None:
        by = _by(whole, two, "less", "more")
        return f"The time to the last text does not differ significantly: {by} for a stream."
    return f"A stream takes {_by(whole, two, 'less', 'more')} than a non-streamed answer to complete its text."


def _by(comparison: Comparison, two: _FormPair, below: str, above: str) -> str:
    """Returns the size and direction of a difference: `384 ms (371 to 401) earlier`."""
    difference = comparison.difference
    if difference.value is None:
        return f"- ms {below}"
    if difference.value < 0:
        return f"{shown(_turned(difference), 'ms', two.lag_ms)} {below}"
    return f"{shown(difference, 'ms', two.lag_ms)} {above}"


def _turned(difference: Estimate) -> Estimate:
    """Returns the estimate with the opposite sign."""
    value, low, high = (None if end is None else -end for end in (difference.value, difference.low, difference.high))
    return replace(difference, value=value, low=high, high=low)


def _median(frame: Frame, column: str) -> str:
    values = frame[column].dropna()
    return f"{values.median():,.0f} ms" if len(values) else "-"


def _usage(two: _FormPair) -> str:
    pairs = pairs_of(two.streams, two.wholes, "output_tokens", ("streamed", "whole"))
    return _alike(
        pairs.values_a,
        pairs.values_b,
        "output tokens",
        lambda tokens: count(round(tokens)),
        unknown="are not reported both ways",
    )


def _cost(two: _FormPair) -> str:
    stated = all(frame["cost_stated_usd"].notna().all() for frame in (two.streams, two.wholes))
    column = "cost_stated_usd" if stated else "cost_usd"  # never compare a stated with a priced cost
    pairs = pairs_of(two.streams, two.wholes, column, ("streamed", "whole"))
    unknown = "is unknown, as the config has no price and the gateway did not state a cost both ways"
    return _alike(pairs.values_a, pairs.values_b, "cost", lambda cost: f"{usd(cost)} USD", unknown=unknown)


def _alike(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], what: str, form: Callable[[float], str], *, unknown: str
) -> str:
    """Returns a sentence on whether the paired values are equal, with both sums if some are not."""
    subject = f"{what[0].upper()}{what[1:]}"
    if not len(a):
        return f"{subject} {unknown}."
    same, pairs = int(np.sum(np.isclose(a, b, rtol=1e-9))), counted(len(a), "pair")
    if same == len(a):
        return f"{subject}: equal in {'all ' if same > 1 else ''}{pairs} of answers."
    sums = f"{form(float(np.sum(a)))} streamed against {form(float(np.sum(b)))} non-streamed"
    return f"{subject}: equal in {same} of {pairs} of answers, in total {sums}."

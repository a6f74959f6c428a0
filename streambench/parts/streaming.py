"""What streaming buys: the same model asked for streams and for whole answers, paired by prompt and repeat."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from streambench.model_names import alias_of
from streambench.parts.part import Part
from streambench.stats import MIN_PROMPTS, Comparison, Estimate, compare, pairs_of, shown
from streambench.words import of_count

if TYPE_CHECKING:
    from streambench.frames import Frame
    from streambench.results import Run

_TOPIC = "What streaming buys"
_TWINS = ("model", "gateway", "api", "params", "headers", "price")
"""What two entries of a config have in common that are one model asked in two ways."""


@dataclass(frozen=True, slots=True)
class _Two:
    """The `ok`, measured requests of both, and what is needed to tell of them."""

    streams: Frame
    wholes: Frame
    lag_ms: float | None

    def compared(self, of_streams: str, of_wholes: str) -> Comparison:
        """A column of the streams against one of the whole answers: what the first has more."""
        streams = self.streams.assign(value=self.streams[of_streams].astype("float64"))
        wholes = self.wholes.assign(value=self.wholes[of_wholes].astype("float64"))
        return compare(pairs_of(streams, wholes, "value", ("streamed", "whole")), of_streams)


def streaming(run: Run, names: Mapping[str, str]) -> Iterator[Part]:
    """One part for each model that was asked in both ways."""
    for streamed, whole in twins(run.header.config):
        if streamed in names and whole in names:
            told = " ".join(_told(_two(run, streamed, whole)))
            yield Part(f"{_TOPIC}, {names[streamed]}", told, topic=_TOPIC)


def twins(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The aliases of each model that is asked for streams and for whole answers."""
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


def _two(run: Run, streamed: str, whole: str) -> _Two:
    fine = run.requests[(run.requests["outcome"] == "ok") & (run.requests["phase"] == "measure")]
    return _Two(
        streams=fine[fine["model"] == streamed],
        wholes=fine[fine["model"] == whole],
        lag_ms=run.lag_ms(),
    )


def _told(two: _Two) -> Iterator[str]:
    first = two.compared("ttft_ms", "e2e_ms")
    if not first.pairs:
        yield "Nothing can be said: no prompt has an answer in both ways."
        return
    yield _first_text(two, first)
    yield _in_all(two, two.compared("e2e_ms", "e2e_ms"))
    yield _usage(two)
    yield _cost(two)
    if first.prompts < MIN_PROMPTS:
        answered = of_count(first.prompts, "prompt")
        yield f"Without intervals: {answered} answered in both ways, and it takes {MIN_PROMPTS}."


def _first_text(two: _Two, first: Comparison) -> str:
    """The difference is streamed - whole: below 0 where streaming is sooner."""
    streamed, whole = _median(two.streams, "ttft_ms"), _median(two.wholes, "e2e_ms")
    medians = f"{streamed} against {whole} at the median"
    return f"The first text comes {_by(first, two, 'sooner', 'later')} than a whole answer's full text: {medians}."


def _in_all(two: _Two, whole: Comparison) -> str:
    if whole.difference.low is not None and whole.winner is None:
        return f"To the last of the text neither way is surely quicker: {_by(whole, two, 'less', 'more')} for a stream."
    return f"To the last of the text a stream takes {_by(whole, two, 'less', 'more')} than a whole answer."


def _by(comparison: Comparison, two: _Two, below: str, above: str) -> str:
    """`384 ms (371 to 401) sooner`, whichever way it is."""
    difference = comparison.difference
    if difference.value is None:
        return f"- ms {below}"
    if difference.value < 0:
        return f"{shown(_turned(difference), 'ms', two.lag_ms)} {below}"
    return f"{shown(difference, 'ms', two.lag_ms)} {above}"


def _turned(difference: Estimate) -> Estimate:
    """The same seen from the other side."""
    value, low, high = (None if end is None else -end for end in (difference.value, difference.low, difference.high))
    return replace(difference, value=value, low=high, high=low)


def _median(frame: Frame, column: str) -> str:
    values = frame[column].dropna()
    return f"{values.median():,.0f} ms" if len(values) else "-"


def _usage(two: _Two) -> str:
    pairs = pairs_of(two.streams, two.wholes, "output_tokens", ("streamed", "whole"))
    return _alike(pairs.values_a, pairs.values_b, "output tokens", "{:,.0f}", unknown="are not told in both ways")


def _cost(two: _Two) -> str:
    stated = all(frame["cost_stated_usd"].notna().all() for frame in (two.streams, two.wholes))
    column = "cost_stated_usd" if stated else "cost_usd"  # a gateway's figure is held against no sum of ours
    pairs = pairs_of(two.streams, two.wholes, column, ("streamed", "whole"))
    unknown = "is unknown, as no price is given and none was stated in both ways"
    return _alike(pairs.values_a, pairs.values_b, "cost", "{:.6g} USD", unknown=unknown)


def _alike(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], what: str, form: str, *, unknown: str) -> str:
    """Whether two ways of asking came to the same, answer by answer and in sum."""
    subject = f"{what[0].upper()}{what[1:]}"
    if not len(a):
        return f"{subject} {unknown}."
    same, pairs = int(np.sum(np.isclose(a, b, rtol=1e-9))), of_count(len(a), "pair")
    if same == len(a):
        return f"{subject}: equal in {'all ' if same > 1 else ''}{pairs} of answers."
    sums = f"{form.format(np.sum(a))} streamed against {form.format(np.sum(b))} whole"
    return f"{subject}: equal in {same} of {pairs} of answers, {sums} in sum."

"""The data of the figures: a run's requests in the measured phase, its models with their looks, chunks by model.

Chunks are the largest part: 100,000 requests with 300 chunks each have thirty million. Figures of chunks use an even
sample of each model's `ok` requests, in order of their start, and say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from streambench.analysis import frames
from streambench.metrics.findings import thresholds_of
from streambench.report.figures.labels import labels
from streambench.report.figures.style import SeriesStyle
from streambench.text import count, counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streambench.analysis.frames import Frame
    from streambench.analysis.measured import MeasuredRequest, RunFacts
    from streambench.analysis.run import Run
    from streambench.records.schema import AttemptRecord, RunHeader

SAMPLED_REQUESTS = 400
"""Requests of a model whose chunks are used, at most."""
SAMPLED_CHUNKS = 150_000
"""Chunks of a model that are used, at most; a single answer may have more."""

NO_OK = "no measured request was ok"


@dataclass(frozen=True, slots=True)
class ModelLabel:
    """A model of the run; `label` is short, printable, unique in the run, and says if the model is simulated."""

    name: str
    label: str
    look: SeriesStyle


@dataclass(frozen=True)
class Chunks:
    """Generated chunks of a model's sampled `ok` requests, in order of arrival within each; all arrays are (chunks,).

    `seqs` are the sampled requests, out of `ok` in total. `request` is the index of the chunk's request in the sample,
    `position` the chunk's index among the request's generated chunks; both from 0. `at_ms` is since the request's
    start. `gap_ms` is NaN if the gap was not observed.
    """

    seqs: tuple[int, ...]
    ok: int
    request: NDArray[np.int32]
    position: NDArray[np.int32]
    at_ms: NDArray[np.float64]
    chars: NDArray[np.int32]
    gap_ms: NDArray[np.float64]


@dataclass(frozen=True)
class FigureData:
    """One run's measured requests, without warm-up."""

    facts: RunFacts
    requests: Frame
    """One row for each measured request, in order of start: see `frames.requests_frame`."""
    warmup: int
    """The number of warm-up requests left out."""
    measured: tuple[MeasuredRequest, ...]
    _chunks: dict[str, Chunks] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run | FigureData) -> FigureData:
        """Returns the data of a run; a FigureData is returned unchanged, so that several figures can share one."""
        if isinstance(run, FigureData):
            return run
        whole = run.requests
        measured = whole[~whole["warmup"].astype(bool)].sort_values(["started", "seq"], kind="stable")
        return cls(
            facts=run.facts,
            requests=measured.reset_index(drop=True),
            warmup=len(whole) - len(measured),
            measured=run.measured,
        )

    @property
    def header(self) -> RunHeader:
        return self.facts.header

    @cached_property
    def finals(self) -> Mapping[int, AttemptRecord]:
        """The last attempt of each measured request, by seq."""
        return {request.ticket.seq: request.record for request in self.measured}

    @cached_property
    def models(self) -> tuple[ModelLabel, ...]:
        """The models in the config's order, then those that only occur in the records."""
        order = [str(name) for name in self.requests["model"].cat.categories]
        simulated = frozenset(self.header.simulated)
        shown = labels(order)
        return tuple(
            ModelLabel(name, shown[name] + (" (simulated)" if name in simulated else ""), SeriesStyle.of(place))
            for place, name in enumerate(order)
        )

    def model(self, name: str) -> ModelLabel:
        """Returns the model by its name. Raises KeyError if the run has no such model."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> Mapping[str, ModelLabel]:
        return {model.name: model for model in self.models}

    @cached_property
    def ok(self) -> Frame:
        """The measured `ok` requests: only these count in a latency."""
        return self.requests[self.requests["outcome"] == "ok"].reset_index(drop=True)

    @property
    def stall_ms(self) -> float:
        """The run's threshold for a stall, in ms."""
        return thresholds_of(self.header.config).stall_ms

    @property
    def left_out(self) -> str:
        """The end of a figure's note: how many requests are left out of latencies."""
        return (
            f"Left out: {counted(len(self.requests) - len(self.ok), 'request')} not ok, {count(self.warmup)} warm-up."
        )

    def by_model(self, column: str, rows: Frame | None = None) -> dict[str, NDArray[np.float64]]:
        """Returns each model's known values of a column, in order of start; models without any are left out.

        `rows` defaults to `ok`.
        """
        rows = self.ok if rows is None else rows
        known = rows.loc[rows[column].notna(), ["model", column]]
        parts = {str(name): part[column].to_numpy(dtype=float) for name, part in known.groupby("model", observed=True)}
        return {model.name: parts[model.name] for model in self.models if model.name in parts}

    def chunks(self, name: str) -> Chunks:
        """Returns the sampled chunks of one model; cached, as three figures use them."""
        if name not in self._chunks:
            self._chunks[name] = self._read_chunks(name)
        return self._chunks[name]

    def _read_chunks(self, name: str) -> Chunks:
        seqs = [int(seq) for seq in self.ok.loc[self.ok["model"] == name, "seq"]]
        picked = _within([self.finals[seq] for seq in seqs])
        frame = frames.chunks_frame(picked, self.header, name, self.facts)
        mine = frame[frame["generated"].astype(bool)]
        seq = mine["seq"].to_numpy(dtype=np.int64)
        places = {record.ticket.seq: place for place, record in enumerate(picked)}
        request = np.fromiter((places[int(one)] for one in seq), dtype=np.int32, count=len(seq))
        return Chunks(
            seqs=tuple(places),
            ok=len(seqs),
            request=request,
            position=_positions(request),
            at_ms=mine["offset_ns"].to_numpy(dtype=float) / 1e6,
            chars=mine["chars"].to_numpy(dtype=np.int32),
            gap_ms=mine["gap_ms"].to_numpy(dtype=float),
        )

    def sample_note(self, names: Sequence[str]) -> str:
        """Returns a sentence on the sample if a model's requests were sampled; else ""."""
        cut = [self._chunks[name] for name in names if len(self._chunks[name].seqs) < self._chunks[name].ok]
        if not cut:
            return ""
        most = max(len(one.seqs) for one in cut)
        return f" From an even sample of at most {counted(most, 'request')} a model, in order of start."


def _within(records: Sequence[AttemptRecord]) -> list[AttemptRecord]:
    """Returns an even sample of at most SAMPLED_REQUESTS; fewer if they have more than SAMPLED_CHUNKS chunks."""
    picked = [records[place] for place in evenly(len(records), SAMPLED_REQUESTS)]
    total = sum(len(record.timeline.kind) for record in picked)
    if total > SAMPLED_CHUNKS:
        fewer = max(1, len(picked) * SAMPLED_CHUNKS // total)
        picked = [picked[place] for place in evenly(len(picked), fewer)]
    return picked


def evenly(count: int, most: int) -> list[int]:
    """Returns at most `most` of the indices 0 to `count` - 1, evenly spaced; the first and the last are included."""
    if count <= most:
        return list(range(count))
    return [int(place) for place in np.unique(np.linspace(0, count - 1, most).round())]


def _positions(request: NDArray[np.int32]) -> NDArray[np.int32]:
    """Returns 0, 1, 2, ... within each sequence of equal numbers."""
    if not len(request):
        return request
    starts = np.flatnonzero(np.r_[True, np.diff(request) != 0])
    lengths = np.diff(np.r_[starts, len(request)])
    return (np.arange(len(request)) - np.repeat(starts, lengths)).astype(np.int32)


def medians(values: Mapping[str, Any]) -> dict[str, float]:
    """Returns the median of each name's values, in the order given."""
    return {name: float(np.median(found)) for name, found in values.items()}


def quantile_ends(values: Any, shares: Sequence[float]) -> list[float]:
    """Returns linear quantiles (type 7) at `shares`, computed by the same function as the run's other quantiles."""
    return frames.mean_and_quantiles(values, shares)[1]

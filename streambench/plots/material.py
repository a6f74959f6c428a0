"""What the figures draw from: a run's frames cut to the measured phase, its models with their looks, chunks by model.

Chunks are the bulk: 100,000 requests of 300 are thirty million. Figures of chunks take an even sample of each model's
`ok` requests, in order of their start, and say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from streambench import frames
from streambench.findings import thresholds_of
from streambench.plots.style import Look
from streambench.plots.text import labels
from streambench.words import of_many

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streambench.frames import Frame
    from streambench.records import AttemptRecord, RunHeader
    from streambench.results import Run

SAMPLED_REQUESTS = 400
"""Requests of a model, at most, whose chunks are looked at."""
SAMPLED_CHUNKS = 150_000
"""Chunks of a model, at most, unless a single answer has more."""

NO_OK = "no measured request was ok"


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the run; `label` is short, inert, its own, and says where it is simulated."""

    name: str
    label: str
    look: Look


@dataclass(frozen=True)
class Chunks:
    """Generated chunks of a model's sampled `ok` requests, in order of arrival within each; arrays of one length.

    `request` counts the sampled requests from 0, `position` the generated chunks of one. `gap_ms` is NaN where it was
    not observed. `seqs` are the sampled requests, of `ok` in all.
    """

    seqs: tuple[int, ...]
    ok: int
    request: NDArray[np.int32]
    position: NDArray[np.int32]
    at_ms: NDArray[np.float64]
    chars: NDArray[np.int32]
    gap_ms: NDArray[np.float64]


@dataclass(frozen=True)
class Material:
    """One run's measured requests, warm-up left out."""

    header: RunHeader
    requests: Frame
    """One row a measured request, in order of start: see `frames.requests_frame`."""
    warmup: int
    finals: Mapping[int, AttemptRecord]
    """The last attempt of each measured request, by seq."""
    _chunks: dict[str, Chunks] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run | Material) -> Material:
        """Material is made once for all figures; a run becomes it."""
        if isinstance(run, Material):
            return run
        whole = run.requests
        measured = whole[~whole["warmup"].astype(bool)].sort_values(["started", "seq"], kind="stable")
        return cls(
            header=run.header,
            requests=measured.reset_index(drop=True),
            warmup=len(whole) - len(measured),
            finals=_finals(run.records),
        )

    @cached_property
    def models(self) -> tuple[Model, ...]:
        """In the config's order, then those that only the records know."""
        order = [str(name) for name in self.requests["model"].cat.categories]
        simulated = frozenset(self.header.simulated)
        shown = labels(order)
        return tuple(
            Model(name, shown[name] + (" (simulated)" if name in simulated else ""), Look.of(place))
            for place, name in enumerate(order)
        )

    def model(self, name: str) -> Model:
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> Mapping[str, Model]:
        return {model.name: model for model in self.models}

    @cached_property
    def ok(self) -> Frame:
        """The measured `ok` requests: all that may enter a latency."""
        return self.requests[self.requests["outcome"] == "ok"].reset_index(drop=True)

    @property
    def stall_ms(self) -> float:
        return thresholds_of(self.header.config).stall_ms

    @property
    def left_out(self) -> str:
        """The note's end: what no latency holds."""
        return f"Left out: {of_many(len(self.requests) - len(self.ok), 'request')} not ok, {self.warmup:,} warm-up."

    def by_model(self, column: str, rows: Frame | None = None) -> dict[str, NDArray[np.float64]]:
        """Model to its known values, in order of start; models without any are left out."""
        rows = self.ok if rows is None else rows
        known = rows.loc[rows[column].notna(), ["model", column]]
        parts = {str(name): part[column].to_numpy(dtype=float) for name, part in known.groupby("model", observed=True)}
        return {model.name: parts[model.name] for model in self.models if model.name in parts}

    def chunks(self, name: str) -> Chunks:
        """Of one model; kept, as three figures ask."""
        if name not in self._chunks:
            self._chunks[name] = self._read_chunks(name)
        return self._chunks[name]

    def _read_chunks(self, name: str) -> Chunks:
        seqs = [int(seq) for seq in self.ok.loc[self.ok["model"] == name, "seq"]]
        picked = _within([self.finals[seq] for seq in seqs])
        frame = frames.chunks_frame(picked, self.header, model=name)
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
        """Says which chunks were looked at, where it was not all."""
        cut = [self._chunks[name] for name in names if len(self._chunks[name].seqs) < self._chunks[name].ok]
        if not cut:
            return ""
        most = max(len(one.seqs) for one in cut)
        return f" From an even sample of at most {of_many(most, 'request')} a model, in order of start."


def _finals(records: Sequence[AttemptRecord]) -> dict[int, AttemptRecord]:
    """As `frames.requests_frame` has it: a seq's highest attempt, and of several with its number the last written."""
    last: dict[int, AttemptRecord] = {}
    for record in records:
        seq = record.ticket.seq
        if record.ticket.phase == "measure" and (seq not in last or record.attempt >= last[seq].attempt):
            last[seq] = record
    return last


def _within(records: Sequence[AttemptRecord]) -> list[AttemptRecord]:
    """An even sample within SAMPLED_REQUESTS, and fewer where they hold more than SAMPLED_CHUNKS."""
    picked = [records[place] for place in evenly(len(records), SAMPLED_REQUESTS)]
    total = sum(len(record.timeline.kind) for record in picked)
    if total > SAMPLED_CHUNKS:
        fewer = max(1, len(picked) * SAMPLED_CHUNKS // total)
        picked = [picked[place] for place in evenly(len(picked), fewer)]
    return picked


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of `count` places, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [int(place) for place in np.unique(np.linspace(0, count - 1, most).round())]


def _positions(request: NDArray[np.int32]) -> NDArray[np.int32]:
    """0, 1, 2, ... within each run of equal numbers."""
    if not len(request):
        return request
    starts = np.flatnonzero(np.r_[True, np.diff(request) != 0])
    lengths = np.diff(np.r_[starts, len(request)])
    return (np.arange(len(request)) - np.repeat(starts, lengths)).astype(np.int32)


def medians(values: Mapping[str, Any]) -> dict[str, float]:
    """Name to median, in the order given."""
    return {name: float(np.median(found)) for name, found in values.items()}


def quantile_ends(values: Any, shares: Sequence[float]) -> list[float]:
    """Linear quantiles (type 7), as everywhere in the house."""
    return frames.mean_and_quantiles(values, shares)[1]

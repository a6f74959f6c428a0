"""One run's telemetry from its settings to its end: what listens, what is carried, and what became of it all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from streambench.clock import NS, MonotonicClock
from streambench.records import AttemptRecord, RunEnd, RunHeader, RunTrace
from streambench.telemetry import names
from streambench.telemetry.about import about_run
from streambench.telemetry.facts import SpanFacts, SpanId
from streambench.telemetry.live import CROWDED, LOOK_S, PAUSE_S, Live, Private
from streambench.telemetry.pipeline import Delivery, Pipeline, open_pipeline
from streambench.telemetry.propagation import Carrier, make_carrier, no_carrier
from streambench.telemetry.run_tree import run_spans
from streambench.telemetry.settings import Settings
from streambench.telemetry.tree import request_spans, requests_of


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run's telemetry. `fault` is an error of ours, which cost spans."""

    delivery: Delivery
    metrics_error: str | None = None
    fault: str | None = None
    unsent: int = 0
    """Spans that were not even tried: others before them had failed, or there was no time to make them."""

    @property
    def whole(self) -> bool:
        """Whether everything is known to have arrived."""
        told = self.delivery
        return (
            told.known
            and told.delivered == told.ended
            and not self.unsent
            and self.fault is None
            and self.metrics_error is None
        )


class Session:
    """What the engine's telemetry is while a run goes on, as `live`; `close` ends it."""

    def __init__(
        self,
        settings: Settings,
        trace: RunTrace,
        version: str,
        private: Private | None = None,
        *,
        beside_run: bool = True,
    ) -> None:
        """`beside_run`: the run is in this process. Raises ConfigError for what of the environment cannot be used."""
        self._settings = settings
        self._trace = trace
        self._version = version
        self._pipeline: Pipeline | None = None
        carrier: Carrier = make_carrier(self._sampled) if settings.propagate and beside_run else no_carrier
        self.live = Live(settings, self._opened, carrier, private, pause_s=PAUSE_S if beside_run else 0.0)

    @property
    def delivery(self) -> Delivery | None:
        """What became of the spans so far."""
        return None if self._pipeline is None else self._pipeline.delivery

    def close(self, records: Sequence[AttemptRecord], end: RunEnd | None) -> Outcome | None:
        """Sends what is left, for the settings' deadline at most. None where nothing was ever opened."""
        about = self.live.about
        return None if about is None else self.end(run_spans(about, records, end))

    def end(self, above: Iterable[SpanFacts]) -> Outcome | None:
        """As `close`, with the spans above the requests' made already."""
        pipeline, deadline_s = self._pipeline, self._settings.deadline_s
        if pipeline is None:
            return None
        now_ns = MonotonicClock().now_ns
        began_ns = now_ns()
        left = self.live.finish(above, deadline_s / 2)
        delivery = pipeline.close(max(0.0, deadline_s - (now_ns() - began_ns) / NS))
        return Outcome(delivery, pipeline.metrics_error, self.live.fault, unsent=left)

    def _opened(self, header: RunHeader) -> Pipeline:
        self._trace = header.trace or self._trace
        self._pipeline = open_pipeline(self._settings, run_id=header.run_id, version=self._version)
        return self._pipeline

    def _sampled(self, trace_id: str) -> bool:
        pipeline = self._pipeline
        return pipeline is None or not pipeline.has_traces or is_kept(pipeline.sampled, trace_id, self._trace)


def is_kept(sampled: Callable[..., bool], trace_id: str, run: RunTrace) -> bool:
    """As the sampler will decide once the trace's first span is there; without traces of ours nobody asks: the
    gateway's spans are all there is then, and worth keeping.
    """
    above = run.parent_span_id
    if trace_id != run.trace_id or above is None:
        return sampled(trace_id, names.RUN_SPAN, None)
    return sampled(trace_id, names.RUN_SPAN, SpanId(trace_id, above, run.sampled))


def send(header: RunHeader, records: Iterable[AttemptRecord], end: RunEnd | None, settings: Settings) -> Outcome:
    """The spans of a run that is over, once more or for the first time, with the ids that they have anyway.

    Waits for a slow collector; of one that does not take them no more is asked. Points are not sent: they would count
    twice. Raises ConfigError.
    """
    about, kept = about_run(header, settings.compat), list(records)
    version = str(header.versions.get("streambench", ""))
    pipeline = open_pipeline(settings, run_id=header.run_id, version=version)
    spans = chain(
        chain.from_iterable(request_spans(group, about) for group in requests_of(kept)),
        run_spans(about, kept, end),
    )
    nobody, left = threading.Event(), 0
    for span in spans:
        while pipeline.pressure > CROWDED:
            nobody.wait(LOOK_S)
        if pipeline.delivery.failed or pipeline.delivery.lost:
            left += 1
        else:
            pipeline.emit(span)
    return Outcome(pipeline.close(settings.deadline_s), unsent=left)

"""One run's telemetry from its settings to its end: the observer, the trace headers, and the outcome of the export."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from streambench.clock import NS, MonotonicClock
from streambench.records.schema import AttemptRecord, RunEnd, RunHeader, RunTrace
from streambench.records.trace_ids import Carrier
from streambench.telemetry import semconv
from streambench.telemetry.pipeline import Delivery, Pipeline, open_pipeline
from streambench.telemetry.propagation import make_carrier, no_carrier
from streambench.telemetry.recorder import CROWDED, LOOK_S, PAUSE_S, Private, Recorder
from streambench.telemetry.request_spans import request_spans, requests_of
from streambench.telemetry.run_context import about_run
from streambench.telemetry.run_spans import run_spans
from streambench.telemetry.settings import TelemetrySettings
from streambench.telemetry.span_model import SpanFacts, SpanId


@dataclass(frozen=True, slots=True)
class ExportCounts:
    """How the export of a run ended. `fault` is an internal error, which cost spans."""

    delivery: Delivery
    metrics_error: str | None = None
    fault: str | None = None
    unsent: int = 0
    """What was never tried: in `send` spans after a failed one, in `end` requests for which time ran out."""

    @property
    def whole(self) -> bool:
        """True if everything is known to have been delivered."""
        counts = self.delivery
        return (
            counts.known
            and counts.delivered == counts.ended
            and not self.unsent
            and self.fault is None
            and self.metrics_error is None
        )


class TelemetrySession:
    """A run's telemetry in this process. `live` observes the run; `close` ends the export."""

    def __init__(
        self,
        settings: TelemetrySettings,
        trace: RunTrace,
        version: str,
        private: Private | None = None,
        *,
        beside_run: bool = True,
    ) -> None:
        """`beside_run`: the run is in this process. Raises ConfigError if OTEL_PROPAGATORS cannot be used."""
        self._settings = settings
        self._trace = trace
        self._version = version
        self._pipeline: Pipeline | None = None
        carrier: Carrier = make_carrier(self._sampled) if settings.propagate and beside_run else no_carrier
        self.live = Recorder(settings, self._opened, carrier, private, pause_s=PAUSE_S if beside_run else 0.0)

    @property
    def delivery(self) -> Delivery | None:
        """The counts of spans so far; None before the run has opened."""
        return None if self._pipeline is None else self._pipeline.delivery

    def close(self, records: Sequence[AttemptRecord], end: RunEnd | None) -> ExportCounts | None:
        """Sends what is left, for at most the settings' deadline. Returns None if the run never opened."""
        about = self.live.about
        return None if about is None else self.end(run_spans(about, records, end))

    def end(self, above: Iterable[SpanFacts]) -> ExportCounts | None:
        """Like `close`, with the spans of the models and of the run already created."""
        pipeline, deadline_s = self._pipeline, self._settings.deadline_s
        if pipeline is None:
            return None
        now_ns = MonotonicClock().now_ns
        began_ns = now_ns()
        left = self.live.finish(above, deadline_s / 2)
        delivery = pipeline.close(max(0.0, deadline_s - (now_ns() - began_ns) / NS))
        return ExportCounts(delivery, pipeline.metrics_error, self.live.fault, unsent=left)

    def _opened(self, header: RunHeader) -> Pipeline:
        self._trace = header.trace or self._trace
        self._pipeline = open_pipeline(self._settings, run_id=header.run_id, version=self._version)
        return self._pipeline

    def _sampled(self, trace_id: str) -> bool:
        pipeline = self._pipeline
        return pipeline is None or not pipeline.has_traces or is_kept(pipeline.sampled, trace_id, self._trace)


def is_kept(sampled: Callable[..., bool], trace_id: str, run: RunTrace) -> bool:
    """Returns what the sampler will decide for the first span of the trace.

    It is not called if traces are off: then the trace holds only the gateway's spans, which are kept.
    """
    above = run.parent_span_id
    if trace_id != run.trace_id or above is None:
        return sampled(trace_id, semconv.RUN_SPAN, None)
    return sampled(trace_id, semconv.RUN_SPAN, SpanId(trace_id, above, run.sampled))


def send(
    header: RunHeader, records: Iterable[AttemptRecord], end: RunEnd | None, settings: TelemetrySettings
) -> ExportCounts:
    """Exports the spans of a finished run, again or for the first time, with the ids that the records hold.

    Waits for a slow collector. After a span failed or was lost, the spans that follow are not sent. Metric points are
    not sent, because they would count twice. Raises ConfigError as `open_pipeline` does.
    """
    about, kept = about_run(header, settings.compat), list(records)
    version = str(header.versions.get("streambench", ""))
    pipeline = open_pipeline(settings, run_id=header.run_id, version=version)
    spans = chain(
        chain.from_iterable(request_spans(group, about) for group in requests_of(kept)),
        run_spans(about, kept, end),
    )
    timer, left = threading.Event(), 0
    for span in spans:
        while pipeline.pressure > CROWDED:
            timer.wait(LOOK_S)
        if pipeline.delivery.failed or pipeline.delivery.lost:
            left += 1
        else:
            pipeline.emit(span)
    return ExportCounts(pipeline.close(settings.deadline_s), unsent=left)

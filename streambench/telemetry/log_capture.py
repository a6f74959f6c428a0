"""Captures what OpenTelemetry's packages log, so that it does not appear between the lines of a report."""

from __future__ import annotations

import logging

from streambench.redaction import Secrets

LOGGER = "opentelemetry"


class LogCapture(logging.Handler):
    """Between `start` and `stop`, takes the messages of the `opentelemetry` loggers, which do not propagate then.

    Handlers that other code put on these loggers stay active.
    """

    def __init__(self, secrets: Secrets, limit: int) -> None:
        super().__init__(logging.WARNING)
        self._secrets = secrets
        self._limit = limit
        self.propagated = True
        self.last: str | None = None
        """The newest message of level WARNING or above, as one masked line."""

    def start(self) -> None:
        logger = logging.getLogger(LOGGER)
        before = _others(logger)
        self.propagated = before[0].propagated if before else logger.propagate
        logger.propagate = False
        logger.addHandler(self)

    def stop(self) -> None:
        logger = logging.getLogger(LOGGER)
        logger.removeHandler(self)
        if not _others(logger):
            logger.propagate = self.propagated

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.last = self._secrets.clean(record.getMessage(), self._limit)
        except (TypeError, ValueError):  # the arguments do not fit the message
            self.last = self._secrets.clean(str(record.msg), self._limit)


def _others(logger: logging.Logger) -> list[LogCapture]:
    """Returns the captures of other pipelines: one may end while the last request of another still logs."""
    return [handler for handler in logger.handlers if isinstance(handler, LogCapture)]

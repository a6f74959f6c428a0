"""Catches what OpenTelemetry's packages log, so that it does not spill between the lines of a report."""

from __future__ import annotations

import logging

from streambench.secrets import Secrets

LOGGER = "opentelemetry"


class Hush(logging.Handler):
    """Between `start` and `stop` the `opentelemetry` loggers speak to this handler and to nobody else above them.

    Handlers that somebody put on those loggers themselves stay as they are.
    """

    def __init__(self, secrets: Secrets, limit: int) -> None:
        super().__init__(logging.WARNING)
        self._secrets = secrets
        self._limit = limit
        self.propagated = True
        self.last: str | None = None
        """The newest line of level WARNING or above: one masked line."""

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
        except (TypeError, ValueError):  # a message whose arguments do not fit is no reason to fail
            self.last = self._secrets.clean(str(record.msg), self._limit)


def _others(logger: logging.Logger) -> list[Hush]:
    """Those of other pipelines: one may end while the last request of another still complains."""
    return [handler for handler in logger.handlers if isinstance(handler, Hush)]

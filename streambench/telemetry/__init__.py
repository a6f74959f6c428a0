"""Traces and metrics: a run's records as spans and points, out by OTLP. `tree` and `points` are pure views of records."""

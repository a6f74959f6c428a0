"""Traces and metrics: records as spans and points, out by OTLP. `tree` and `points` are pure views of records."""

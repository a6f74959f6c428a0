"""Converts records to OpenTelemetry spans and metric points, and exports them over OTLP.

`request_spans` and `measurements` are pure functions of records. Importing `settings` does not import OpenTelemetry.
"""

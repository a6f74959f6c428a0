"""Derives the metrics, outcome, findings and cost of one record; also the syntax of assertions."""

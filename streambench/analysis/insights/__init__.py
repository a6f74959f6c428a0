"""Insights that apply only to some runs, one module each: streaming, conversations, gateway overhead, reasoning, ...

A module yields no insights for a run that it does not apply to.
"""

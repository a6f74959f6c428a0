"""Pure functions over arrays: estimates with intervals, comparisons of models and of runs, diagnostics of a run.

They read no files and no clock, and every random draw has a seed. docs/statistics.md gives the source of each formula.
"""

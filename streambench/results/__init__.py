"""A run's folder: appended to as each attempt ends, read back whole, however the run ended.

    run.json  records.jsonl  end.json  summary.json  summary.csv    resume-1.json  end-1.json  ...

A run that is resumed gets a header and an end for each further part; the journal stays one. Why: docs/design/003.
"""

from __future__ import annotations

from streambench.results.folder import END, HEADER, RECORDS, slug, write_asked
from streambench.results.journal import Journal
from streambench.results.reading import Run, load
from streambench.results.several import Runs, load_several
from streambench.results.tables import SUMMARY_CSV, SUMMARY_JSON, Summarised, to_csv, write_summary
from streambench.results.together import joined, run_names, step_of

__all__ = [
    "END",
    "HEADER",
    "RECORDS",
    "SUMMARY_CSV",
    "SUMMARY_JSON",
    "Journal",
    "Run",
    "Runs",
    "Summarised",
    "joined",
    "load",
    "load_several",
    "run_names",
    "slug",
    "step_of",
    "to_csv",
    "write_asked",
    "write_summary",
]

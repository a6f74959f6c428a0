"""The stored data of a run: the record of each attempt, the journal, the run's folder.

    run.json  records.jsonl  end.json  summary.json  summary.csv    resume-1.json  end-1.json  ...

A resumed run gets a header and an end for each further part and keeps its one journal. Why: docs/design/003-journal.md.
"""

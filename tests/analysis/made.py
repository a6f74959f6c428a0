"""Runs with known answers: seeded noise around each prompt's own length, and one model slowed where a test says so."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any

from streambench.records.journal import Journal
from streambench.records.schema import AttemptRecord, RunEnd, RunHeader
from streambench.testing import make_end, make_header, make_record

MODELS = ("alpha", "beta", "gamma", "delta")
COMPLETE = make_end()
CONFIG: Mapping[str, Any] = {"load": {"mode": "closed", "concurrency": 4}, "gateways": {"demo": {"http2": False}}}


def header(models: Sequence[str] = MODELS, **changes: Any) -> RunHeader:
    """With a load and a gateway, so that there is something to differ in."""
    plain = make_header(*models)
    config = {**plain.config, **CONFIG, **changes.pop("config", {})}
    return replace(plain, config=config, **changes)


def noisy(
    seed: int,
    slowed: str | None = None,
    models: Sequence[str] = MODELS,
    prompts: int = 36,
    repeats: int = 5,
    factor: float = 1.15,
) -> list[AttemptRecord]:
    """Lognormal TTFTs of about 400 ms: prompts differ by 30 %, alike in every run; answers of one by 15 %."""
    draw, own = random.Random(seed), random.Random(7)
    found: list[AttemptRecord] = []
    for model in models:
        lengths = [exp(6 + 0.3 * own.gauss(0, 1)) for _ in range(prompts)]
        for repeat in range(repeats):
            for prompt, length in enumerate(lengths):
                ttft = length * exp(0.15 * draw.gauss(0, 1)) * (factor if model == slowed else 1)
                record = make_record(seq=len(found), model=model, kinds="ccc", at_ms=(ttft, ttft + 20, ttft + 40))
                ticket = replace(record.ticket, prompt_id=f"p{prompt}", repeat=repeat)
                found.append(replace(record, ticket=ticket, start_at_ns=(1_000 + len(found)) * 1_000_000))
    return found


def written(
    folder: Path, records: Iterable[AttemptRecord], head: RunHeader | None = None, end: RunEnd | None = COMPLETE
) -> str:
    """A run's folder on the disk, below `folder`; its path."""
    with Journal.create(folder, head or header()) as journal:
        for record in records:
            journal.append(record)
        journal.close(end)
    return str(journal.folder)

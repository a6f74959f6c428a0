"""Runs for the figures: a rich one, one of forty models, and the awkward ones. All seeded, none measured."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from streambench.analysis.run import Run
from streambench.records.schema import AttemptRecord, Connection, Failure, RunHeader, Usage
from streambench.testing import MS, make_header, make_record, run_of

HOSTILE = (
    "<script>alert(1)</script>",
    '$\\frac{1}{0}$ & "quoted" \'id="x"\'',
    "=HYPERLINK(1) \x1b[31m\x00\r\n\u2028\u202e\u2066\ufffe",
    "../../etc/passwd",
    "\U0001f680 rocket \u901a\u4e49",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "x" * 500,
    "x" * 250 + "y" + "x" * 249,
    "",
    "\ufffd half",
)


def answer(
    seq: int, model: str, prompt: str, *, block: int = 0, repeat: int = 0, ttft: float = 100, gaps: Sequence[float] = ()
) -> AttemptRecord:
    """An `ok` request, 50 ms after the one before it: a role chunk, then a token of four characters, and one a gap."""
    at = [ttft - 10.0, ttft]
    for gap in gaps:
        at.append(at[-1] + gap)
    record = make_record(seq=seq, model=model, kinds="r" + "c" * (len(at) - 1), at_ms=at)
    return replace(
        record,
        ticket=replace(record.ticket, prompt_id=prompt, repeat=repeat, block=block),
        client_lag_ns=MS // 10 + (seq * 7919 % 97) * MS // 20,
        start_at_ns=1_000 * MS + seq * 50 * MS,
        scheduled_at_ns=1_000 * MS + seq * 50 * MS - MS // 2,
        usage=Usage(input=20, output=len(at) - 1, total=19 + len(at), source="gateway"),
    )


def failed(record: AttemptRecord, kind: str = "http_error", status: int | None = 500) -> AttemptRecord:
    """The same request, failed."""
    bare = make_record(kinds="", at_ms=(), seq=record.ticket.seq, model=record.ticket.model)
    failure = Failure(kind, "it broke", status=status)
    return replace(
        bare,
        ticket=record.ticket,
        start_at_ns=record.start_at_ns,
        scheduled_at_ns=record.scheduled_at_ns,
        failure=failure,
        status=status,
        usage=None,
    )


def header_of(models: Sequence[str], prompts: Mapping[str, int], *, price: bool = True, **changes: Any) -> RunHeader:
    entries = [
        {"model": name, "alias": name} | ({"price": {"input": 0.5 * (k + 1), "output": 2.0 * (k + 1)}} if price else {})
        for k, name in enumerate(models)
    ]
    catalogue = {prompt: {"tags": [], "chars": chars} for prompt, chars in prompts.items()}
    return make_header(*entries, suite={"hash": "0" * 16, "catalogue": catalogue}, **changes)


def rich(
    models: Sequence[str] = ("alpha", "beta", "gamma"),
    prompts: int = 6,
    repeats: int = 3,
    chunks: int = 24,
    failing: float = 0.06,
) -> Run:
    """Every model answers every prompt; some requests fail, a few stall, the last model has a request in the queue."""
    draw = random.Random(5)
    lengths = {f"prompt-{number}": 40 * 3 ** (number % 6) + number for number in range(prompts)}
    records: list[AttemptRecord] = []
    pairs = [(prompt, repeat) for repeat in range(repeats) for prompt in lengths]
    for block, (prompt, repeat) in enumerate(pairs):
        for place, model in enumerate(models):
            gaps = [draw.gauss(15 + 2 * place, 3) for _ in range(draw.randrange(chunks // 2, chunks))]
            if draw.random() < 0.03:
                gaps[len(gaps) // 2] += 700
            ttft = draw.lognormvariate(0, 0.2) * (80 + 25 * place) + lengths[prompt] / 100
            record = answer(
                len(records), model, prompt, block=block, repeat=repeat, ttft=ttft, gaps=[max(0.1, gap) for gap in gaps]
            )
            if draw.random() < failing:
                record = failed(record, *draw.choice([("http_error", 429), ("http_error", 500), ("timeout", None)]))
            elif draw.random() < 0.2:
                record = replace(record, connection=Connection(new=True, dns_ns=MS, connect_ns=3 * MS, tls_ns=8 * MS))
            records.append(record)
    records[-1] = replace(records[-1], queue_ns=30 * MS)
    warm = [
        replace(answer(10_000 + n, model, "prompt-0"), ticket=_warm(10_000 + n, model))
        for n, model in enumerate(models)
    ]
    return run_of([*warm, *records], header_of(models, lengths, simulated=tuple(models[:1])))


def _warm(seq: int, model: str) -> Any:
    return make_record(seq=seq, model=model, phase="warmup").ticket


def forty() -> Run:
    return rich([f"provider-{n % 7}/model-{n:02}-instruct" for n in range(40)], prompts=6, repeats=2, chunks=20)


def ten() -> Run:
    return rich([f"provider/model-{n}" for n in range(10)], prompts=8, repeats=3)


def one_request() -> Run:
    return run_of([answer(0, "alpha", "p", gaps=[20, 20])], header_of(["alpha"], {"p": 40}))


def one_chunk() -> Run:
    """An answer that came as a whole, in one chunk."""
    return run_of([answer(0, "alpha", "p")], header_of(["alpha"], {"p": 40}))


def all_failed() -> Run:
    rows = [failed(answer(n, model, "p"), "timeout", None) for n, model in enumerate(["alpha", "beta"] * 4)]
    return run_of(rows, header_of(["alpha", "beta"], {"p": 40}))


def empty() -> Run:
    return run_of([], header_of(["alpha", "beta"], {"p": 40}))


def only_warm() -> Run:
    return run_of([make_record(phase="warmup")], header_of(["alpha"], {"p": 40}))


def no_usage() -> Run:
    """Nothing to price, nothing to count: tokens are unknown."""
    whole = rich()
    rows = [replace(record, usage=None) for record in whole.records]
    return run_of(rows, whole.header)


def buffered() -> Run:
    """Every answer in one read: no gap is known, none is zero."""
    rows = [replace(record, timeline=_one_read(record)) for record in rich(failing=0).records]
    return run_of(rows, rich().header)


def _one_read(record: AttemptRecord) -> Any:
    line = record.timeline
    return replace(line, read=(0,) * len(line.kind), offset_ns=(line.offset_ns[-1],) * len(line.kind))


def hostile() -> Run:
    """Names that would be markup, mathematics, a path, half a character, or far too long; prompts too."""
    whole = rich(HOSTILE, prompts=len(HOSTILE), repeats=1)
    names = dict(zip((f"prompt-{n}" for n in range(len(HOSTILE))), HOSTILE, strict=True))
    rows = [
        replace(record, ticket=replace(record.ticket, prompt_id=names[record.ticket.prompt_id]))
        for record in whole.records
        if record.ticket.phase == "measure"
    ]
    suite = {"catalogue": {names[prompt]: facts for prompt, facts in whole.header.suite["catalogue"].items()}}
    return run_of(rows, replace(whole.header, suite=suite, simulated=HOSTILE[:2]))


def bare() -> Run:
    """An old header: no catalogue, no prices, models that the config does not name."""
    return run_of(rich().records, make_header("other"))


def resumed() -> Run:
    """The second half an hour of machine's time later, counted from an anchor of its own."""
    from streambench.records.schema import Resumption

    whole = rich(failing=0)
    rows = [replace(record, segment=int(record.ticket.seq > 25)) for record in whole.records]
    part = Resumption(1, whole.header.wall_ns + 3_600_000 * MS, 0, 9, "kernel", {}, {})
    return run_of(rows, replace(whole.header, resumed=(part,)))


def instant() -> Run:
    """Every number is zero: no logarithm may break."""
    record = answer(0, "alpha", "p")
    zero = make_record(kinds="cc", at_ms=(0, 0), reads=(0, 1))
    rows = [
        replace(zero, ticket=replace(record.ticket, seq=n, block=n), start_at_ns=0, scheduled_at_ns=0, client_lag_ns=0)
        for n in range(4)
    ]
    return run_of(
        [replace(row, headers_ns=0, first_byte_ns=0, last_byte_ns=0) for row in rows], header_of(["alpha"], {"p": 4})
    )


RUNS: Mapping[str, Callable[[], Run]] = {
    each.__name__: each
    for each in (
        rich,
        ten,
        forty,
        one_request,
        one_chunk,
        all_failed,
        empty,
        only_warm,
        no_usage,
        buffered,
        hostile,
        bare,
        resumed,
        instant,
    )
}

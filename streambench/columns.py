"""What each column of the frames holds: `docs/frames.md` is made from this table and from the columns themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streambench.frames import ATTEMPT_COLUMNS, CHUNK_COLUMNS, CHUNK_OWNER, SCALARS

COLUMN_DOCS: Mapping[str, str] = {
    "run_id": "the run; tells rows of several runs apart",
    "seq": "the request's number in the plan, from 0: the warm-up's come first",
    "attempt": "which try of the request, from 1",
    "gateway": "the gateway's name in the config",
    "model": "the model's alias",
    "prompt_id": "the prompt's id in the suite",
    "repeat": "which repeat of the prompt, from 0",
    "block": "rows of one block are one (prompt, repeat) for every model: the pairing",
    "session_id": "the conversation, where the prompt is a turn of one",
    "turn": "the turn in its conversation, from 0",
    "phase": "`warmup` or `measure`",
    "warmup": "whether it was warm-up, which belongs in no figure",
    "simulated": "whether the embedded simulator served it",
    "api": "by which API it was asked: `chat`, `responses` or `completions`",
    "streamed": "whether a stream was asked for; else the answer is one body, and no chunk gap is known",
    "outcome": "its one verdict: see health.md; only `ok` rows belong in a latency",
    "findings": "names of its findings, with commas between: see health.md",
    "n_findings": "how many findings",
    "finish_reason": "as the stream stated it",
    "done": "whether the stream said its end: [DONE], or the last event of Responses",
    "status": "the HTTP status",
    "failure_kind": "what went wrong, from outside the stream or inside",
    "failure_detail": "which: dns, refused, tls; connect, first_chunk, idle, total; reset, cut",
    "failure_message": "in words, bounded and with secrets masked",
    "failure_code": "the provider's own code",
    "failure_retry_after_s": "how long the gateway asked to wait",
    "segment": "the part of a resumed run, from 0; its `_at_ns` count from that part's anchor",
    "started": "the start on the wall clock",
    "scheduled_at_ns": "when it was due, since the anchor",
    "start_at_ns": "when it started, since the anchor",
    "queue_ns": "waiting for a throttle or a slot, between due and start",
    "retry_wait_ns": "waited since the attempt before it",
    "sent_ns": "the request was sent, since the start",
    "headers_ns": "the headers had come, since the start",
    "first_byte_ns": "the body's first byte, since the start",
    "last_byte_ns": "the body's last byte, since the start",
    "ended_ns": "it was over, however it ended, since the start",
    "client_lag_ns": "the largest lateness of our own event loop meanwhile",
    "new_connection": "whether it opened its connection, whose set-up is then inside its latencies",
    "stale_connections": "kept connections that turned out closed",
    "http_version": "of the connection",
    "dns_ns": "name resolution; unknown on a reused connection",
    "connect_ns": "TCP connect; unknown on a reused connection",
    "tls_ns": "TLS handshake; unknown on a reused connection",
    "stamps": "whose clock its arrivals are on: `kernel`, `read` or `sdk`",
    "body_bytes": "bytes of the body as they came",
    "reads": "socket reads",
    "chunks": "chunks of any kind",
    "generated_chunks": "chunks with content, reasoning, a tool call or a refusal",
    "gaps_known": "gaps between generated chunks that were observed",
    "gaps_unknown": "gaps that were not, as the chunks came in one read",
    "chars": "generated characters (Unicode code points)",
    "comments": "keep-alives",
    "malformed": "frames that were no JSON or no chunk",
    "input_tokens": "as stated by `usage_source`",
    "output_tokens": "as stated by `usage_source`; reasoning is among them",
    "streamed_tokens": "output tokens that came as chunks",
    "reasoning_tokens": "as stated by `usage_source`",
    "hidden_tokens": "reasoning tokens that were billed and never streamed; unknown where a part may have been",
    "answer_tokens": "output tokens but for reasoning; unknown where the gateway does not state both",
    "reasoning_chars": "characters of reasoning that were streamed",
    "cached_tokens": "input tokens from the gateway's cache",
    "total_tokens": "as stated by `usage_source`",
    "usage_source": "`gateway` or `tokenizer`",
    "cost_usd": "USD by the config's price; of a request that of all its attempts. Unknown without a price or usage",
    "cost_stated_usd": "USD as the gateway stated it, in its usage or a header; of a request: of all its attempts",
    "cost_usd_per_1k_output_tok": "USD for 1,000 output tokens, the input included; by price, else as stated",
    "usage_refused": "whether the gateway refused `stream_options`",
    "effort": "how much the request asked the model to think, as it said",
    "tools_declared": "functions that the request declared; unknown where it asked nothing of the answer's form",
    "tool_choice": "auto, none, required or function (a named one); unknown without functions",
    "tool_calls": "tool calls that came; unknown where none could be made",
    "parallel_calls": "tool calls of one choice, of that with the most",
    "tool_calls_valid": "those whose arguments are JSON and keep to their schema, as far as it was checked",
    "tool_calls_invalid": "those whose arguments are not; what is neither was not judged",
    "json_asked": "json_object or json_schema, where the request asked for it",
    "json_valid": "whether the answer is JSON and keeps to its schema; unknown where it was not judged",
    "model_served": "the model's name as the stream stated it",
    "response_id": "as the stream stated it",
    "trace_id": "of its spans",
    "span_id": "of its own span",
    "attempts": "how many tries the request took",
    "ttft_with_retries_ms": "TTFT since the first try's start",
    "chunk": "the chunk's number in its attempt, from 0",
    "kind": "role, reasoning, content, tool, refusal, usage or other",
    "generated": "whether it carries generated output",
    "offset_ns": "arrival of the read that completed it, since the attempt's start",
    "read": "which socket read it came in, from 0",
    "shared_read": "whether another chunk came in the same read",
    "gap_ms": "since the generated chunk before it; unknown for the first, and where it was not observed",
}
"""By column. One that is a metric has its words in METRICS; `chars` of a chunk are that chunk's."""

REQUESTS_ONLY = (("attempts", "Int64"), ("ttft_with_retries_ms", "float64"))

_HEAD = """\
# Frames

Made from the column tables in `streambench/frames.py`, `columns.py` and `metrics.py`; a test compares them.

```python
import streambench

run = streambench.load("results/quickstart-...")
runs = streambench.load("results/monday-...", "results/tuesday-...")  # one set of frames, told apart by run_id
fine = run.requests[(run.requests["outcome"] == "ok") & ~run.requests["warmup"]]
swift = run.chunks_of("sim-swift")  # of one model, made when asked for; run.chunks has them all
```

`streambench export RESULTS --to parquet` writes the same tables as files (csv, jsonl, json too). In them categories are
text. Unknown is `<NA>`, NaN, null or an empty cell; zero is zero. A name ends in its unit: `_ns`, `_ms`, `_s`, `_usd`.
Groups of requests (by tag, turn, length, prompt) with their estimates: [statistics.md](statistics.md#groups).
Warm-up and failed requests are in every frame, marked by `warmup` and `outcome`: leave them out of latencies.
"""


def frames_markdown() -> str:
    """The whole of `docs/frames.md`."""
    attempts = [(column.name, column.dtype, COLUMN_DOCS[column.name]) for column in ATTEMPT_COLUMNS]
    metrics = [(metric.column, "float64", f"{metric.label}: {metric.formula}") for metric in SCALARS]
    added = [(name, dtype, COLUMN_DOCS[name]) for name, dtype in REQUESTS_ONLY]
    owner = [(column.name, column.dtype, COLUMN_DOCS[column.name]) for column in CHUNK_OWNER]
    chunks = [(name, "category" if name == "kind" else dtype, COLUMN_DOCS[name]) for name, dtype, _ in CHUNK_COLUMNS]
    return "\n".join(
        (
            _HEAD,
            _section("attempts", "One row a try on the wire.", [*attempts, *metrics]),
            _section(
                "requests",
                "One row a request: the columns of its last attempt but for `attempt`, and these two.",
                added,
            ),
            _section("chunks", "One row a chunk, in order of arrival within each attempt.", [*owner, *chunks]),
        )
    )


def _section(title: str, text: str, rows: Iterable[tuple[str, str, str]]) -> str:
    lines = "".join(f"| `{name}` | {dtype} | {doc} |\n" for name, dtype, doc in rows)
    return f"## {title}\n\n{text}\n\n| column | dtype | what it holds |\n|---|---|---|\n{lines}"

"""Describes each column of the frames: `docs/frames.md` is generated from this table and the column tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streambench.analysis.frames import ATTEMPT_COLUMNS, CHUNK_COLUMNS, CHUNK_OWNER, SCALARS

COLUMN_DOCS: Mapping[str, str] = {
    "run_id": "the run's id; it identifies the run of a row if several runs are loaded",
    "seq": "the request's number in the plan, from 0; warm-up requests come first",
    "attempt": "the number of the attempt within its request, from 1",
    "gateway": "the gateway's name in the config",
    "model": "the model's alias",
    "prompt_id": "the prompt's id in the suite",
    "repeat": "the number of the prompt's repeat, from 0",
    "block": "rows with the same block are the same (prompt, repeat) for every model; comparisons pair them",
    "session_id": "the conversation, if the prompt is a turn of one",
    "turn": "the number of the turn in its conversation, from 0",
    "phase": "`warmup` or `measure`",
    "warmup": "whether the request was warm-up; leave warm-up rows out of all statistics",
    "simulated": "whether the embedded simulator served the request",
    "api": "the API that was called: `chat`, `responses` or `completions`",
    "streamed": "whether a stream was requested; if not, the answer is one body and no chunk gap is known",
    "outcome": "the outcome: see health.md; only `ok` rows belong in a latency",
    "findings": "names of the findings, separated by commas: see health.md",
    "n_findings": "number of findings",
    "finish_reason": "as the stream stated it",
    "done": "whether the stream sent its end marker: [DONE], or the last event of the Responses API",
    "status": "the HTTP status",
    "failure_kind": "kind of the failure, whether it occurred outside the stream or inside",
    "failure_detail": "detail of the failure: dns, refused, tls; connect, first_chunk, idle, total; reset, cut",
    "failure_message": "message of the failure, limited in length, with secrets masked",
    "failure_code": "the provider's error code",
    "failure_retry_after_s": "the wait that the gateway asked for",
    "segment": "the part of a resumed run, from 0; its `_at_ns` columns count from that part's anchor",
    "started": "wall-clock time of the start",
    "scheduled_at_ns": "scheduled time, since the anchor",
    "start_at_ns": "start, since the anchor",
    "queue_ns": "wait for a throttle or a free slot, between the scheduled time and the start",
    "retry_wait_ns": "wait since the previous attempt",
    "sent_ns": "the request was sent, since the start",
    "headers_ns": "the response headers arrived, since the start",
    "first_byte_ns": "first byte of the body, since the start",
    "last_byte_ns": "last byte of the body, since the start",
    "ended_ns": "the attempt ended, in any way, since the start",
    "client_lag_ns": "largest delay of the client's event loop during the attempt",
    "new_connection": "whether the attempt opened its connection; the latencies then include the connection set-up",
    "stale_connections": "kept connections that turned out to be closed",
    "http_version": "HTTP version of the connection",
    "dns_ns": "name resolution; unknown for a reused connection",
    "connect_ns": "TCP connect; unknown for a reused connection",
    "tls_ns": "TLS handshake; unknown for a reused connection",
    "stamps": "source of the arrival timestamps: `kernel`, `read` or `sdk`",
    "body_bytes": "bytes of the body as received",
    "reads": "socket reads",
    "chunks": "chunks of any kind",
    "generated_chunks": "chunks with content, reasoning, a tool call or a refusal",
    "gaps_known": "observed gaps between generated chunks",
    "gaps_unknown": "gaps that were not observed, because the chunks came in one read",
    "chars": "generated characters (Unicode code points)",
    "comments": "keep-alives",
    "malformed": "frames that were not JSON or not a chunk",
    "input_tokens": "as stated by `usage_source`",
    "output_tokens": "as stated by `usage_source`; includes reasoning",
    "streamed_tokens": "output tokens that came as chunks",
    "reasoning_tokens": "as stated by `usage_source`",
    "hidden_tokens": "reasoning tokens that were billed but not streamed; unknown if part of them may have been",
    "answer_tokens": "output tokens without reasoning; unknown if the gateway does not state both",
    "reasoning_chars": "streamed characters of reasoning",
    "cached_tokens": "input tokens from the gateway's cache",
    "total_tokens": "as stated by `usage_source`",
    "usage_source": "`gateway` or `tokenizer`",
    "cost_usd": "USD by the config's price; for a request, of all its attempts. Unknown without a price or usage",
    "cost_stated_usd": "USD as the gateway stated it, in its usage or a header; for a request, of all its attempts",
    "cost_usd_per_1k_output_tok": "USD per 1,000 output tokens, including the input; by price, else as stated",
    "usage_refused": "whether the gateway refused `stream_options`",
    "effort": "the reasoning effort that the request set, as it was written",
    "tools_declared": "functions that the request declared; unknown if it set nothing about the answer's form",
    "tool_choice": "auto, none, required or function (a named one); unknown without functions",
    "tool_calls": "tool calls that came; unknown if none could be made",
    "parallel_calls": "tool calls of the choice with the most tool calls",
    "tool_calls_valid": "tool calls whose arguments are JSON and match their schema, as far as it was checked",
    "tool_calls_invalid": "tool calls whose arguments do not; a call in neither column was not judged",
    "json_asked": "json_object or json_schema, if the request asked for it",
    "json_valid": "whether the answer is JSON and matches its schema; unknown if it was not judged",
    "model_served": "the model's name as the stream stated it",
    "response_id": "as the stream stated it",
    "trace_id": "trace id of its spans",
    "span_id": "span id of its own span",
    "attempts": "number of attempts of the request",
    "ttft_with_retries_ms": "TTFT since the start of the first attempt",
    "chunk": "the chunk's number in its attempt, from 0",
    "kind": "role, reasoning, content, tool, refusal, usage or other",
    "generated": "whether the chunk carries generated output",
    "offset_ns": "arrival of the read that completed the chunk, since the attempt's start",
    "read": "number of the socket read, from 0",
    "shared_read": "whether another chunk came in the same read",
    "gap_ms": "time since the previous generated chunk; unknown for the first, and if it was not observed",
}
"""Description by column name. Metric columns are described in METRICS. In the chunks frame `chars` counts one chunk."""

REQUESTS_ONLY = (("attempts", "Int64"), ("ttft_with_retries_ms", "float64"))

_HEAD = """\
# Frames

Generated from the column tables in `streambench/analysis/frames.py`, `frames_page.py` and the METRICS table; a test
checks that they agree.

```python
import streambench

run = streambench.load("results/quickstart-...")
runs = streambench.load("results/monday-...", "results/tuesday-...")  # one set of frames; run_id identifies the run
fine = run.requests[(run.requests["outcome"] == "ok") & ~run.requests["warmup"]]
swift = run.chunks_of("sim-swift")  # of one model, built on request; run.chunks has all of them
```

`streambench export RESULTS --to parquet` writes the same tables as files (also csv, jsonl and json). In the files,
categories are text. An unknown value is `<NA>`, NaN, null or an empty cell; zero is zero. A name ends in its unit:
`_ns`, `_ms`, `_s`, `_usd`. Groups of requests (by tag, turn, length, prompt) with their estimates:
[statistics.md](statistics.md#groups). Every frame includes warm-up and failed requests, marked by `warmup` and
`outcome`: leave them out of latencies.
"""


def frames_markdown() -> str:
    """Returns the text of `docs/frames.md`."""
    attempts = [(column.name, column.dtype, COLUMN_DOCS[column.name]) for column in ATTEMPT_COLUMNS]
    metrics = [(metric.column, "float64", f"{metric.label}: {metric.formula}") for metric in SCALARS]
    added = [(name, dtype, COLUMN_DOCS[name]) for name, dtype in REQUESTS_ONLY]
    owner = [(column.name, column.dtype, COLUMN_DOCS[column.name]) for column in CHUNK_OWNER]
    chunks = [(name, "category" if name == "kind" else dtype, COLUMN_DOCS[name]) for name, dtype, _ in CHUNK_COLUMNS]
    return "\n".join(
        (
            _HEAD,
            _section("attempts", "One row per attempt.", [*attempts, *metrics]),
            _section(
                "requests",
                "One row per request: the columns of its last attempt without `attempt`, and these two.",
                added,
            ),
            _section("chunks", "One row per chunk, in order of arrival within each attempt.", [*owner, *chunks]),
        )
    )


def _section(title: str, text: str, rows: Iterable[tuple[str, str, str]]) -> str:
    lines = "".join(f"| `{name}` | {dtype} | {doc} |\n" for name, dtype, doc in rows)
    return f"## {title}\n\n{text}\n\n| column | dtype | what it holds |\n|---|---|---|\n{lines}"

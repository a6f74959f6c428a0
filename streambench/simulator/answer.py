"""Draws one answer: its words, its delays and its finish reason.

The functions are pure. The same seed, model, messages and number of earlier equal requests give the same answer,
whatever else the simulator is serving.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from streambench.simulator.profile import SimModel
from streambench.simulator.request_parser import ChatRequest, Json
from streambench.simulator.structured_output import arguments, cut, json_answer, tool_name, tools_of

MS = 1_000_000

# Each word counts as one token. No word needs escaping in JSON, so chunks are built by joining strings. Some words are
# not ASCII, so that a client that counts bytes as characters gives wrong numbers.
WORDS = (
    " the", " a", " and", " of", " to", " in", " river", " stone", " light", " morning", " keeps", " slow", " bright",
    " open", " turns", " over", " under", " along", " harbour", " letter", " small", " quiet", " signal", " answer",
    " measure", " between", " window", " garden", " paper", " second", " first", " moves", " holds", " brings",
    " café", " naïve", " Größe", " señal", " →", " 東京", " мир", " 🙂", " while", " when", " before", " after",
    " each", " every", " water", " sound", " clear", " long", " short", " step", ",", ".",
)  # fmt: skip


EFFORTS: Mapping[str, float] = {"none": 0, "minimal": 0.25, "low": 0.5, "medium": 1, "high": 2, "xhigh": 3}
"""Reasoning effort to the factor by which the drawn number of reasoning tokens is multiplied."""


class Piece(NamedTuple):
    """The content of one chunk: its kind (`t` reasoning, `c` content, `f` tool call), its text and its token count."""

    kind: str
    text: str
    tokens: int
    call: int = 0
    """Index of the tool call that the piece belongs to; only for kind `f`."""


@dataclass(frozen=True, slots=True)
class AnswerOpening:
    """What must be known when a request arrives. `draw_answer` draws the rest later, from the same generator."""

    rng: random.Random
    request_id: str
    fault: str | None
    headers_ns: int
    ttft_ns: int
    cached_tokens: int = 0
    """Prompt tokens that the simulated prompt cache already holds."""


@dataclass(frozen=True, slots=True)
class DrawnAnswer:
    """A whole answer. `at_ns` has the due time of each piece, in ns after the request was complete."""

    request_id: str
    created: int
    model: str
    pieces: tuple[Piece, ...]
    at_ns: tuple[int, ...]
    end_ns: int
    """Due time of the finish reason, the usage and [DONE]: one gap after the last piece, as for an end token."""
    finish: str
    prompt_tokens: int
    hidden_tokens: int = 0
    """Reasoning tokens that count in the usage but are not streamed."""
    reasoning_field: str = "reasoning_content"
    cached_tokens: int = 0
    tool_names: tuple[str, ...] = ()
    """Names of the functions called, in order."""
    legacy_call: bool = False
    """True if a tool call is sent as `function_call`, because the request declared no `tools` (only `functions`)."""
    json: bool = False
    """True if the content is the JSON that the request asked for."""

    @property
    def tool_name(self) -> str | None:
        """Name of the first function called; None if there is no call."""
        return self.tool_names[0] if self.tool_names else None

    @property
    def usage(self) -> Json:
        reasoning = self.hidden_tokens + sum(piece.tokens for piece in self.pieces if piece.kind == "t")
        output = self.hidden_tokens + sum(piece.tokens for piece in self.pieces)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": output,
            "total_tokens": self.prompt_tokens + output,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }

    def half(self, finish: str) -> DrawnAnswer:
        """Returns the answer cut to the first half of its pieces (at least one), with this finish reason."""
        return self.first(max(1, len(self.pieces) // 2), finish)

    def first(self, count: int, finish: str) -> DrawnAnswer:
        end_ns = self.at_ns[count] if count < len(self.pieces) else self.end_ns
        return replace(self, pieces=self.pieces[:count], at_ns=self.at_ns[:count], end_ns=end_ns, finish=finish)


def open_answer(
    name: str, model: SimModel, request: ChatRequest, seed: int, digest: str, asked: int, cached: int = 0
) -> AnswerOpening:
    """Draws the request id, the fault, and the delays of the headers and of the first chunk.

    asked: number of earlier equal requests. cached: number of prompt tokens that the prompt cache already holds.
    """
    rng = random.Random(_seed_of(seed, name, digest, asked))
    bits = f"{rng.getrandbits(128):032x}"
    request_id = f"{bits[:8]}-{bits[8:12]}-{bits[12:16]}-{bits[16:20]}-{bits[20:]}"
    fault = _draw_fault(model, rng)
    ttft_ms = model.ttft_ms.draw(rng) + model.prompt_token_ms * (request.prompt_tokens() - cached)
    ttft_ns = round(ttft_ms * MS)
    headers_ns = min(round(model.headers_ms.draw(rng) * MS), ttft_ns)
    return AnswerOpening(rng, request_id, fault, headers_ns, ttft_ns, cached)


def draw_answer(opening: AnswerOpening, name: str, model: SimModel, request: ChatRequest, created: int) -> DrawnAnswer:
    """Draws the whole answer and cuts it at the request's token limit."""
    rng = opening.rng
    thought, hidden = _draw_reasoning(model, request, rng)
    tools = tools_of(request, model.parallel_calls) if model.tools and request.wants_tools else ()
    said, is_json = (_tool_pieces(tools, rng), False) if tools else _draw_said(model, request, rng)
    whole = thought + said
    pieces = _within(request.token_limit, hidden, whole)
    at_ns, end_ns = _schedule(opening.ttft_ns, len(pieces), model, rng)
    short = len(pieces) < len(whole) or sum(p.tokens for p in pieces) < sum(p.tokens for p in whole)
    return DrawnAnswer(
        request_id=opening.request_id,
        created=created,
        model=name,
        pieces=pieces,
        at_ns=at_ns,
        end_ns=end_ns,
        finish="length" if short else _finish(request, tools),
        prompt_tokens=request.prompt_tokens(),
        hidden_tokens=hidden if request.token_limit is None else min(hidden, request.token_limit),
        reasoning_field=model.reasoning.field if model.reasoning else "reasoning_content",
        cached_tokens=opening.cached_tokens,
        tool_names=tuple(map(tool_name, tools)),
        legacy_call=not request.tools,
        json=is_json,
    )


def _finish(request: ChatRequest, tools: Sequence[Json]) -> str:
    if not tools:
        return "stop"
    return "tool_calls" if request.tools else "function_call"


def _seed_of(seed: int, name: str, digest: str, asked: int) -> int:
    key = f"{seed}|{name}|{digest}|{asked}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")


def _draw_fault(model: SimModel, rng: random.Random) -> str | None:
    point = rng.random()
    for name, chance in model.fault.items():
        if point < chance:
            return name
        point -= chance
    return None


def _draw_reasoning(model: SimModel, request: ChatRequest, rng: random.Random) -> tuple[tuple[Piece, ...], int]:
    """Returns the reasoning pieces to stream and the number of hidden reasoning tokens."""
    if model.reasoning is None:
        return (), 0
    tokens = model.reasoning.tokens.draw(rng) * EFFORTS.get(request.effort, 1.0)
    if tokens == 0:
        return (), 0
    if model.reasoning.field == "hidden":
        return (), round(tokens)
    return _draw_text("t", model, rng, tokens), 0


def _draw_said(model: SimModel, request: ChatRequest, rng: random.Random) -> tuple[tuple[Piece, ...], bool]:
    """Returns the content's pieces, and True if they are JSON that the request asked for."""
    tokens = model.tokens.draw(rng)
    text = json_answer(request, rng, WORDS, tokens)
    if text is None:
        return _draw_text("c", model, rng, tokens), False
    return tuple(Piece("c", part, 1) for part in cut(text)), True


def _tool_pieces(tools: Sequence[Json], rng: random.Random) -> tuple[Piece, ...]:
    """Returns, for each call, a first piece without text and then the pieces of its arguments."""
    return tuple(
        Piece("f", part, 1, call) for call, tool in enumerate(tools) for part in ("", *cut(arguments(tool, rng, WORDS)))
    )


def _draw_text(kind: str, model: SimModel, rng: random.Random, tokens: float) -> tuple[Piece, ...]:
    """Returns random words, at least one, in pieces of the model's chunk size."""
    words = rng.choices(WORDS, k=max(1, round(tokens)))
    words[0] = words[0].lstrip()
    if model.chunk_tokens.form == "constant" and model.chunk_tokens.first <= 1:
        return tuple(Piece(kind, word, 1) for word in words)
    pieces, at = [], 0
    while at < len(words):
        taken = words[at : at + max(1, round(model.chunk_tokens.draw(rng)))]
        pieces.append(Piece(kind, "".join(taken), len(taken)))
        at += len(taken)
    return tuple(pieces)


def _within(limit: int | None, hidden: int, pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """Returns the pieces that fit the token limit. Hidden tokens count; a piece that crosses the limit is cut."""
    if limit is None:
        return pieces
    kept, left = [], limit - hidden
    for piece in pieces:
        if left <= 0:
            break
        if piece.tokens > left:
            piece = Piece(piece.kind, "".join(_words_of(piece)[:left]), left)
        kept.append(piece)
        left -= piece.tokens
    return tuple(kept)


def _words_of(piece: Piece) -> Sequence[str]:
    """Splits a piece's text into its words, at spaces, commas and full stops."""
    return [word for word in piece.text.replace(" ", "\0 ").replace(",", "\0,").replace(".", "\0.").split("\0") if word]


def _schedule(ttft_ns: int, count: int, model: SimModel, rng: random.Random) -> tuple[tuple[int, ...], int]:
    """Returns the due time of each of `count` pieces and of the end, in ns. Pieces of one burst share a due time."""
    writes = -(-count // model.burst)
    gaps = [round(ms * MS) for ms in model.gap_ms.draw_many(rng, writes)]
    if model.stall is not None and rng.random() < model.stall.chance and writes:
        # gaps[k] comes after write k, so a stall never comes before the first chunk, where it would count as TTFT
        gaps[rng.randrange(max(1, writes - 1))] += round(model.stall.ms.draw(rng) * MS)
    at, due = [], ttft_ns
    for gap in gaps:
        at.append(due)
        due += gap
    if model.burst == 1:
        return tuple(at), due
    return tuple(at[index // model.burst] for index in range(count)), due

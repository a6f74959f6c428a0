"""What one simulated model is: how its delays, lengths and faults are distributed. `models_file` reads it from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from streambench.simulator.distributions import Distribution, constant

RoleChunk = Literal["early", "joined", "none"]
ReasoningField = Literal["reasoning_content", "reasoning", "hidden"]


@dataclass(frozen=True, slots=True)
class Stall:
    """With `chance`, one pause of `ms` somewhere after an answer's first chunk."""

    chance: float
    ms: Distribution


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Tokens thought before the answer, and the field that carries them; hidden ones are only billed."""

    tokens: Distribution
    field: ReasoningField = "reasoning_content"


@dataclass(frozen=True, slots=True)
class SimModel:
    """How one simulated model behaves. The keys of the models file are these fields."""

    about: str = ""
    ttft_ms: Distribution = field(default=constant(100))
    """From the moment the request is complete to the first generated chunk."""
    prompt_token_ms: float = 0.0
    """Added to the TTFT for each token of the prompt."""
    cache: bool = False
    """Beginnings of prompts that it was sent before cost no `prompt_token_ms`, and are stated as cached tokens."""
    gap_ms: Distribution = field(default=constant(20))
    """Between one write of generated chunks and the next."""
    tokens: Distribution = field(default=constant(40))
    chunk_tokens: Distribution = field(default=constant(1))
    burst: int = 1
    """Chunks in one write."""
    stall: Stall | None = None
    reasoning: Reasoning | None = None
    tools: bool = False
    parallel_calls: int = 1
    """Tool calls in one answer."""
    usage: bool = True
    accepts_stream_options: bool = True
    role_chunk: RoleChunk = "early"
    headers_ms: Distribution = field(default=constant(0))
    keepalive_ms: float | None = None
    """A comment each so many ms until the first generated chunk."""
    fault: Mapping[str, float] = field(default_factory=dict)
    """Name to the chance that one answer has it."""


@dataclass(frozen=True, slots=True)
class ModelsFile:
    """The models by name, and the key that a request must show, if any."""

    models: Mapping[str, SimModel]
    api_key: str | None = None

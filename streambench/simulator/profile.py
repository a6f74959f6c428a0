"""A simulated model: the distributions of its delays and lengths, and its faults. `profile_file` reads it from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from streambench.simulator.distributions import Distribution, constant

RoleChunk = Literal["early", "joined", "none"]
ReasoningField = Literal["reasoning_content", "reasoning", "hidden"]


@dataclass(frozen=True, slots=True)
class StallProfile:
    """With probability `chance`, an answer pauses once for `ms`, somewhere after its first chunk."""

    chance: float
    ms: Distribution


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Number of reasoning tokens, and the field that carries them. `hidden`: they count in the usage only."""

    tokens: Distribution
    field: ReasoningField = "reasoning_content"


@dataclass(frozen=True, slots=True)
class SimModel:
    """How one simulated model behaves. The keys of the models file are the names of these fields."""

    about: str = ""
    ttft_ms: Distribution = field(default=constant(100))
    """Time from the complete request to the first generated chunk."""
    prompt_token_ms: float = 0.0
    """Milliseconds added to the TTFT for each prompt token that is not cached."""
    cache: bool = False
    """True if prefixes of earlier prompts count as cached tokens, which cost no `prompt_token_ms`."""
    gap_ms: Distribution = field(default=constant(20))
    """Time between two writes of generated chunks."""
    tokens: Distribution = field(default=constant(40))
    chunk_tokens: Distribution = field(default=constant(1))
    burst: int = 1
    """Number of chunks per write."""
    stall: StallProfile | None = None
    reasoning: Reasoning | None = None
    tools: bool = False
    parallel_calls: int = 1
    """Number of tool calls in one answer."""
    usage: bool = True
    accepts_stream_options: bool = True
    role_chunk: RoleChunk = "early"
    headers_ms: Distribution = field(default=constant(0))
    keepalive_ms: float | None = None
    """Interval of the SSE comments that are sent until the first generated chunk; None sends no comments."""
    fault: Mapping[str, float] = field(default_factory=dict)
    """Fault name to the probability that an answer has the fault."""


@dataclass(frozen=True, slots=True)
class ModelsFile:
    """The models by name, and the API key that requests must carry; None if they need no key."""

    models: Mapping[str, SimModel]
    api_key: str | None = None

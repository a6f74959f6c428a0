"""What only some runs can be asked: each module here answers one more question in words, and is silent where it is not
put: what streaming buys, how a conversation grows, what a gateway adds.

On the way: a run with its records -> whole sentences, which the terminal, the Markdown and the page all show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from streambench.parts.conversations import conversations
from streambench.parts.gateways import gateways
from streambench.parts.json_form import json_form
from streambench.parts.money import money
from streambench.parts.part import Part
from streambench.parts.reasoning import reasoning
from streambench.parts.streaming import streaming
from streambench.parts.tools import tools

if TYPE_CHECKING:
    from streambench.results import Run

__all__ = ["PARTS", "Part", "parts_of"]


PARTS: tuple[Callable[[Run, Mapping[str, str]], Iterator[Part]], ...] = (
    gateways,
    conversations,
    streaming,
    reasoning,
    tools,
    json_form,
    money,
)
"""Each is given the run and, by alias, the names that its models are shown by: inert, so fit for any view."""


def parts_of(run: Run, names: Mapping[str, str]) -> tuple[Part, ...]:
    """What the run answers besides who is first, in the order of `PARTS`; empty for most runs."""
    return tuple(part for answer in PARTS for part in answer(run, names))

"""The answer's text where JSON was asked for, held in bounded memory until it is judged: can a program use it?

The record keeps the verdict and the time, never the text. On the way: `chunks` adds the text, `tool_schemas` checks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from streambench.records import JsonAnswer
from streambench.tool_schemas import ReadText, Steps, judge_text

TEXT_LIMIT = 256 * 1024
"""Characters that are held at once, over all choices; a longer answer is not judged."""
CHOICES_LIMIT = 64
WHY_LIMIT = 200


@dataclass(frozen=True, slots=True)
class JsonForm:
    """What a request asked for, and the schema that it sent, if any."""

    kind: Literal["json_object", "json_schema"]
    schema: Any = None


@dataclass(slots=True)
class AnswerText:
    """The text of one stream's choices."""

    form: JsonForm
    _pieces: dict[int, list[str]] = field(default_factory=dict)
    _last_ns: dict[int, int] = field(default_factory=dict)
    _held: int = 0
    _too_long: bool = False

    def add(self, choice: int, text: str, at_ns: int) -> None:
        """A piece of a choice's text, and its arrival."""
        if self._too_long:
            return
        self._held += len(text)
        if self._held > TEXT_LIMIT or (choice not in self._pieces and len(self._pieces) == CHOICES_LIMIT):
            self._too_long = True
            self._pieces.clear()
            return
        self._pieces.setdefault(choice, []).append(text)
        if not text.isspace():
            self._last_ns[choice] = at_ns

    def judged(self, *, finished: bool, instead: str | None) -> JsonAnswer:
        """The verdict on all choices. `finished`: no more can come; `instead` is what came in its place, if so."""
        if self._too_long:
            return JsonAnswer(why=f"more than {TEXT_LIMIT:,} characters: not judged")
        texts = {choice: "".join(pieces) for choice, pieces in self._pieces.items()}
        if not any(text.strip() for text in texts.values()):
            return JsonAnswer(why=instead) if instead else JsonAnswer(valid=False, why="no text came")
        steps = Steps()
        reads = [self._read(text, steps) for text in texts.values()]
        worst = next((read for verdict in (False, None) for read in reads if read.checked[0] is verdict), reads[0])
        valid, why = worst.checked
        if instead and not valid:  # words ahead of a call were never meant to be it
            return JsonAnswer(why=instead)
        whole = finished and all(read.whole for read in reads)
        complete_ns = max(self._last_ns[choice] for choice in texts) if whole else None
        return JsonAnswer(valid, None if why is None else why[:WHY_LIMIT], complete_ns)

    def _read(self, text: str, steps: Steps) -> ReadText:
        """A schema may ask for any value; without one an object is what was asked for."""
        return judge_text(text, self.form.schema, steps, any_value=self.form.schema is not None)

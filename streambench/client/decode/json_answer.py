"""Keeps the answer's text in bounded memory if JSON was requested, and judges whether a program can use it.

The record keeps the validity and the time, never the text. `StreamDecoder` adds the text and `workload/json_schema`
checks it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from streambench.records.schema import JsonAnswer
from streambench.text import count
from streambench.workload.json_schema import ReadText, StepBudget, judge_text
from streambench.workload.request_params import JsonForm

TEXT_LIMIT = 256 * 1024
"""Characters kept at once, over all choices. A longer answer is not judged."""
CHOICES_LIMIT = 64
WHY_LIMIT = 200


@dataclass(slots=True)
class AnswerText:
    """The text of one stream's choices."""

    form: JsonForm
    _pieces: dict[int, list[str]] = field(default_factory=dict)
    _last_ns: dict[int, int] = field(default_factory=dict)
    _held: int = 0
    _too_long: bool = False

    def add(self, choice: int, text: str, at_ns: int) -> None:
        """Adds a piece of a choice's text. `at_ns` is its arrival, in nanoseconds since the attempt's start."""
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
        """Returns the validity over all choices: the worst one.

        `finished` is True if no more text can come. `instead` says what came in place of an answer, if anything did.
        """
        if self._too_long:
            return JsonAnswer(why=f"not checked: more than {count(TEXT_LIMIT)} characters or {CHOICES_LIMIT} choices")
        texts = {choice: "".join(pieces) for choice, pieces in self._pieces.items()}
        if not any(text.strip() for text in texts.values()):
            return JsonAnswer(why=instead) if instead else JsonAnswer(valid=False, why="the answer has no text")
        steps = StepBudget()
        reads = [self._read(text, steps) for text in texts.values()]
        worst = next((read for valid in (False, None) for read in reads if read.checked[0] is valid), reads[0])
        valid, why = worst.checked
        if instead and not valid:  # text before a tool call is not meant as the JSON
            return JsonAnswer(why=instead)
        whole = finished and all(read.whole for read in reads)
        complete_ns = max(self._last_ns[choice] for choice in texts) if whole else None
        return JsonAnswer(valid, None if why is None else why[:WHY_LIMIT], complete_ns)

    def _read(self, text: str, steps: StepBudget) -> ReadText:
        """Judges one text. With a schema any JSON value may be valid; without one, only an object is."""
        return judge_text(text, self.form.schema, steps, any_value=self.form.schema is not None)

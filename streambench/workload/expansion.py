"""Expands the items of a suite's list: one prompt for each row of a table, or synthetic prompts of a given length.

`suite` parses each `ExpandedPrompt` like a prompt that stands in the file itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from streambench.documents import KeyPath
from streambench.errors import InputError
from streambench.text import for_terminal, nearest, shown
from streambench.workload import synthetic
from streambench.workload.parsing import ParseContext
from streambench.workload.rows import KINDS, TemplateRow, columns_of, fault_of, read_rows, rows_of

MAX_PROMPTS = 100_000
MAX_CHARS = 256 * 1024 * 1024
"""For all texts of a suite together: a long template and a long table multiply."""
_SYNTHETIC_KEYS = ("tokens", "count", "seed", "unique", "shared_prefix", "ask")
_TABLE = f"a file that ends in {', '.join(KINDS)}, or a list of rows"


@dataclass(frozen=True, slots=True)
class ExpandedPrompt:
    """One prompt to parse: its data, its path in the file, its id if the data has none, and the row that filled it."""

    item: Any
    path: KeyPath
    default_id: str
    row: str | None = None


def expanded(
    reading: ParseContext, items: Sequence[Any], at: KeyPath, suite_rows: Any = None
) -> Iterator[ExpandedPrompt]:
    """Yields every prompt that a list makes, in order. `suite_rows`: the suite's `rows`, for prompts without their own.

    A problem with a row is reported for that row, and the rest of its table is skipped.
    """
    shared = _rows(reading, suite_rows, (*at[:-1], "rows")) if suite_rows is not None else ()
    using = sum(_uses(item) for item in items)
    if suite_rows is not None and not using:
        reading.refuse((*at[:-1], "rows"), "no prompt uses these rows", accepted="{{column}} in a prompt's text")
    bound = _Bound(reading)
    for index, item in enumerate(items):
        path, default_id = (*at, index), f"p{index + 1:03}"
        if isinstance(item, dict) and "rows" in item:
            own = {key: value for key, value in item.items() if key != "rows"}
            made = _of_rows(reading, own, path, default_id, _rows(reading, item["rows"], (*path, "rows")), alone=True)
        elif shared and _uses(item):
            made = _of_rows(reading, item, path, default_id, shared, alone=using == 1)
        else:
            made = iter((ExpandedPrompt(item, path, default_id),))
        for one in (written for each in made for written in _written(reading, each)):
            if not bound.holds(one):
                return
            yield one


def _uses(item: Any) -> bool:
    """True if a prompt has a variable and no `rows` of its own."""
    has_own = isinstance(item, dict) and "rows" in item
    return not has_own and next(variables_in(item), None) is not None


class _Bound:
    """Limits the number of prompts and the amount of text of a suite."""

    def __init__(self, reading: ParseContext) -> None:
        self._reading = reading
        self._prompts = 0
        self._chars = 0

    def holds(self, one: ExpandedPrompt) -> bool:
        """Counts a prompt. Returns False, with a problem, if the suite now exceeds a limit."""
        self._prompts += 1
        self._chars += _chars(one.item)
        if self._prompts > MAX_PROMPTS:
            self._reading.refuse(one.path, "makes too many prompts", accepted=f"up to {MAX_PROMPTS} in a suite")
        elif self._chars > MAX_CHARS:
            self._reading.refuse(one.path, "makes too much text", accepted=f"up to {MAX_CHARS} characters in a suite")
        else:
            return True
        return False


def _chars(value: Any) -> int:
    match value:
        case str():
            return len(value)
        case dict():
            return sum(map(_chars, value.values()))
        case list():
            return sum(map(_chars, value))
    return 0


# ---- rows


def _rows(reading: ParseContext, value: Any, path: KeyPath) -> tuple[TemplateRow, ...]:
    """Returns the rows that `rows:` names or lists; an empty tuple after a problem."""
    try:
        if isinstance(value, list):
            return _inline(reading, value, path)
        place = reading.file(value, path, _TABLE)
        return read_rows(place) if place else ()
    except InputError as error:
        reading.problems.extend(error.problems)
    return ()


def _inline(reading: ParseContext, value: Any, path: KeyPath) -> tuple[TemplateRow, ...]:
    fault = fault_of(value)
    if fault is None:
        return rows_of(reading.document, None, path)
    at, message, found, accepted = fault
    reading.refuse((*path, *at), message, found, accepted)
    return ()


def _of_rows(
    reading: ParseContext, item: Any, path: KeyPath, default_id: str, rows: Sequence[TemplateRow], *, alone: bool
) -> Iterator[ExpandedPrompt]:
    """Yields one prompt for each row.

    `alone`: no other prompt is made from these rows, so that the id of a row can be the id of its prompt.
    """
    uses = dict(reversed(list(variables_in(item, path))))
    if rows and not uses:
        reading.refuse((*path, "rows"), "the prompt uses none of these columns", accepted=_columns(rows))
    if not uses or _lacks(reading, uses, rows):
        return
    for row in rows:
        before = len(reading.problems)
        yield ExpandedPrompt(_of_row(item, row, default_id, alone=alone), path, default_id, row.place)
        if len(reading.problems) > before:
            return


def _lacks(reading: ParseContext, uses: Mapping[str, KeyPath], rows: Sequence[TemplateRow]) -> bool:
    """True if a variable has no value in some row. Adds a problem for the first such row of each variable."""
    found = False
    for name, path in uses.items():
        row = next((row for row in rows if row.values.get(name) is None), None)
        if row is not None:
            found = True
            hint = "" if name in row.values else nearest(name, row.values)
            message = f"{{{{{shown(name)[1:-1]}}}}} has no value in {row.place}{hint}"
            reading.refuse(path, message, accepted=_columns(rows))
    return found


def _columns(rows: Sequence[TemplateRow]) -> str:
    return "columns " + for_terminal(", ".join(columns_of(rows)), 300)


def _of_row(item: Any, row: TemplateRow, default_id: str, *, alone: bool) -> Any:
    """Returns the prompt with the row's values and an id.

    The id is the prompt's own if that has variables; else the row's id, if `alone`; else the prompt's id (or
    `default_id`) followed by the row's id, or by the row's number if it has no id.
    """
    name = item.get("id") if isinstance(item, dict) else None
    made = filled(item, row.values)
    if isinstance(name, str) and next(variables_in(name), None):
        return made
    base = name if isinstance(name, str | int) else default_id
    own = row.values.get("id")
    made = made if isinstance(made, dict) else {"text": made}
    return made | {"id": f"{base}-{row.number}" if own is None else own if alone else f"{base}-{own}"}


# ---- synthetic prompts


def _written(reading: ParseContext, made: ExpandedPrompt) -> Iterator[ExpandedPrompt]:
    """Yields the prompt itself, or the prompts that its `synthetic` makes."""
    if not isinstance(made.item, dict) or "synthetic" not in made.item:
        yield made
        return
    reading.row = made.row
    wanted = _wanted(reading, made.item, made.path)
    reading.row = None
    if wanted is None:
        return
    rest = {key: value for key, value in made.item.items() if key != "synthetic"}
    base = rest.get("id") if isinstance(rest.get("id"), str | int) else made.default_id
    for number, text in enumerate(synthetic.texts(wanted), start=1):
        yield replace(made, item=rest | {"id": base if wanted.count == 1 else f"{base}-{number}", "text": text})


def _wanted(reading: ParseContext, item: Mapping[str, Any], path: KeyPath) -> synthetic.Wanted | None:
    section, at = item["synthetic"], (*path, "synthetic")
    before = len(reading.problems)
    for key in ("text", "messages", "turns"):
        if key in item:
            reading.refuse((*path, key), "cannot be combined with `synthetic`", accepted="only one of them")
    if not isinstance(section, dict):
        reading.refuse(at, "must be a mapping", shown(section), "a mapping such as {tokens: 2000, count: 5}")
        return None
    reading.known_keys(section, _SYNTHETIC_KEYS, at)
    if "tokens" not in section:
        reading.refuse((*at, "tokens"), "is required", accepted="the length; a token counts as 4 characters")
        return None
    tokens = reading.whole(section["tokens"], (*at, "tokens"), synthetic.LEAST_TOKENS, synthetic.MOST_TOKENS)
    count = reading.whole(section.get("count", 1), (*at, "count"), 1, synthetic.MOST_PROMPTS)
    seed = reading.whole(section.get("seed", 0), (*at, "seed"), 0, 2**63 - 1)
    ask = "\n\n" + reading.text(section["ask"], (*at, "ask")).strip() if "ask" in section else synthetic.ASK
    wanted = synthetic.Wanted(tokens, count, seed, _shared(reading, section, at, tokens), ask)
    if len(reading.problems) == before:
        _refuse_much(reading, wanted, at)
    return wanted if len(reading.problems) == before else None


def _shared(reading: ParseContext, section: Mapping[str, Any], at: KeyPath, tokens: int) -> int:
    """Returns how many tokens at the beginning are the same in all the prompts."""
    unique = section.get("unique", True)
    if not isinstance(unique, bool):
        reading.refuse((*at, "unique"), "has the wrong type", shown(unique), "true or false")
    if "shared_prefix" not in section:
        return 0 if unique else tokens
    if unique is False:
        accepted = "`shared_prefix` for prompts with the same beginning, or `unique: false` for identical prompts"
        reading.refuse((*at, "shared_prefix"), "cannot be combined with `unique: false`", accepted=accepted)
    return reading.whole(section["shared_prefix"], (*at, "shared_prefix"), 1, max(tokens - 1, 1))


def _refuse_much(reading: ParseContext, wanted: synthetic.Wanted, at: KeyPath) -> None:
    length = wanted.tokens * synthetic.CHARACTERS_PER_TOKEN
    if length * wanted.count > MAX_CHARS:
        found, accepted = f"{wanted.tokens} tokens times {wanted.count}", f"up to {MAX_CHARS} characters in a suite"
        reading.refuse(at, "makes too much text", found, accepted)
    if len(wanted.ask) > length // 2:
        reading.refuse(
            (*at, "ask"), "is longer than half of the prompt", f"{len(wanted.ask)} characters", "a shorter text"
        )


_TYPED = ("params", "synthetic")
"""Keys below which a text that is a single variable becomes the row's value itself."""
_VARIABLE = re.compile(r"\{\{([^{}\n]{1,200})\}\}")


def variables_in(value: Any, path: KeyPath = ()) -> Iterator[tuple[str, KeyPath]]:
    """Yields the name of each variable in the texts of a value, and the path of its text."""
    match value:
        case str():
            yield from ((match[1].strip(), path) for match in _VARIABLE.finditer(value))
        case dict():
            for key, inner in value.items():
                yield from variables_in(inner, (*path, key))
        case list():
            for index, inner in enumerate(value):
                yield from variables_in(inner, (*path, index))


def filled(value: Any, row: Mapping[str, Any], *, typed: bool = False) -> Any:
    """Returns the value with each variable replaced in all its texts. Values from the row are not expanded again.

    `typed`: a text that is a single variable becomes the row's value itself, for example a number. This applies below
    the keys in _TYPED. Raises KeyError for a variable that the row does not have.
    """
    match value:
        case str():
            whole = _VARIABLE.fullmatch(value) if typed else None
            return row[whole[1].strip()] if whole else _VARIABLE.sub(lambda found: _text(row[found[1].strip()]), value)
        case dict():
            return {key: filled(inner, row, typed=typed or key in _TYPED) for key, inner in value.items()}
        case list():
            return [filled(inner, row, typed=typed) for inner in value]
    return value


def _text(value: Any) -> str:
    """Returns a text as it is, and any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

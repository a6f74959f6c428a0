"""What a suite's list says, and what prompts that makes: one for each row of a table, or so many of a wanted length.

On the way: `suite` reads each `Made` as it reads a prompt that stands in the file itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from streambench import synthetic
from streambench.documents import KeyPath, nearest, shown
from streambench.errors import InputError
from streambench.reading import Reading
from streambench.rows import KINDS, Row, columns_of, fault_of, read_rows, rows_of, shown_list
from streambench.templates import filled, variables_in

MAX_PROMPTS = 100_000
MAX_CHARS = 256 * 1024 * 1024
"""Of all texts of a suite together: a long template and a long table multiply."""
_SYNTHETIC_KEYS = ("tokens", "count", "seed", "unique", "shared_prefix", "ask")
_TABLE = f"a file that ends in {', '.join(KINDS)}, or a list of rows"


@dataclass(frozen=True, slots=True)
class Made:
    """One prompt to be read: what stands there, where, the id that it has without one, and the row that filled it."""

    item: Any
    path: KeyPath
    default_id: str
    row: str | None = None


def expanded(reading: Reading, items: Sequence[Any], at: KeyPath, suite_rows: Any = None) -> Iterator[Made]:
    """Every prompt that a list makes, in its order. `suite_rows` is what the suite says for those that name none.

    What is wrong with one row is told for that row, and the rest of its table is left out.
    """
    shared = _rows(reading, suite_rows, (*at[:-1], "rows")) if suite_rows is not None else ()
    using = sum(_uses(item) for item in items)
    if suite_rows is not None and not using:
        reading.refuse((*at[:-1], "rows"), "no prompt uses them", accepted="{{column}} in a prompt's text")
    bound = _Bound(reading)
    for index, item in enumerate(items):
        path, default_id = (*at, index), f"p{index + 1:03}"
        if isinstance(item, dict) and "rows" in item:
            own = {key: value for key, value in item.items() if key != "rows"}
            made = _of_rows(reading, own, path, default_id, _rows(reading, item["rows"], (*path, "rows")), alone=True)
        elif shared and _uses(item):
            made = _of_rows(reading, item, path, default_id, shared, alone=using == 1)
        else:
            made = iter((Made(item, path, default_id),))
        for one in (written for each in made for written in _written(reading, each)):
            if not bound.holds(one):
                return
            yield one


def _uses(item: Any) -> bool:
    """Whether a prompt without rows of its own has a variable."""
    has_own = isinstance(item, dict) and "rows" in item
    return not has_own and next(variables_in(item), None) is not None


class _Bound:
    """How many prompts, and how much text, a suite may come to."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._prompts = 0
        self._chars = 0

    def holds(self, one: Made) -> bool:
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


def _rows(reading: Reading, said: Any, path: KeyPath) -> tuple[Row, ...]:
    """The rows that `rows:` names or lists; none after a problem."""
    try:
        if isinstance(said, list):
            return _inline(reading, said, path)
        place = reading.file(said, path, _TABLE)
        return read_rows(place) if place else ()
    except InputError as error:
        reading.problems.extend(error.problems)
    return ()


def _inline(reading: Reading, said: Any, path: KeyPath) -> tuple[Row, ...]:
    fault = fault_of(said)
    if fault is None:
        return rows_of(reading.document, None, path)
    at, message, found, accepted = fault
    reading.refuse((*path, *at), message, found, accepted)
    return ()


def _of_rows(
    reading: Reading, item: Any, path: KeyPath, default_id: str, rows: Sequence[Row], *, alone: bool
) -> Iterator[Made]:
    """One prompt for each row. `alone`: a row's own id will do, as no other prompt is made of these rows."""
    uses = dict(reversed(list(variables_in(item, path))))
    if rows and not uses:
        reading.refuse((*path, "rows"), "the prompt uses no column of them", accepted=_columns(rows))
    if not uses or _lacks(reading, uses, rows):
        return
    for row in rows:
        before = len(reading.problems)
        yield Made(_of_row(item, row, default_id, alone=alone), path, default_id, row.place)
        if len(reading.problems) > before:
            return


def _lacks(reading: Reading, uses: Mapping[str, KeyPath], rows: Sequence[Row]) -> bool:
    """Whether a variable has no value in some row; the first such row is told, for each variable."""
    found = False
    for name, path in uses.items():
        row = next((row for row in rows if row.values.get(name) is None), None)
        if row is not None:
            found = True
            hint = "" if name in row.values else nearest(name, row.values)
            message = f"{{{{{shown(name)[1:-1]}}}}} has no value in {row.place}{hint}"
            reading.refuse(path, message, accepted=_columns(rows))
    return found


def _columns(rows: Sequence[Row]) -> str:
    return "columns " + shown_list(", ".join(columns_of(rows)))


def _of_row(item: Any, row: Row, default_id: str, *, alone: bool) -> Any:
    """The prompt with the row's values in it, and an id: its own with variables, the row's, or counted from one."""
    said = item.get("id") if isinstance(item, dict) else None
    made = filled(item, row.values)
    if isinstance(said, str) and next(variables_in(said), None):
        return made
    base = said if isinstance(said, str | int) else default_id
    own = row.values.get("id")
    made = made if isinstance(made, dict) else {"text": made}
    return made | {"id": f"{base}-{row.number}" if own is None else own if alone else f"{base}-{own}"}


# ---- synthetic prompts


def _written(reading: Reading, made: Made) -> Iterator[Made]:
    """The prompt itself, or those that its `synthetic` makes."""
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


def _wanted(reading: Reading, item: Mapping[str, Any], path: KeyPath) -> synthetic.Wanted | None:
    said, at = item["synthetic"], (*path, "synthetic")
    before = len(reading.problems)
    for key in ("text", "messages", "turns"):
        if key in item:
            reading.refuse((*path, key), "stands beside `synthetic`", accepted="one of them")
    if not isinstance(said, dict):
        reading.refuse(at, "must be a mapping", shown(said), "what to make, as in {tokens: 2000, count: 5}")
        return None
    reading.known_keys(said, _SYNTHETIC_KEYS, at)
    if "tokens" not in said:
        reading.refuse((*at, "tokens"), "is required", accepted="the wanted length; a token is taken as 4 characters")
        return None
    tokens = reading.whole(said["tokens"], (*at, "tokens"), synthetic.LEAST_TOKENS, synthetic.MOST_TOKENS)
    count = reading.whole(said.get("count", 1), (*at, "count"), 1, synthetic.MOST_PROMPTS)
    seed = reading.whole(said.get("seed", 0), (*at, "seed"), 0, 2**63 - 1)
    ask = "\n\n" + reading.text(said["ask"], (*at, "ask")).strip() if "ask" in said else synthetic.ASK
    wanted = synthetic.Wanted(tokens, count, seed, _shared(reading, said, at, tokens), ask)
    if len(reading.problems) == before:
        _refuse_much(reading, wanted, at)
    return wanted if len(reading.problems) == before else None


def _shared(reading: Reading, said: Mapping[str, Any], at: KeyPath, tokens: int) -> int:
    """How many tokens of the beginning all of them share."""
    unique = said.get("unique", True)
    if not isinstance(unique, bool):
        reading.refuse((*at, "unique"), "is of the wrong kind", shown(unique), "true or false")
    if "shared_prefix" not in said:
        return 0 if unique else tokens
    if unique is False:
        accepted = "`shared_prefix` for a common beginning, or `unique: false` for all of it"
        reading.refuse((*at, "shared_prefix"), "stands beside `unique: false`", accepted=accepted)
    return reading.whole(said["shared_prefix"], (*at, "shared_prefix"), 1, max(tokens - 1, 1))


def _refuse_much(reading: Reading, wanted: synthetic.Wanted, at: KeyPath) -> None:
    length = wanted.tokens * synthetic.CHARACTERS_PER_TOKEN
    if length * wanted.count > MAX_CHARS:
        found, accepted = f"{wanted.tokens} tokens times {wanted.count}", f"up to {MAX_CHARS} characters in a suite"
        reading.refuse(at, "makes too much text", found, accepted)
    if len(wanted.ask) > length // 2:
        reading.refuse(
            (*at, "ask"), "is longer than half of the prompt", f"{len(wanted.ask)} characters", "a short one"
        )

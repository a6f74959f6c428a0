"""One pass over a suite: where its values stand, what is wrong with them, and where the files that it names lie.

On the way: `suite` and `expansion` read through one of these; everything wrong is told at once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from streambench.documents import Document, KeyPath, dotted, nearest, shown
from streambench.errors import Problem

_OTHERS_WORDS = {
    "prompt": "text",
    "content": "text",
    "question": "text",
    "input": "text",
    "conversation": "messages",
    "image": "images",
    "data": "rows",
}
_MAX_PATH = 300


class Reading:
    """Gathers what is wrong. Parsers go on with a stand-in value after a problem."""

    def __init__(self, document: Document, folders: tuple[Path, ...] = ()) -> None:
        self.problems: list[Problem] = []
        self.document = document
        self.folders = folders or (Path(document.file).parent,)
        """Where the files that it names are looked for."""
        self.row: str | None = None
        """The row of a table that the prompt being read is made from, as messages name it."""
        self._read: dict[Path, str] = {}

    def refuse(self, path: KeyPath, message: str, found: str | None = None, accepted: str | None = None) -> None:
        line = self.document.line(path)
        bare_list = bool(path) and isinstance(path[0], int)
        where = dotted(("prompts", *path) if bare_list else path) or None
        message = f"{message} in {self.row}" if self.row else message
        self.problems.append(Problem(message, self.document.file, line, where, found, accepted))

    def text(self, value: Any, path: KeyPath) -> str:
        if not isinstance(value, str):
            self.refuse(path, "must be text", shown(value), "text; put numbers in quotes")
            return ""
        if not value.strip():
            self.refuse(path, "must not be empty", shown(value), "text")
        return value

    def known_keys(self, item: Mapping[str, Any], known: tuple[str, ...], path: KeyPath) -> None:
        for key in item:
            if key not in known:
                other = _OTHERS_WORDS.get(key)
                hint = f"; did you mean `{other}`?" if other in known else nearest(key, known)
                self.refuse((*path, key), f"unknown key{hint}", accepted=", ".join(known))

    def whole(self, value: Any, path: KeyPath, least: int, most: int) -> int:
        """A whole number within bounds, or `least` after a problem."""
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        self.refuse(path, "is no number in reach", shown(value), f"a whole number from {least} to {most}")
        return least

    def file(self, value: Any, path: KeyPath, kind: str) -> Path | None:
        """The file's place, beside the suite; None where there is none, which is a problem that tells where it was
        looked for."""
        if not isinstance(value, str) or not value.strip() or "\0" in value or len(value) > _MAX_PATH:
            self.refuse(path, "must be a file's path", shown(value), kind)
            return None
        places = [folder / value for folder in self.folders]
        for place in places:
            if _is(place, Path.is_file):
                return place
        tried = " or ".join(shown(str(place.absolute()), _MAX_PATH)[1:-1] for place in places)
        message = "is no file" if any(_is(place, Path.exists) for place in places) else "no such file"
        self.refuse(path, message, shown(value), f"{kind}; looked for {tried}")
        return None

    def once(self, place: Path, read: Callable[[Path], str]) -> str:
        """What a file was read to: a table's rows may name the same one a thousand times."""
        if place not in self._read:
            self._read[place] = read(place)
        return self._read[place]


def _is(place: Path, kind: Callable[[Path], bool]) -> bool:
    """A name too long, or in a folder that may not be entered, is none."""
    try:
        return kind(place)
    except OSError:
        return False

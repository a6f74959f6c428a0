"""One pass over a suite: its document, the problems found, and the folders of the files that it names.

`suite` and `expansion` parse with a ParseContext; `suite` raises all problems together at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from streambench.documents import Document, KeyPath, dotted
from streambench.errors import Problem
from streambench.text import nearest, shown

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
"""Characters."""


class ParseContext:
    """Collects problems. Parsers continue with a substitute value after a problem."""

    def __init__(self, document: Document, folders: tuple[Path, ...] = ()) -> None:
        self.problems: list[Problem] = []
        self.document = document
        self.folders = folders or (Path(document.file).parent,)
        """Folders in which the files that the suite names are looked up."""
        self.row: str | None = None
        """The table row from which the current prompt is made, as messages name it."""
        self._read: dict[Path, str] = {}

    def refuse(self, path: KeyPath, message: str, found: str | None = None, accepted: str | None = None) -> None:
        """Adds a problem with the value at a path."""
        line = self.document.line(path)
        bare_list = bool(path) and isinstance(path[0], int)
        where = dotted(("prompts", *path) if bare_list else path) or None
        message = f"{message} in {self.row}" if self.row else message
        self.problems.append(Problem(message, self.document.file, line, where, found, accepted))

    def text(self, value: Any, path: KeyPath) -> str:
        """Returns the value, or "" if it is not text. Adds a problem if it is not text, or empty."""
        if not isinstance(value, str):
            self.refuse(path, "must be text", shown(value), "text; put numbers in quotes")
            return ""
        if not value.strip():
            self.refuse(path, "must not be empty", shown(value), "text")
        return value

    def known_keys(self, item: Mapping[str, Any], known: tuple[str, ...], path: KeyPath) -> None:
        """Adds a problem for each key that is not in `known`."""
        for key in item:
            if key not in known:
                other = _OTHERS_WORDS.get(key)
                hint = f"; did you mean `{other}`?" if other in known else nearest(key, known)
                self.refuse((*path, key), f"unknown key{hint}", accepted=", ".join(known))

    def whole(self, value: Any, path: KeyPath, least: int, most: int) -> int:
        """Returns a whole number from `least` to `most`; `least` after a problem."""
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        self.refuse(path, "is not a number in range", shown(value), f"a whole number from {least} to {most}")
        return least

    def file(self, value: Any, path: KeyPath, kind: str) -> Path | None:
        """Returns the path of a file in one of `folders`; None after a problem, which names the paths tried."""
        if not isinstance(value, str) or not value.strip() or "\0" in value or len(value) > _MAX_PATH:
            self.refuse(path, "must be a file path", shown(value), kind)
            return None
        places = [folder / value for folder in self.folders]
        for place in places:
            if _is(place, Path.is_file):
                return place
        tried = " or ".join(shown(str(place.absolute()), _MAX_PATH)[1:-1] for place in places)
        message = "is not a file" if any(_is(place, Path.exists) for place in places) else "no such file"
        self.refuse(path, message, shown(value), f"{kind}; looked for {tried}")
        return None

    def once(self, place: Path, read: Callable[[Path], str]) -> str:
        """Returns the result of `read` for a file, and caches it: a table's rows may name the same file many times."""
        if place not in self._read:
            self._read[place] = read(place)
        return self._read[place]


def _is(place: Path, kind: Callable[[Path], bool]) -> bool:
    """True if the path is of this kind; False for a name that is too long or in a folder without access."""
    try:
        return kind(place)
    except OSError:
        return False

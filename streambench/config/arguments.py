"""Checks the types of a call's arguments: a wrong one raises InputError, which names it and says what is accepted."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path

from streambench.errors import InputError, Problem
from streambench.text import shown

Place = str | PathLike[str]
"""The path of a file or folder."""
Texts = str | Sequence[str]
"""One text or several."""

FILE = "the path of a file, as text or Path"
FOLDER = "the path of a folder, as text or Path"
OVERRIDES = "a list of texts key=value, such as load.concurrency=16"


def path_of(place: object, name: str, accepted: str = FOLDER) -> Path:
    """Returns the path in the argument `name`. Raises InputError if it is not a path."""
    path = fspath(place) if isinstance(place, str | PathLike) else None
    if isinstance(path, str) and "\0" not in path:
        return Path(path)
    raise unusable(name, place, accepted)


def texts_of(texts: object, name: str, accepted: str) -> list[str]:
    """Returns one text or several as a list. Raises InputError if `texts` is anything else."""
    if isinstance(texts, str):
        return [texts]
    if not isinstance(texts, Sequence) or isinstance(texts, bytes):
        raise unusable(name, texts, accepted)
    for text in texts:
        if not isinstance(text, str):
            raise unusable(name, text, accepted)
    return list(texts)


def unusable(name: str, found: object, accepted: str) -> InputError:
    """Returns the error for an argument of a wrong type."""
    return InputError([Problem("cannot be used", where=name, found=shown(found), accepted=accepted)])

"""Finds the files that a config names: beside the config first, then from the current folder; and loads the suite.

On the way: a step of load.py over the Draft.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from streambench.assertions import BASELINE, REGRESSION
from streambench.config.draft import Draft
from streambench.config.values import at_home
from streambench.documents import Document, KeyPath, read_yaml, shown
from streambench.errors import InputError, SuiteError
from streambench.secrets import Secrets
from streambench.suite import Suite, load_suite, suite_from, together

_TLS_FILES = ("ca_bundle", "client_cert", "client_key")
_TELEMETRY_FILES = ("certificate", "client_key", "client_certificate")
INLINE = "inline"
_MAX_PATH = 300
_HEADER = "run.json"


def find_files(draft: Draft) -> None:
    """Puts where each was found into the data; the suite's path stays as written, for the header."""
    for name, gateway in draft.gateways():
        path = ("gateways", name)
        _find_in(draft, gateway, (*path, "models"))
        tls = gateway.get("tls")
        for key in _TLS_FILES:
            if isinstance(tls, dict):
                _find_in(draft, tls, (*path, "tls", key))
    _find_baseline(draft)
    telemetry = draft.data.get("telemetry")
    for key in _TELEMETRY_FILES:
        if isinstance(telemetry, dict):
            _find_in(draft, telemetry, ("telemetry", key))


def _find_baseline(draft: Draft) -> None:
    """The run that a regression is counted from, by its whole path: the header is read from any folder."""
    asserted = draft.data.get("assert")
    regression = asserted.get(REGRESSION) if isinstance(asserted, dict) else None
    path = ("assert", REGRESSION, BASELINE)
    if not isinstance(regression, dict) or not isinstance(regression.get(BASELINE), str) or draft.is_refused(path):
        return
    stated = regression[BASELINE]
    found = find(draft, stated, path)
    if found is not None and not _exists(found / _HEADER):
        draft.refuse(path, f"is no run, as it has no {_HEADER}", shown(stated), "the folder of an earlier run")
    elif found is not None:
        regression[BASELINE] = str(found.absolute())


def load_prompts(draft: Draft) -> Suite | None:
    """The suite, from its file or from inline prompts; None where there is a problem."""
    if draft.is_refused(("prompts",)):
        return None
    try:
        if isinstance(draft.data.get("suite"), str | list):
            return _from_files(draft, draft.data["suite"])
        return _inline(draft) if isinstance(draft.data.get("prompts"), list) else None
    except SuiteError as error:
        draft.suite_problems.extend(error.problems)
    return None


def _from_files(draft: Draft, said: str | list[Any]) -> Suite | None:
    """The suite in a file, or those in several as one."""
    paths = [said] if isinstance(said, str) else said
    if not all(isinstance(path, str) for path in paths):
        return None  # the schema tells it
    places = [("suite",) if isinstance(said, str) else ("suite", index) for index in range(len(paths))]
    found = [find(draft, path, place) for path, place in zip(paths, places, strict=True)]
    for index, file in enumerate(found):
        if file is not None and file in found[:index]:
            draft.refuse(places[index], "stands in the list twice", shown(paths[index]), "each file once")
    suites = [_loaded(draft, file) for file in dict.fromkeys(found) if file is not None]
    if not suites:
        return None
    whole = [suite for suite in suites if suite is not None]
    if len(whole) < len(suites):
        return None
    return whole[0] if len(whole) == 1 else together(whole)


def _loaded(draft: Draft, path: Path) -> Suite | None:
    try:
        return load_suite(path)
    except SuiteError as error:
        draft.suite_problems.extend(error.problems)
    return None


def _inline(draft: Draft) -> Suite:
    option = next((option for path, option in draft.origins.items() if path[0] == "prompts"), None)
    document = Document(option or draft.document.file, draft.data, {} if option else draft.document.lines)
    folders = (draft.folder, draft.also_in) if draft.also_in else (draft.folder,)
    return suite_from(document, INLINE, at=("prompts",), folders=folders)


def _find_in(draft: Draft, mapping: dict[str, Any], path: KeyPath) -> None:
    value = mapping.get(str(path[-1]))
    if isinstance(value, str) and not draft.is_refused(path):
        found = find(draft, value, path)
        mapping[str(path[-1])] = str(found) if found else None


def find(draft: Draft, text: str, path: KeyPath) -> Path | None:
    """The file's place. A missing one is a problem that names every place tried."""
    wanted = at_home(text)
    folders = [draft.folder, *([draft.also_in] if draft.also_in else []), Path()]
    places = list(dict.fromkeys(folder / wanted for folder in folders))
    for place in places:
        if text.strip() and _exists(place):
            return place
    if "\n" in text or len(text) > _MAX_PATH:  # a certificate's or key's own text, perhaps
        draft.refuse(path, "is no path", f"text of {len(text)} characters", "a file's path")
        return None
    mask = Secrets(draft.secret_values).mask
    tried = " or ".join(mask(_absolute(place)) for place in places)
    draft.refuse(path, "no such file", shown(mask(text)), f"a file; looked for {tried}")
    return None


def hash_of_yaml(path: Path) -> str | None:
    """Of what the file says, however it is laid out; None where it is no YAML, which its reader tells better."""
    try:
        data = read_yaml(path).data
    except InputError:
        return None
    text = json.dumps(data, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or one that no file can have
        return False


def _absolute(path: Path) -> str:
    """Since `relative to what?` is the question when a file is not found."""
    return shown(str(path.absolute()), limit=_MAX_PATH)[1:-1]

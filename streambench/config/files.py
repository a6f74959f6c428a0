"""Finds the files that a config names, and loads the suite.

A step of load.py over the Draft. A path is looked up in the config's folder, then in the Draft's `also_in`, then in the
current folder.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from streambench.config.draft import Draft
from streambench.config.fields import at_home
from streambench.documents import Document, KeyPath, read_yaml
from streambench.errors import InputError, SuiteError
from streambench.metrics.assertions import BASELINE, REGRESSION
from streambench.redaction import Secrets
from streambench.text import shown
from streambench.workload.suite import Suite, load_suite, suite_from, together

_TLS_FILES = ("ca_bundle", "client_cert", "client_key")
_TELEMETRY_FILES = ("certificate", "client_key", "client_certificate")
INLINE = "inline"
_MAX_PATH = 300
_HEADER = "run.json"


def find_files(draft: Draft) -> None:
    """Replaces each path in the data by the path where the file was found.

    The suite's path stays as written, for the run's header.
    """
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
    """Makes the path of the baseline run absolute: the run's header stores it and is read from any folder."""
    asserted = draft.data.get("assert")
    regression = asserted.get(REGRESSION) if isinstance(asserted, dict) else None
    path = ("assert", REGRESSION, BASELINE)
    if not isinstance(regression, dict) or not isinstance(regression.get(BASELINE), str) or draft.is_refused(path):
        return
    stated = regression[BASELINE]
    found = find(draft, stated, path)
    if found is not None and not _exists(found / _HEADER):
        draft.refuse(
            path, f"is not the folder of a run: it has no {_HEADER}", shown(stated), "the folder of an earlier run"
        )
    elif found is not None:
        regression[BASELINE] = str(found.absolute())


def load_prompts(draft: Draft) -> Suite | None:
    """Returns the suite from its files or from inline prompts; None after a problem."""
    if draft.is_refused(("prompts",)):
        return None
    try:
        if isinstance(draft.data.get("suite"), str | list):
            return _from_files(draft, draft.data["suite"])
        return _inline(draft) if isinstance(draft.data.get("prompts"), list) else None
    except SuiteError as error:
        draft.suite_problems.extend(error.problems)
    return None


def _from_files(draft: Draft, given: str | list[Any]) -> Suite | None:
    """Returns the suite of one file, or the suites of several files as one; None after a problem."""
    paths = [given] if isinstance(given, str) else given
    if not all(isinstance(path, str) for path in paths):
        return None  # schema validation reports it
    places = [("suite",) if isinstance(given, str) else ("suite", index) for index in range(len(paths))]
    found = [find(draft, path, place) for path, place in zip(paths, places, strict=True)]
    for index, file in enumerate(found):
        if file is not None and file in found[:index]:
            draft.refuse(places[index], "is listed twice", shown(paths[index]), "each file only once")
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
    """Returns the path where a file was found; None if it is missing, with a problem that names every path tried."""
    wanted = at_home(text)
    folders = [draft.folder, *([draft.also_in] if draft.also_in else []), Path()]
    places = list(dict.fromkeys(folder / wanted for folder in folders))
    for place in places:
        if text.strip() and _exists(place):
            return place
    if "\n" in text or len(text) > _MAX_PATH:  # perhaps the text of a certificate or key: not repeated
        draft.refuse(path, "is not a path", f"text of {len(text)} characters", "a file path")
        return None
    mask = Secrets(draft.secret_values).mask
    tried = " or ".join(mask(_absolute(place)) for place in places)
    draft.refuse(path, "no such file", shown(mask(text)), f"a file; looked for {tried}")
    return None


def hash_of_yaml(path: Path) -> str | None:
    """Returns the first 16 hex digits of the SHA-256 of a YAML file's data; layout and order of keys do not matter.

    None if the file cannot be read as YAML: the code that uses the file reports that.
    """
    try:
        data = read_yaml(path).data
    except InputError:
        return None
    text = json.dumps(data, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # the name is too long or invalid
        return False


def _absolute(path: Path) -> str:
    """Returns the absolute path: a relative one would not tell the user where the file was looked for."""
    return shown(str(path.absolute()), limit=_MAX_PATH)[1:-1]

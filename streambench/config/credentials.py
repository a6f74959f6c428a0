"""Refuses keys, passwords and other secrets that stand literally in the config: they come from the environment only.

A step of load.py over the Draft, before `${NAME}` is filled in. A refused value is removed from the data at once, and
no message repeats it.
"""

from __future__ import annotations

import re
from typing import Any

from streambench.config.draft import Draft
from streambench.documents import KeyPath
from streambench.redaction import is_secret_name, looks_secret
from streambench.workload.headers import RESERVED

VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_USERINFO = re.compile(r"[a-zA-Z][\w+.-]*://([^/?#]*)@")
_KEYS_BY_OTHER_NAMES = frozenset({"x-honeycomb-team", "uptrace-dsn"})
_NO_SECRETS = frozenset({"prompt_cache_key", "bos_token", "eos_token", "pad_token", "stop_token", "unk_token"})
"""Parameters whose names look like those of secrets but are not."""
_GATEWAY = " under the params of its gateway"
"""Where to put a secret param. `${NAME}` is not filled in under a model, because its params are the same for everyone
who reads the file."""
_SCHEME_WORD = re.compile(r"(?:bearer|basic|token)\s+", re.IGNORECASE)


def check_credentials(draft: Draft) -> None:
    """Adds a problem for each literal secret, and removes the secret from the data."""
    for name, gateway in draft.gateways():
        path = ("gateways", name)
        _check_api_key(draft, gateway, path, variable_for(name))
        _check_headers(draft, gateway.get("headers"), (*path, "headers"), variable_for(name, "HEADER"))
        _check_params(draft, gateway.get("params"), (*path, "params"), variable_for(name, "SECRET"))
        for key in ("base_url", "proxy"):
            _check_url(draft, gateway, (*path, key), variable_for(name, "PASSWORD"))
    for index, model in draft.models():
        variable = variable_for(str(model.get("alias") or model.get("model")), "HEADER")
        _refuse_reserved(draft, model.get("headers"), ("models", index, "headers"))
        _check_headers(draft, model.get("headers"), ("models", index, "headers"), variable)
        _check_params(draft, model.get("params"), ("models", index, "params"), "GATEWAY_SECRET", under=_GATEWAY)
    telemetry = draft.data.get("telemetry")
    if isinstance(telemetry, dict):
        _check_headers(draft, telemetry.get("headers"), ("telemetry", "headers"), "OTLP_HEADER")
        _check_url(draft, telemetry, ("telemetry", "endpoint"), "OTLP_PASSWORD")


def variable_for(name: str, what: str = "API_KEY") -> str:
    """Returns the name of the environment variable to suggest: `HUB_API_KEY` for the key of gateway `hub`."""
    stem = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")
    prefix = "MY_" if not stem or stem[0].isdigit() else ""
    return f"{prefix}{stem}_{what}" if stem else f"{prefix}{what}"


def _check_api_key(draft: Draft, gateway: dict[str, Any], path: KeyPath, variable: str) -> None:
    """Keeps `${NAME}`; replaces `none` (a server without a key) by None; refuses any other value."""
    key = gateway.get("api_key")
    if isinstance(key, str) and key.strip().lower() == "none":
        gateway["api_key"] = None
    elif isinstance(key, str) and VARIABLE.fullmatch(key.strip()):
        gateway["api_key"] = key.strip()
    elif "api_key" in gateway:
        _refuse_api_key(draft, gateway, (*path, "api_key"), variable)


def _refuse_api_key(draft: Draft, gateway: dict[str, Any], path: KeyPath, variable: str) -> None:
    key = gateway["api_key"]
    accepted = f"`api_key: ${{{variable}}}` with `export {variable}=...`, or `api_key: none`"
    if key is None or key == "":
        draft.refuse(path, "is empty", accepted=accepted)
    elif isinstance(key, str) and VARIABLE.search(key):
        draft.refuse(path, "must be a single variable and nothing else", accepted=accepted)
    else:
        draft.refuse(path, "a key must not be written in the file", accepted=accepted)
    _remember(draft, key)
    gateway["api_key"] = None


def _refuse_reserved(draft: Draft, headers: Any, path: KeyPath) -> None:
    """Refuses and removes reserved headers.

    Runs before `_check_headers`, which would otherwise suggest `${NAME}` for a key in one of them.
    """
    for name in [name for name in headers if name.lower() in RESERVED] if isinstance(headers, dict) else ():
        draft.refuse((*path, name), f"may not be set here: {RESERVED[name.lower()]}")
        _remember(draft, headers.pop(name))


def _check_headers(draft: Draft, headers: Any, path: KeyPath, variable: str) -> None:
    if not isinstance(headers, dict):
        return
    for name, value in headers.items():
        if value is not None and _is_literal_secret(name, str(value)):
            accepted = f"`{name}: ${{{variable}}}` with `export {variable}=...`"
            draft.refuse((*path, name), "a secret must not be written in the file", accepted=accepted)
            _remember(draft, _SCHEME_WORD.sub("", str(value)))
            headers[name] = ""


def _check_params(draft: Draft, value: Any, path: KeyPath, variable: str, under: str = "") -> None:
    """Refuses literal secrets in extra request fields, at any depth: some gateways take their key in the body."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if isinstance(inner, str) and key not in _NO_SECRETS and _is_literal_secret(str(key), inner):
            accepted = f"`{key}: ${{{variable}}}`{under} with `export {variable}=...`"
            draft.refuse((*path, key), "a secret must not be written in the file", accepted=accepted)
            _remember(draft, inner)
            value[key] = ""
        _check_params(draft, inner, (*path, key), variable, under)


def _is_literal_secret(name: str, value: str) -> bool:
    is_key = is_secret_name(name) or name.lower() in _KEYS_BY_OTHER_NAMES
    return not VARIABLE.search(value) and (is_key or looks_secret(value))


def _check_url(draft: Draft, mapping: dict[str, Any], path: KeyPath, variable: str) -> None:
    key = str(path[-1])
    url = mapping.get(key)
    if not isinstance(url, str):
        return
    userinfo = _USERINFO.match(url)
    if userinfo and not VARIABLE.search(userinfo[1].rpartition(":")[2]):
        mend = f"https://${{{variable.replace('PASSWORD', 'USER')}}}:${{{variable}}}@..."
        draft.refuse(
            path, "a password must not be written in the file", accepted=f"a URL without a password, or {mend}"
        )
        _remember(draft, *userinfo[1].split(":", 1))
        del mapping[key]
    elif looks_secret(VARIABLE.sub("", url[userinfo.end() :] if userinfo else url)):
        draft.refuse(path, "a key must not be written in the file", accepted="${NAME} in its place")
        del mapping[key]


def _remember(draft: Draft, *values: object) -> None:
    """Registers secret values, so that no other message shows them."""
    draft.secret_values.update(str(value) for value in values if value is not None)

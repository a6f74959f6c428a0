"""Reads an error in any of its forms: JSON with or without `error`, plain text, or an HTML page. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from streambench.client.decode.chunk_json import (
    UnreadableError,
    dict_of,
    dicts_of,
    first_of,
    read_json,
    string_of,
    without_half_pairs,
    write_json,
)
from streambench.records.schema import Failure
from streambench.text import shown_name

MESSAGE_LIMIT = 4_000
"""Characters read of a gateway's message. The record builder masks them, then cuts them to the length kept."""


@dataclass(frozen=True, slots=True)
class ErrorForm:
    """A form in which frames state an error. `find` returns the error in a JSON object, or None."""

    form: str
    vendors: str
    find: Callable[[dict[str, Any]], Any]


def _stated(plain: dict[str, Any]) -> Any:
    return plain.get("error") or None


def _is_called_error(plain: dict[str, Any]) -> Any:
    return plain if plain.get("object") == "error" or plain.get("type") == "error" else None


def _of_minimax(plain: dict[str, Any]) -> Any:
    base = dict_of(plain.get("base_resp"))
    return {"message": base.get("status_msg"), "code": base["status_code"]} if base.get("status_code") else None


def _has_error_code(plain: dict[str, Any]) -> Any:
    return plain if plain.get("error_code") or plain.get("errorCode") or plain.get("error_msg") else None


def _listed(plain: dict[str, Any]) -> Any:
    return next(iter(dicts_of(plain.get("errors"))), None)


def _says_it_failed(plain: dict[str, Any]) -> Any:
    failed = plain.get("success") is False or plain.get("status") in ("error", "failed")
    return plain if failed and not plain.get("choices") else None


def _has_only_a_message(plain: dict[str, Any]) -> Any:
    """True of the bare errors of DashScope, AWS and FastAPI: a text, perhaps a code, and nothing of an answer."""
    told = first_of(*(string_of(plain.get(key)) for key in ("message", "msg", "detail")))
    is_chunk = any(plain.get(key) is not None for key in ("choices", "usage", "output", "response", "object", "delta"))
    return plain if told and not is_chunk else None


ERROR_FORMS: tuple[ErrorForm, ...] = (
    ErrorForm("`error`: an object or a text", "OpenAI and most others", _stated),
    ErrorForm('`{"object": "error", "message", "code"}`, or with `type`', "vLLM, SGLang", _is_called_error),
    ErrorForm("`base_resp.status_code` other than 0", "MiniMax", _of_minimax),
    ErrorForm("`error_code` with `text`, `message` or `error_msg`", "FastChat, Databricks, Baidu", _has_error_code),
    ErrorForm("`errors`: a list", "Cloudflare", _listed),
    ErrorForm('`success: false` or `status: "error"`', "Zhipu, relays", _says_it_failed),
    ErrorForm("`message`, `msg` or `detail`, and no answer", "DashScope, AWS, FastAPI", _has_only_a_message),
)
"""The forms of errors in frames, in the order in which they are looked for."""


def error_in(plain: dict[str, Any]) -> Any:
    """Returns the error that a frame states, in any known form; None if it states none."""
    found = (form.find(plain) for form in ERROR_FORMS)
    return next((error for error in found if error is not None), None)


def failure_from_body(kind: str, body: bytes, *, status: int | None = None) -> Failure:
    """Returns the failure that an error body describes: JSON with or without `error`, plain text or HTML."""
    try:
        plain = read_json(without_half_pairs(body))
    except UnreadableError:
        plain = _title(body.decode("utf-8", "replace"))
    return failure_from_plain(kind, plain, status=status)


def failure_from_plain(kind: str, plain: Any, *, status: int | None = None) -> Failure:
    """Returns the failure that a JSON value describes. A list counts as its first object."""
    if isinstance(plain, list):
        plain = next(iter(dicts_of(plain)), plain)
    error = first_of(error_in(plain), plain) if isinstance(plain, dict) else plain
    if not isinstance(error, dict):
        return Failure(kind=kind, message=_text(error), status=status)
    message = first_of(*(error.get(key) for key in _message_keys(error)))
    code = _code(error)
    return Failure(
        kind=kind,
        message=_keys(error) if message is None else _text(message),
        status=first_of(status, *(_status(error.get(key)) for key in ("code", "status", "status_code"))),
        code=None if code is None else _text(code),
        retry_after_s=_retry_delay(error),
    )


_MESSAGES = ("message", "detail", "html-message", "msg", "error_msg", "errorMessage", "error_message", "error", "type")


def _message_keys(error: dict[str, Any]) -> tuple[str, ...]:
    """`text` is a message only beside an error code: else it may be an answer."""
    return ("text", *_MESSAGES) if error.get("error_code") and "message" not in error else _MESSAGES


def _code(error: dict[str, Any]) -> Any:
    # The type `error` is the event's own type, not a code.
    own_type = error.get("type")
    codes = (error.get("code"), error.get("error_code"), error.get("errorCode"))
    return first_of(*codes, None if own_type == "error" else own_type)


_DELAY = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)s")


def _retry_delay(error: dict[str, Any]) -> float | None:
    """Returns the seconds of Google's `RetryInfo`, such as `"retryDelay": "17s"`; None if there is none."""
    stated = (string_of(one.get("retryDelay")) for one in dicts_of(error.get("details")))
    found = next((_DELAY.fullmatch(delay) for delay in stated if delay), None)
    return float(found[1]) if found else None


def _keys(error: dict[str, Any]) -> str:
    """Returns the keys of an object that states no error. It may be an answer, so its values are not repeated."""
    names = ", ".join(map(shown_name, list(error)[:12]))
    return f"an object with the keys {names}" if names else "an empty object"


def _title(text: str) -> str:
    """Returns an HTML page's title, which says as much as the page; other text without outer white space."""
    start = text.lower().find("<title>")
    if start < 0:
        return text.strip()
    return text[start + 7 :].split("<", 1)[0].strip()


def _text(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else write_json(value)
    return text[:MESSAGE_LIMIT]


def _status(code: object) -> int | None:
    """Returns the code if it is an HTTP status, as a number or as digits; else None."""
    digits = str(code)
    return int(digits) if digits.isdigit() and len(digits) == 3 and digits.isascii() else None

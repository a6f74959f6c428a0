"""Images of prompts: a file becomes a `data:` URL, a part the API's `image_url`; and what no message may repeat.

On the way: `suite` turns `{type: image, ...}` into what is sent; `client` hides it from what gateways echo.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from streambench.documents import shown

MAX_BYTES = 20 * 1024 * 1024
_MAX_URL = 8_192
DETAILS = ("auto", "low", "high")


class ImageError(ValueError):
    """What is wrong with an image: the message, what was found, what is accepted."""

    def __init__(self, message: str, found: str | None, accepted: str) -> None:
        super().__init__(message)
        self.message, self.found, self.accepted = message, found, accepted


def data_url(path: Path) -> str:
    """The file as a `data:` URL, its media type told by its first bytes. Raises ImageError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}", shown(path.name), "an image file") from None
    if len(content) > MAX_BYTES:
        raise ImageError("is too large an image", shown(path.name), f"up to {MAX_BYTES // 2**20} MB")
    kind = media_type(content)
    if kind is None:
        raise ImageError("is no image that gateways take", shown(path.name), "a PNG, JPEG, WebP or GIF file")
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def media_type(content: bytes) -> str | None:
    """By the signature that each format begins with; None for any other."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if content[:4] == b"RIFF" and content[8:12] == b"WEBP" else None


def checked_url(url: Any) -> str:
    """A URL that the gateway is to load itself. Raises ImageError."""
    accepted = "a URL such as https://pictures.example/cat.png; `file:` for one on this machine"
    if not isinstance(url, str):
        raise ImageError("must be a URL", shown(url), accepted)
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        fits = False
    if not fits or not url.isprintable() or " " in url or len(url) > _MAX_URL:
        raise ImageError("is no URL of an image", shown(url), accepted)
    if parts.username or parts.password:
        raise ImageError("holds a user or password", None, "a URL without one")
    return url


def image_part(url: str, detail: str | None = None) -> dict[str, Any]:
    """The content part that Chat Completions takes."""
    return {"type": "image_url", "image_url": {"url": url, **({"detail": detail} if detail else {})}}


def images_of(messages: Iterable[Mapping[str, Any]]) -> int:
    """How many images are sent."""
    return sum(part.get("type") == "image_url" for part in _beside_text(messages))


def attached(messages: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Every text inside content parts that are no text themselves: addresses and bytes of images, sound and files."""
    for part in _beside_text(messages):
        yield from strings_in({key: value for key, value in part.items() if key != "type"})


def _beside_text(messages: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list | tuple) else ():
            if isinstance(part, Mapping) and part.get("type") != "text":
                yield part


def strings_in(value: Any) -> Iterator[str]:
    """Every text at any depth; keys are none."""
    match value:
        case str():
            yield value
        case Mapping():
            for inner in value.values():
                yield from strings_in(inner)
        case list() | tuple():
            for inner in value:
                yield from strings_in(inner)

"""Images of prompts: reads files as `data:` URLs and makes content parts of type `image_url`.

`suite` turns `{type: image, ...}` into what is sent; `client` masks what `attached` yields in text that gateways echo.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from streambench.text import shown

MAX_BYTES = 20 * 1024 * 1024
_MAX_URL = 8_192
DETAILS = ("auto", "low", "high")


class ImageError(ValueError):
    """What is wrong with an image: the message, what was found, what is accepted."""

    def __init__(self, message: str, found: str | None, accepted: str) -> None:
        super().__init__(message)
        self.message, self.found, self.accepted = message, found, accepted


def data_url(path: Path) -> str:
    """Returns the file as a `data:` URL, with the media type by its first bytes.

    Raises ImageError if the file cannot be read, is larger than MAX_BYTES, or is not PNG, JPEG, WebP or GIF.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}", shown(path.name), "an image file") from None
    if len(content) > MAX_BYTES:
        raise ImageError("is too large", shown(path.name), f"up to {MAX_BYTES // 2**20} MB")
    kind = media_type(content)
    if kind is None:
        raise ImageError("is not in a supported image format", shown(path.name), "a PNG, JPEG, WebP or GIF file")
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def media_type(content: bytes) -> str | None:
    """Returns the media type by the signature at the beginning: PNG, JPEG, GIF or WebP; None for any other."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if content[:4] == b"RIFF" and content[8:12] == b"WEBP" else None


def checked_url(url: Any) -> str:
    """Returns the URL of an image that the gateway loads itself.

    Raises ImageError if it is invalid, longer than _MAX_URL characters, or has a user or password.
    """
    accepted = "a URL such as https://pictures.example/cat.png; `file:` for an image on this machine"
    if not isinstance(url, str):
        raise ImageError("must be a URL", shown(url), accepted)
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        fits = False
    if not fits or not url.isprintable() or " " in url or len(url) > _MAX_URL:
        raise ImageError("is not a valid URL of an image", shown(url), accepted)
    if parts.username or parts.password:
        raise ImageError("contains a user or password", None, "a URL without user and password")
    return url


def image_part(url: str, detail: str | None = None) -> dict[str, Any]:
    """Returns the image as a content part of Chat Completions."""
    return {"type": "image_url", "image_url": {"url": url, **({"detail": detail} if detail else {})}}


def images_of(messages: Iterable[Mapping[str, Any]]) -> int:
    """Returns the number of images in the messages."""
    return sum(part.get("type") == "image_url" for part in _beside_text(messages))


def attached(messages: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yields every text inside content parts other than text: URLs and data of images, audio and files."""
    for part in _beside_text(messages):
        yield from strings_in({key: value for key, value in part.items() if key != "type"})


def _beside_text(messages: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list | tuple) else ():
            if isinstance(part, Mapping) and part.get("type") != "text":
                yield part


def strings_in(value: Any) -> Iterator[str]:
    """Yields every text in a value, at any depth, except the keys of mappings."""
    match value:
        case str():
            yield value
        case Mapping():
            for inner in value.values():
                yield from strings_in(inner)
        case list() | tuple():
            for inner in value:
                yield from strings_in(inner)

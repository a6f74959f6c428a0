"""Adapts matplotlib's SVG to a page: adds title and description, dark colours and unique ids, and shortens numbers.

Only tags are changed, never text: names from a run are only in text, where `<` and `>` are escaped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from html import escape

from streambench.report.figures.style import THEMED

FONTS = "'DejaVu Sans', Verdana, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
"""The font that the figure was laid out with, then common fonts: no font is downloaded."""

_TAG = re.compile(r"<[^>]+>")
_LONG = re.compile(r"(\d+\.\d\d)\d+")
_DRAWING = re.compile(r' (?:d|x|y|x1|y1|x2|y2|transform)="[^"]*"')
_ID = re.compile(r'( id="|url\(#|href="#)')
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_FAMILY = re.compile(r" ?font-family: [^;\"]*;")
_GROUP_ID = re.compile(r'<g id="[^"]*"')
_MARKS = re.compile(
    r'<g((?: clip-path="[^"]*")?)>((?:\s*<use [^>]*style="([^"]*)"/>)(?:\s*<use [^>]*style="\3"/>)*)\s*</g>'
)
_EVERYTHING = "*{stroke-linejoin"
_EMPTY = re.compile(r"\s*<g/>|\s*<g(?: [^>]*)?>\s*</g>")


def themed(text: str, name: str, title: str, alt: str) -> str:
    """Returns matplotlib's SVG `text` adapted for a page. Ids begin with `name` or its initials."""
    body = _METADATA.sub("", text)
    body = _GROUP_ID.sub("<g", body)
    while body != (body := _EMPTY.sub("", body)):
        pass
    scope = f"#{name}-figure "
    body = body.replace(_EVERYTHING, f"{scope}{_EVERYTHING}", 1)
    body = _MARKS.sub(_hoisted, body)
    prefix = "".join(word[0] for word in name.split("-"))
    body = _TAG.sub(_in_tag(prefix), body)
    start = body.index("<svg")
    opened = body.index(">", start)
    attributes = body[start + len("<svg") : opened]
    head = (
        f'<svg id="{name}-figure" role="img" aria-labelledby="{name}-title {name}-desc"{attributes}>\n'
        f' <title id="{name}-title">{escape(title)}</title>\n <desc id="{name}-desc">{escape(alt)}</desc>\n'
        f" <style>{scope}text {{ font-family: {FONTS} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{\n{_dark_of(body, scope, prefix)}}}</style>"
    )
    return f"{body[:start]}{head}{body[opened + 1 :]}"


def dark_css(scopes: Sequence[str] = ("",), colours: Sequence[tuple[str, str]] = THEMED) -> str:
    """Returns CSS rules that replace each light colour with its dark one; also used in a page's style sheet.

    Each scope is the beginning of a selector; `colours` are pairs (light, dark).
    """
    return "".join(
        f"{', '.join(_selectors(scopes, part, light))} {{ {part}: {dark} !important }}\n"
        for light, dark in colours
        for part in ("fill", "stroke")
    )


def _selectors(scopes: Sequence[str], part: str, light: str) -> Iterator[str]:
    for scope in scopes:
        yield f'{scope}[style*="{part}: {light}"]'
        yield f'{scope}[{part}="{light}"]'


def _dark_of(body: str, scope: str, prefix: str) -> str:
    """Returns dark rules for the colours that occur in the figure.

    The content of a `<use>` element is in a shadow tree, which `scope` does not reach; the ids' prefix does.
    """
    return dark_css((scope, f'[id^="{prefix}-"]'), [pair for pair in THEMED if pair[0] in body])


def _hoisted(found: re.Match[str]) -> str:
    """Moves the style that all marks of a group share to the group."""
    style = f' style="{found[3]}"'
    return f"<g{found[1]}{style}>{found[2].replace(style, '')}</g>"


def _in_tag(prefix: str) -> Callable[[re.Match[str]], str]:
    def mended(found: re.Match[str]) -> str:
        tag = _ID.sub(rf"\g<1>{prefix}-", found[0])
        tag = _DRAWING.sub(lambda part: _LONG.sub(r"\1", part[0]), tag)
        return _FAMILY.sub("", tag)

    return mended

"""The house style: hostile names are inert, and the palette holds what it promises."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from report.figures.drawing import every_drawn, material, svg
from report.figures.runs import HOSTILE
from streambench.report.figures import catalogue, style
from streambench.report.figures.data import evenly
from streambench.report.figures.labels import label, labels, listed, tick
from streambench.text import percent, three_digits

SPACE = "{http://www.w3.org/2000/svg}"


# --- hostile names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("figure", catalogue.FIGURES)
def test_hostile_names_are_inert_in_svg(figure: str) -> None:
    """Well-formed, of drawing elements only, with no handler and no link that leaves the file."""
    if figure not in {each.name for each in every_drawn("hostile")}:
        pytest.skip("left out")
    root = ElementTree.fromstring(svg("hostile", figure))
    for element in root.iter():
        assert element.tag.removeprefix(SPACE) in {
            "svg", "title", "desc", "style", "defs", "g", "path", "use", "text", "clipPath", "rect", "image", "pattern",
        }, element.tag  # fmt: skip
        for name, value in element.attrib.items():
            assert not name.lower().startswith("on")
            if name.endswith("href"):
                assert value.startswith(("#", "data:image/png;base64,"))
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", svg("hostile", figure))


def test_a_dollar_is_a_dollar() -> None:
    """No text of any figure is parsed as mathematics."""
    for each in every_drawn("hostile"):
        assert not any(text.get_parse_math() for text in style.texts(each.figure)), each.name
    texts = [e.text for e in ElementTree.fromstring(svg("hostile", "outcomes")).iter(f"{SPACE}text")]
    assert '$\\frac{1}{0}$..ted" \'id="x"\' (simulated)' in texts


@pytest.mark.parametrize("name", ["rich", "hostile"])
def test_ids_are_unique_over_a_page_of_figures(name: str) -> None:
    """All figures may stand in one document; each reference finds its target in its own file."""
    seen: list[str] = []
    for each in every_drawn(name):
        text = svg(name, each.name)
        ids = [value for e in ElementTree.fromstring(text).iter() if (value := e.get("id"))]
        wanted = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text))
        assert {one or other for one, other in wanted} <= set(ids), each.name
        seen += ids
    assert len(seen) == len(set(seen))


def test_an_svg_names_itself() -> None:
    """Title and description for those who do not see it; nothing of the date or of the maker."""
    text = svg("hostile", "ttft-ecdf")
    root = ElementTree.fromstring(text)
    assert root.get("role") == "img"
    assert root.findtext(f"{SPACE}title") == "Time to the first token"
    assert "<script>alert(1)</script> (simulated) has the lowest median" in (root.findtext(f"{SPACE}desc") or "")
    assert "metadata" not in text
    assert "http://matplotlib" not in text


def test_an_svg_has_its_dark_colours() -> None:
    """Every colour of a vector mark has its rule, and the rules reach no other figure of the page."""
    text = svg("rich", "latency-over-time")
    rules = text[text.index("@media screen and (prefers-color-scheme: dark)") : text.index("</style>")]
    used = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", text[text.index("</style>") :]))
    known = {light for light, _ in style.THEMED}
    assert used <= known
    assert all(f": {colour}" in rules for colour in used)
    selectors = re.findall(r"^\s*(\S+) \[", rules, re.MULTILINE)
    assert set(selectors) == {"#latency-over-time-figure"}


def test_what_use_draws_has_its_dark_colours_too() -> None:
    """It lies in a tree of its own, where no ancestor's id reaches: there its own id tells the figure."""
    text = svg("rich", "latency-over-time")
    rules = text[text.index("@media screen and (prefers-color-scheme: dark)") : text.index("</style>")]
    marks = re.findall(r'<path id="lot-[^"]*"[^>]*style="stroke: (#[0-9a-f]{6})', text)
    assert marks
    for colour in marks:
        assert f'[id^="lot-"][style*="stroke: {colour}"]' in rules


@pytest.mark.parametrize("name", HOSTILE)
def test_a_label_is_short_and_printable(name: str) -> None:
    """At most 28 characters that the house's font has."""
    found = label(name)
    assert 0 < len(found) <= 28
    assert found.isprintable()


def test_labels_are_told_apart() -> None:
    """Names that differ only where they were cut get a number."""
    found = labels(HOSTILE)
    assert len(set(found.values())) == len(HOSTILE)
    assert found["x" * 250 + "y" + "x" * 249].endswith("#2")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("gpt-4o", "gpt-4o"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("", "(no name)"),
        ("é ß Ω", "é ß Ω"),
        ("\u202eevil", "\\u202eevil"),
        ("\u05d0", "\\u05d0"),
        ("\U0001f680", "\\U0001f680"),
        ("abcdefghijklmnopqrstuvwxyz0123456789", "abcdefghijklm..xyz0123456789"),
    ],
)
def test_what_a_label_shows(name: str, shown: str) -> None:
    """Foreign letters stay, but for what the font lacks and what runs from right to left."""
    assert label(name) == shown


def test_numbers_in_words() -> None:
    """About three digits; shares are never rounded to none or all."""
    assert [three_digits(n) for n in (0, 0.0123, 0.42, 8.314, 9.996, 41.72, 412.3, 1204)] == [
        "0", "0.012", "0.42", "8.31", "10.0", "41.7", "412", "1,204",
    ]  # fmt: skip
    assert [percent(n) for n in (0, 0.0001, 0.025, 0.36, 0.9999, 1)] == [
        "0 %", "under 0.1 %", "2.5 %", "36 %", "over 99.9 %", "100 %",
    ]  # fmt: skip
    assert [tick(n) for n in (0, 0.00001, 0.02, 1.5, 2000)] == ["0", "1e-05", "0.02", "1.5", "2,000"]
    assert [listed(names) for names in (["a"], ["a", "b"], ["a", "b", "c"], ["a", "b", "c", "d"])] == [
        "a", "a and b", "a, b and c", "a, b and 2 more",
    ]  # fmt: skip


def test_an_even_sample_has_both_ends() -> None:
    """All where they fit, else evenly spread."""
    assert evenly(3, 5) == [0, 1, 2]
    assert evenly(9, 5) == [0, 2, 4, 6, 8]
    assert evenly(10, 1) == [0]


# --- the palette ------------------------------------------------------------------------------------------------------

NORMAL = np.eye(3)
# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
PROTAN = np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]])
DEUTAN = np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]])
TRITAN = np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]])


def linear(colour: str) -> np.ndarray:
    value = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """WCAG 2: (lighter + 0.05) / (darker + 0.05) of the relative luminances."""
    low, high = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def oklab(rgb: np.ndarray) -> np.ndarray:
    """Ottosson (2020): a space in which distance is close to what eyes tell apart."""
    to_lms = np.array([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
                       [0.0883024619, 0.2817188376, 0.6299787005]])  # fmt: skip
    to_lab = np.array([[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
                       [0.0259040371, 0.7827717662, -0.8086757660]])  # fmt: skip
    return np.asarray(to_lab @ np.cbrt(to_lms @ np.clip(rgb, 0, 1)))


@pytest.mark.parametrize(("theme", "name"), [(0, "light"), (1, "dark")])
def test_colours_stand_out_from_the_ground(theme: int, name: str) -> None:
    """Marks at 3:1 or more, words at 4.5:1 or more (WCAG 2.1, 1.4.11 and 1.4.3), on either ground."""
    ground = style.GROUND[theme]
    assert min(contrast(colour[theme], ground) for colour in style.COLOURS) >= 3, name
    assert min(contrast(text[theme], ground) for text in (style.INK, style.SOFT)) >= 4.5, name
    assert contrast(style.REST[theme], ground) >= 2.9, name


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize("eyes", [NORMAL, PROTAN, DEUTAN, TRITAN], ids=["normal", "protan", "deutan", "tritan"])
def test_colours_keep_apart_for_all_eyes(theme: int, eyes: np.ndarray) -> None:
    """Any two of the ten, at 0.08 in OKLab or more; a difference that is just seen is about 0.02."""
    seen = [oklab(eyes @ linear(colour[theme])) for colour in style.COLOURS]
    assert min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2)) >= 0.08


def test_forty_models_look_different() -> None:
    """Colour is never alone: any two of forty differ in colour or dash, and neighbours in both and in the marker."""
    looks = [style.SeriesStyle.of(place) for place in range(40)]
    assert len({(look.colour, str(look.dash)) for look in looks}) == 40
    for one, other in itertools.pairwise(looks):
        assert one.colour != other.colour
        assert one.dash != other.dash
        assert one.marker != other.marker


def test_light_colours_are_all_different() -> None:
    """The dark rules find a mark by its light colour."""
    lights = [light for light, _ in style.THEMED]
    assert len(lights) == len(set(lights))


def test_colour_follows_the_configs_order() -> None:
    """Not who is fast, nor who was recorded first."""
    assert [model.look.colour for model in material("ten").models] == [light for light, _ in style.COLOURS]

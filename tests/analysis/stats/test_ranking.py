"""Places that admit what the run cannot tell."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest

from streambench.analysis.stats.paired import Comparison, compare, pair, rank


def told_apart(*beaten: tuple[str, str], models: str = "abc") -> list[Comparison]:
    """Comparisons of all pairs, of which only (winner, loser) in `beaten` are certain."""
    values = [100.0 * 1.1**k for k in range(12)]
    apart = compare(pair(values, [2 * value for value in values], list(range(12)), ("?", "?")), "ttft_ms")
    found = []
    for a, b in combinations(models, 2):
        if (a, b) in beaten or (b, a) in beaten:
            winner, loser = (a, b) if (a, b) in beaten else (b, a)
            found.append(replace(apart, a=winner, b=loser))
        else:
            found.append(replace(apart, a=a, b=b, p_holm=0.4))
    return found


def test_all_told_apart_have_one_place_each() -> None:
    """c before a before b."""
    places = rank("abc", told_apart(("c", "a"), ("c", "b"), ("a", "b")))
    assert [(place.model, place.shown) for place in places] == [("c", "1"), ("a", "2"), ("b", "3")]


def test_none_told_apart_share_all_places() -> None:
    """The order is then that of the typical values."""
    places = rank("abc", told_apart(), {"a": 3.0, "b": 1.0, "c": 2.0})
    assert [(place.model, place.shown) for place in places] == [("b", "1 to 3"), ("c", "1 to 3"), ("a", "1 to 3")]


def test_not_told_apart_is_not_passed_on() -> None:
    """Only a beats c: b is level with both, and yet these two are not level."""
    places = {place.model: place for place in rank("abc", told_apart(("a", "c")))}
    assert {model: place.shown for model, place in places.items()} == {"a": "1 to 2", "b": "1 to 3", "c": "2 to 3"}
    assert places["a"].beats == ("c",)
    assert places["c"].beaten_by == ("a",)


def test_one_model_is_first() -> None:
    """There is nobody to be level with."""
    assert [place.shown for place in rank("a", [])] == ["1"]


def test_two_metrics_make_no_ranking() -> None:
    """First to start is not first to end."""
    found = told_apart()
    with pytest.raises(ValueError, match="one metric"):
        rank("abc", [found[0], replace(found[1], metric="e2e_ms")])

"""A ranking that admits ties: each model has the best and the worst place that the comparisons leave open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from streambench.stats.paired import Comparison


@dataclass(frozen=True, slots=True)
class Place:
    """A model's places, 1 the best: `best` to `worst`. `beats` and `beaten_by` are those it is surely apart from."""

    model: str
    best: int
    worst: int
    beats: tuple[str, ...]
    beaten_by: tuple[str, ...]

    @property
    def shown(self) -> str:
        """`2`, or `2 to 4` where the run cannot tell."""
        return str(self.best) if self.best == self.worst else f"{self.best} to {self.worst}"


def rank(
    models: Sequence[str], comparisons: Iterable[Comparison], typical: Mapping[str, float] | None = None
) -> list[Place]:
    """The places of `models` by one metric's corrected comparisons, best first.

    A model's best place is 1 + how many are surely better, its worst is last but for those that are surely worse (Al
    Mohamad, Goeman and van Zwet 2022). "Not told apart" is not transitive (A and B, B and C, yet A beats C), so models
    share no invented group: A is then 1 to 2, B 1 to 3, C 2 to 3. With Holm's correction all places hold together
    with 95 % confidence. Within equal places the order is that of `typical` (smaller first), then that of `models`.
    Raises ValueError where comparisons are of several metrics.
    """
    wins: dict[str, list[str]] = {model: [] for model in models}
    losses: dict[str, list[str]] = {model: [] for model in models}
    found = list(comparisons)
    if len({each.metric for each in found}) > 1:
        raise ValueError("a ranking is by one metric")
    for each in found:
        winner = each.winner
        if winner is not None and each.a in wins and each.b in wins:
            loser = each.b if winner == each.a else each.a
            wins[winner].append(loser)
            losses[loser].append(winner)
    places = [
        Place(model, 1 + len(losses[model]), len(models) - len(wins[model]), tuple(wins[model]), tuple(losses[model]))
        for model in models
    ]
    order = typical or {}
    return sorted(places, key=lambda place: (place.best, place.worst, order.get(place.model, 0.0)))

"""Estimates with intervals, comparisons of models and of runs, and what a run is worth: pure functions over arrays.

Nothing here reads a file or a clock, and every random draw has a seed. docs/statistics.md has each formula's source.
"""

from streambench.stats.estimates import (
    INTERVAL_NEEDED,
    NEEDED,
    STATISTICS,
    Estimate,
    Sample,
    Share,
    Statistic,
    estimate,
    estimates,
    sample,
    share,
)
from streambench.stats.groups import GROUPINGS, By, Group, group_estimates, group_names, groups_of
from streambench.stats.paired import (
    Comparison,
    Pairs,
    compare,
    compare_all,
    corrected,
    holm,
    more_requests,
    pair,
    pairs_of,
)
from streambench.stats.printing import between, digits, rounded, share_interval, shown
from streambench.stats.quality import (
    drift,
    in_flight,
    lag_too_large,
    saturation,
    too_few,
    uneven_failures,
    warming,
)
from streambench.stats.ranking import Place, rank
from streambench.stats.runs import Change, Decision, Shift, Verdict, change, corrected_changes, decide, shifts, within
from streambench.stats.signed_rank import MIN_PROMPTS, Typical, typical
from streambench.stats.throughput import Throughput, good_requests, throughput
from streambench.stats.wording import PHRASES, in_words, leader_in_words

__all__ = [
    "GROUPINGS",
    "INTERVAL_NEEDED",
    "MIN_PROMPTS",
    "NEEDED",
    "PHRASES",
    "STATISTICS",
    "By",
    "Change",
    "Comparison",
    "Decision",
    "Estimate",
    "Group",
    "Pairs",
    "Place",
    "Sample",
    "Share",
    "Shift",
    "Statistic",
    "Throughput",
    "Typical",
    "Verdict",
    "between",
    "change",
    "compare",
    "compare_all",
    "corrected",
    "corrected_changes",
    "decide",
    "digits",
    "drift",
    "estimate",
    "estimates",
    "good_requests",
    "group_estimates",
    "group_names",
    "groups_of",
    "holm",
    "in_flight",
    "in_words",
    "lag_too_large",
    "leader_in_words",
    "more_requests",
    "pair",
    "pairs_of",
    "rank",
    "rounded",
    "sample",
    "saturation",
    "share",
    "share_interval",
    "shifts",
    "shown",
    "throughput",
    "too_few",
    "typical",
    "uneven_failures",
    "warming",
    "within",
]

"""Prompts of a given length, made of plain words: equal for equal seeds, on every machine and Python version. Pure.

`expansion` makes prompts from `synthetic: {tokens: 2000, count: 5}` with this module. A token counts as four
characters. This is an estimate: the words are short and common, so most tokenizers come close, but not exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

CHARACTERS_PER_TOKEN = 4
WORDS_A_SENTENCE = 12
LEAST_TOKENS = 40
MOST_TOKENS = 2_000_000
MOST_PROMPTS = 10_000
"""For one `synthetic`. There are more pairs of words than this, so that every prompt can begin with its own pair."""

ASK = "\n\nIn one short sentence: which word of this list do you like best, and why?"

_PLAIN = """
able act add age air all also and ant any arm art ask bag ball bank bar base bath bay be bean bear bed bee
bell belt best big bird bit blue boat body bone book both bow box boy bus but buy by cake call calm can cap
car card care cat city clay clip coal coat cold cook cool corn cost cow cup cut dark day deep desk dig dish do
dog door down draw dry duck dust each ear east easy eat egg end even eye face fact fair far farm fast few fig
find fire fish fit five flat fly fog food foot for four fox free full game gate gift give glad go goat gold
good grey grow hall hand hat hay head hear help hen here hill home hook hot hour ice idea in ink iron jam job
joy jump just key kind king knee lake lamp land last late lead leaf left leg let line lip list long look lot
low made mail main make man many map mark may meal milk mind mint moon more most move mud name near neck need
nest net new next nine north not note now nut oak oar off oil old on one open or out oven own page pan park
part pass path pay pea pen pie pig pin plan play pond pot put rain ran read red rest rice rich ride ring rise
road rock roof room root rope rose row run sail salt same sand saw say sea seat see seed set she ship shoe
shop show side sing sit six skin sky slow snow so soap soft some song soon soup star stay step stone sun swim
table tail take talk tall tea tell ten tent that then thin this time tin to toe ton tool top town toy tree try
two up use very wait walk wall want warm was wash way we week well west wet what wheat when wide will wind
wing wise with wolf wood wool word work year yes yet you zoo
"""
WORDS = tuple(_PLAIN.split())
"""Do not change them: the texts of a seed, and the hash of every suite with `synthetic`, depend on them."""

_PAIRS = len(WORDS) ** 2


@dataclass(frozen=True, slots=True)
class Wanted:
    """`count` prompts of `tokens` tokens each. The first `shared` tokens are the same in all, the rest differs."""

    tokens: int
    count: int = 1
    seed: int = 0
    shared: int = 0
    ask: str = ASK


def texts(wanted: Wanted) -> tuple[str, ...]:
    """Returns `count` texts of exactly four characters per token, including the question `ask` at the end.

    A text of another length differs from the first word on: a cached shorter text must not help a longer one.
    """
    length = wanted.tokens * CHARACTERS_PER_TOKEN - len(wanted.ask)
    seed = f"{wanted.seed}:{wanted.tokens}"
    common = _words(Random(f"{seed}:shared"), (), min(wanted.shared * CHARACTERS_PER_TOKEN, length))
    start = int(Random(seed).random() * _PAIRS)
    return tuple(
        common + _words(Random(f"{seed}:{n}"), _pair(start + n), length - len(common)) + wanted.ask
        for n in range(wanted.count)
    )


def _pair(number: int) -> tuple[str, str]:
    """Returns two words; each of _PAIRS successive numbers has its own pair."""
    return WORDS[number % len(WORDS)], WORDS[number // len(WORDS) % len(WORDS)]


def _words(rng: Random, first: tuple[str, ...], length: int) -> str:
    """Returns `length` characters of words in short sentences, which begin with the words in `first`.

    It draws with `random()` only: Python guarantees the same sequence in all versions for no other method.
    """
    parts: list[str] = []
    size = 0
    while size < length:
        word = first[len(parts)] if len(parts) < len(first) else WORDS[int(rng.random() * len(WORDS))]
        parts.append(f"{word}. " if rng.random() < 1 / WORDS_A_SENTENCE else f"{word} ")
        size += len(parts[-1])
    return "".join(parts)[:length]

"""What masking hides, what it leaves readable, and that hostile text becomes one safe, bounded line."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streambench.redaction import Secrets, clean, is_secret_name, looks_secret, mask_url, strip_controls

KEY = "q7Lk-hunter2-Zx"


def test_secrets_of_the_same_values_are_equal() -> None:
    """So a config equals another with the same keys, and a copy from another process."""
    assert Secrets([KEY]) == pickle.loads(pickle.dumps(Secrets([KEY]))) != Secrets([])


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"wrong key {KEY}!", "wrong key ***!"),
        (f"path/{KEY}/v1", "path/***/v1"),
        (f"x{KEY}y", "***"),
        ("Incorrect API key provided: sk-abc***xyz. See", "Incorrect API key provided: *** See"),
        ("Incorrect API key provided: abcd****wxyz.", "Incorrect API key provided: ***."),
        ("Received API Key = sk-...1234, Key Hash", "Received API Key = ***, Key Hash"),
        ("key sk-proj-AbCd1234EfGh", "key ***"),
        ("Authorization: Bearer abc123def456", "Authorization: ***"),
        ("sent 'Bearer abc123def456'", "sent 'Bearer ***'"),
        ('{"api_key": "hahahaha"}', '{"api_key": "***"}'),
        (r"{\"api_key\": \"hahahaha\"}", r"{\"api_key\": \"***\"}"),
        ("https://user:pass@host/v1", "https://***@host/v1"),
        ("https://u:p@ss@host/v1", "https://***@host/v1"),
        ("GET /v1?api_key=AA11&page=2", "GET /v1?api_key=***&page=2"),
        ("jwt eyJhbGciOi.eyJzdWIi.c2ln", "jwt ***"),
    ],
)
def test_keys_are_masked(text: str, masked: str) -> None:
    """Known values anywhere; others by their looks, halves that a gateway masked itself included."""
    assert Secrets([KEY]).mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "Bearer authentication is required",
        "risk-adjusted, task-based-approach",
        "max_tokens: 4096 exceeds the model's limit",
        "write `api_key: ${HUB_API_KEY}` or `api_key: none`",
        "connect to https://gateway.example/v1 failed",
        "unexpected token: <",
        "2 ** 3 and **bold**",
    ],
)
def test_other_text_is_left(text: str) -> None:
    """A message that is masked for no reason helps nobody."""
    assert Secrets([KEY]).mask(text) == text


def test_the_longest_value_is_masked_first() -> None:
    """Else the longer key would leave its tail behind."""
    assert Secrets(["abcdef", "abcdefghij"]).mask("abcdefghij") == "***"


def test_short_values_are_masked_as_words_only() -> None:
    """Four or five characters inside of words, and shorter ones anywhere, are more likely chance than leak."""
    secrets = Secrets(["abcd", "x"])
    assert secrets.mask("abcd, abcde, x") == "***, abcde, x"


def test_a_value_is_masked_in_urls_and_json() -> None:
    """Echoes come percent-encoded or escaped."""
    secrets = Secrets(['p@ss/"wörd'])
    assert secrets.mask("p%40ss%2F%22w%C3%B6rd") == "***"
    assert secrets.mask(r"p@ss/\"w\u00f6rd") == "***"


def test_the_repr_holds_no_value() -> None:
    """Nor does a pickle lose what it hides."""
    secrets = Secrets([KEY])
    assert KEY not in repr(secrets)
    assert str(secrets) == "Secrets(1 values)"
    assert pickle.loads(pickle.dumps(secrets)).mask(KEY) == "***"


def test_two_sets_of_secrets_join() -> None:
    """Both sides' values are hidden."""
    assert (Secrets(["aaaaaa"]) | Secrets(["bbbbbb"])).mask("aaaaaa bbbbbb") == "*** ***"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\x1b[31mred\x1b[0m", "ared"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred", "red"),
        ("two\r\nlines\tand tab", "two  lines and tab"),
        ("\u202eevil\u2066", "evil"),
        ("nul\x00 del\x7f c1\x85", "nul del c1 "),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("half \ud800 pair", "half \ufffd pair"),
        ("Grüße, 世界 👩‍👩‍👧", "Grüße, 世界 👩‍👩‍👧"),
    ],
)
def test_hostile_text_becomes_one_plain_line(text: str, line: str) -> None:
    """Escapes, controls and direction marks go; other languages and joined emoji stay."""
    assert strip_controls(text) == line


def test_a_key_split_by_an_escape_is_still_masked() -> None:
    """Controls are removed before masking."""
    assert Secrets([KEY]).clean(f"{KEY[:5]}\x1b[0m{KEY[5:]}") == "***"


def test_a_key_at_the_cut_is_not_halved() -> None:
    """The cut comes after masking: 8 characters of text, a mask of 3, then the sign for more."""
    assert Secrets([KEY]).clean("wrong: " + KEY + " and more", limit=12) == "wrong: *** …"


def test_the_length_is_bounded() -> None:
    """500 characters unless told."""
    assert len(clean("x" * 10_000)) == 500
    assert clean("short") == "short"


@given(st.text(max_size=200), st.integers(1, 50))
def test_clean_text_is_short_and_can_be_written(text: str, limit: int) -> None:
    """Whatever comes in."""
    line = clean(text, limit)
    assert len(line) <= limit
    assert line.encode().decode() == line
    assert not {"\x1b", "\n", "\x9b", "\u202e"} & set(line)


@given(st.text("abcXYZ0189-_/+=", min_size=6, max_size=40), st.text(max_size=30), st.text(max_size=30))
def test_a_known_value_never_survives(value: str, before: str, after: str) -> None:
    """Between any two texts."""
    assert value not in Secrets([value]).mask(before + value + after).replace("***", "")


@pytest.mark.parametrize("text", ["\x90" * 200_000, "bearer " * 30_000, "a" * 200_000, "sk-" * 60_000, "x://" * 50_000])
def test_long_texts_cost_linear_time(text: str) -> None:
    """A quadratic pattern would run into the test's time limit."""
    assert len(clean(text)) <= 500


def test_secret_names_are_known() -> None:
    """By what headers are called in practice."""
    secret = [
        "Authorization",
        "x-api-key",
        "apikey",
        "X-Auth-Token",
        "cookie",
        "client_secret",
        "Proxy-Authorization",
        "key",
    ]
    plain = ["x-team", "max_tokens", "user-agent", "x-monkey", "author", "accept"]
    assert [name for name in secret if not is_secret_name(name)] == []
    assert [name for name in plain if is_secret_name(name)] == []


def test_urls_lose_user_and_query() -> None:
    """Host and path stay, so that a reader knows which gateway it was."""
    assert mask_url("https://u:p@host:1/v1?key=abc&x=1") == "https://***@host:1/v1?***"
    assert mask_url("https://host/v1") == "https://host/v1"


def test_what_looks_secret_is_told() -> None:
    """Used to refuse literals."""
    assert looks_secret("sk-abcdef123456")
    assert not looks_secret("search")

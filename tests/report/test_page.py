"""The page says what the records say, of any run, and nothing foreign in it acts."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from dataclasses import replace
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sentences import numbers_in

from report.figures.runs import HOSTILE, answer, failed, header_of, rich
from streambench.analysis.leaderboard import COLUMNS, leaderboard_of
from streambench.analysis.measured import RunFacts, measured_requests
from streambench.analysis.run import Run
from streambench.analysis.run_quality import quality_warnings
from streambench.analysis.stats.estimates import share
from streambench.analysis.stats.wording import in_words
from streambench.analysis.summary import summarise
from streambench.errors import DiskError, InputError
from streambench.records.schema import Failure
from streambench.report.figures.catalogue import FIGURES
from streambench.report.headline import headline
from streambench.report.markdown import render_markdown
from streambench.report.page import render_page, write_page
from streambench.report.request_explorer import MOST, explorer, to_script
from streambench.report.terminal import STATUS
from streambench.testing import make_end, make_header, run_of

from .pages import Element, alerts, data_of, read, verdict

SECTIONS = ("verdict", "leaderboard", "comparison", "groups", "figures", "health", "requests", "usage", "method")


@pytest.fixture(scope="module")
def run() -> Run:
    """Three models, 14 prompts, some failures."""
    return rich(prompts=14)


@pytest.fixture(scope="module")
def html(run: Run) -> str:
    return render_page(run)


@pytest.fixture(scope="module")
def page(html: str) -> Element:
    return read(html)


# --- structure


def test_the_page_has_its_parts_in_order(page: Element) -> None:
    """Each section has a heading of its own; headings go down a step at a time; the landmarks are there."""
    assert [section.attributes["id"] for section in page.all("section")] == list(SECTIONS)
    levels = [int(each.tag[1]) for each in page.all() if re.fullmatch("h[1-6]", each.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.one("html").attributes["lang"] == "en"
    assert [len(page.all(tag)) for tag in ("header", "main", "footer", "nav")] == [1, 1, 1, 1]


def test_ids_are_unique_and_what_refers_to_them_finds_them(page: Element) -> None:
    """Twelve figures in one page share no id."""
    ids = [each.attributes["id"] for each in page.all() if "id" in each.attributes]
    assert len(ids) == len(set(ids))
    named = {one for each in page.all() for one in each.attributes.get("aria-labelledby", "").split()}
    links = {each.attributes["href"][1:] for each in page.all("a") if each.attributes["href"].startswith("#")}
    assert named | links <= set(ids)


def test_nothing_is_fetched(html: str, page: Element) -> None:
    """No element names another file, and the policy forbids what a browser might still try."""
    sources = [
        each.attributes[name] for each in page.all() for name in ("src", "srcset", "action") if name in each.attributes
    ]
    assert sources == []
    hrefs = [each.attributes[name] for each in page.all() for name in ("href", "xlink:href") if name in each.attributes]
    assert [href for href in hrefs if not href.startswith(("#", "data:,", "data:image/png;"))] == []
    assert not re.search(r"url\((?!#)", html)
    assert "@import" not in html


def test_the_policy_lets_only_our_script_run(page: Element) -> None:
    """By the hash of what is really there."""
    (meta,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    policy = dict(part.strip().split(" ", 1) for part in meta.attributes["content"].split(";"))
    (script,) = [each for each in page.all("script") if "type" not in each.attributes]
    digest = base64.b64encode(hashlib.sha256(script.raw.encode()).digest()).decode()
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == f"'sha256-{digest}'"


def test_tables_have_heads(page: Element) -> None:
    """Every table has column heads with a scope, and every row a head of its own."""
    for table in page.all("table"):
        heads = table.one("thead").all("th")
        assert heads
        assert {head.attributes["scope"] for head in heads} == {"col"}
        assert all(row.all("th", scope="row") for row in table.one("tbody").all("tr"))


def test_each_figure_is_there_or_said_to_be_left_out(page: Element) -> None:
    """Each drawn one has a name and a description, and a sentence beside it."""
    figures = page.all("figure")
    for figure in figures:
        svg = figure.one("svg", role="img")
        assert svg.all("desc")[0].text
        assert figure.one("figcaption").text
    left = page.one("section", id="figures").all("li")
    assert len(figures) + len(left) == len(FIGURES)


# --- numbers


def test_the_leaderboard_has_the_summarys_numbers(run: Run, page: Element) -> None:
    """A cell's value is the very number of summary.json, wherever both have one."""
    summary = summarise(run.header, run.records, run.end)
    rows = {row[1].one("bdi").text: row for row in page.one("table", id="board").rows()}
    compared = 0
    for model in summary.models:
        cells = rows[model.model][3:]
        for column, cell in zip(leaderboard_of(run).columns, cells, strict=False):
            if column.metric in model.metrics:
                value = getattr(model.metrics[column.metric], column.statistic)
                shown = cell.attributes.get("data-value")
                assert (shown is None) == (value is None), (model.model, column.key)
                if shown is not None:
                    assert math.isclose(float(shown), value, rel_tol=1e-9), (model.model, column.key)
                compared += 1
        assert rows[model.model][2].text.startswith(f"{model.ok}/{model.requests} ")
    assert compared == 3 * 9


def test_a_number_that_the_sample_cannot_carry_is_a_dash_with_its_need(page: Element) -> None:
    """42 prompts times repeats are no hundred answers, so there is no p99."""
    row = page.one("table", id="board").rows()[0]
    p99 = row[3 + [column.key for column in COLUMNS].index("ttft_ms:p99")]
    assert re.fullmatch(r"- needs n=100, has n=\d+", p99.text)
    assert "data-value" not in p99.attributes


def test_the_verdict_is_that_of_the_comparison(run: Run, page: Element) -> None:
    """TTFT is planted (80, 105, 130 ms): alpha is first for certain, and the sentence is that of `stats.wording`."""
    found = leaderboard_of(run)
    pair = found.between("ttft_ms", "alpha", "beta")
    assert pair is not None
    assert pair.winner == "alpha"
    assert next(place.shown for place in found.places("ttft_ms")) == "1"
    assert verdict(page)["First token"].startswith(in_words(pair, None, found.lag_ms))


def test_the_matrix_is_its_own_mirror(run: Run) -> None:
    """What a is against b, b is against a with the sign turned."""
    found = leaderboard_of(run)
    from streambench.report.leaderboard_tables import matrices

    for matrix in matrices(found):
        cells = {
            (one, other): cell for one, row in matrix["rows"] for other, cell in zip(matrix["names"], row, strict=True)
        }
        for (one, other), cell in cells.items():
            if one != other:
                turned = cells[other, one]
                assert cell["text"].lstrip("+-") == turned["text"].lstrip("+-")
                assert {cell["verdict"], turned["verdict"]} in ({"better", "worse"}, {"unsure"})


def test_failures_are_counted_and_their_share_has_an_interval(run: Run, page: Element) -> None:
    """k of n as in the summary, with Wilson's interval; the worst model first."""
    worst = max(leaderboard_of(run).rows, key=lambda row: row.failed / row.asked)
    expected = share(worst.failed, worst.asked)
    assert expected.value is not None
    assert expected.low is not None
    assert expected.high is not None
    failures = verdict(page)["Failures"]
    assert failures.startswith(f"{worst.name} ")
    percents = [100 * end for end in (expected.value, expected.low, expected.high)]
    assert numbers_in(failures)[:5] == pytest.approx([worst.failed, worst.asked, *percents], abs=0.5)


def test_simulated_models_are_called_so(page: Element) -> None:
    """Before any number."""
    (alert,) = alerts(page)
    assert alert.startswith("Simulated")
    assert numbers_in(alert) == [1, 3]


def test_the_same_run_gives_the_same_bytes(html: str) -> None:
    """No clock, no address of memory, no order of a set."""
    assert render_page(rich(prompts=14)) == html


def test_markdown_has_the_pages_numbers(run: Run, page: Element) -> None:
    """Sentence by sentence and cell by cell, but for Markdown's backslashes and entities."""
    text = unescape(render_markdown(run).replace("\\", ""))
    for answer_ in verdict(page).values():
        assert answer_ in text
    for row in page.one("table", id="board").rows():
        for cell in row[3:]:
            number = str(cell.children[0]).strip()
            assert number in text


def test_equal_models_are_not_ranked() -> None:
    """Two models with the same latencies on twenty prompts: a tie, and what would settle it."""
    both = [
        answer(2 * n + place, model, f"p{n}", block=n, ttft=100 + n + (n + place) % 2, gaps=[20, 20, 20])
        for n in range(20)
        for place, model in enumerate(("alpha", "beta"))
    ]
    found = run_of(both, header_of(("alpha", "beta"), {}))
    board = leaderboard_of(found)
    pair = board.between("ttft_ms", "alpha", "beta")
    assert pair is not None
    assert pair.winner is None
    assert [place.shown for place in board.places("ttft_ms")] == ["1 to 2", "1 to 2"]
    answers = {line.question: line.answer for line in headline(board, found.header)}
    assert in_words(pair, None, board.lag_ms) in answers["First token"]


# --- the explorer


def test_the_explorer_has_every_request_of_a_small_run(run: Run, page: Element) -> None:
    """A row each, with the lane's chunks summing to the last arrival."""
    data = data_of(page)
    measured = {record.ticket.seq: record for record in run.records if record.ticket.phase == "measure"}
    rows = [dict(zip(data["fields"], row, strict=True)) for row in data["rows"]]
    assert [row["seq"] for row in rows] == sorted(measured)
    for row in rows:
        line = measured[row["seq"]].timeline
        assert row["kinds"] == line.kind
        assert row["chunks"] == len(line.kind)
        assert sum(row["deltas"]) == (round(line.offset_ns[-1] / 100_000) if line.kind else 0)
        assert data["models"][row["model"]] == measured[row["seq"]].ticket.model


def test_a_large_run_is_sampled_with_its_worst() -> None:
    """Of 3,000 requests the slowest and the failed ones are there, and the page says how many of how many."""
    records = [answer(n, ("a", "b")[n % 2], f"p{n // 2}", ttft=100, gaps=[10]) for n in range(3_000)]
    records[1_234] = answer(1_234, "a", "p617", ttft=9_000, gaps=[10])
    records[2_001] = failed(records[2_001])
    found = explorer(measured_requests(records, RunFacts(make_header("a", "b"))))
    assert len(found.picked) == MOST
    assert {1_234, 2_001} <= {one.record.ticket.seq for one in found.picked}
    assert numbers_in(found.told)[:2] == [1_000, 3_000]
    assert [one.record.ticket.seq for one in found.worst[:2]] == [2_001, 1_234]


def test_json_in_the_page_cannot_end_its_script() -> None:
    """`</script>`, comments and line separators are spelled out."""
    text = to_script({"x": "</script><!--\u2028&\ud800"})
    assert not re.search(r"[<>&\u2028]", text)
    assert text.isascii()


def test_a_trace_link_needs_a_web_address() -> None:
    """A pattern without a place for the id, or that runs a script, is refused."""
    found = run_of([answer(0, "a", "p")], header_of(("a",), {}))
    for pattern in ("javascript:alert('{trace_id}')", "https://traces.example/", "//x/{trace_id}"):
        with pytest.raises(InputError, match="--trace-url"):
            render_page(found, trace_url=pattern)
    assert data_of(read(render_page(found, trace_url="https://t.example/{trace_id}")))["trace_url"]


def test_the_configs_pattern_stands_without_an_option() -> None:
    """As the header has it; an option wins, and one that was edited into nonsense makes no links."""
    stored = {"telemetry": {"trace_url": "https://config.example/{trace_id}"}}
    header = header_of(("a",), {})
    found = run_of([answer(0, "a", "p")], replace(header, config={**header.config, **stored}))
    assert data_of(read(render_page(found)))["trace_url"] == "https://config.example/{trace_id}"
    option = "https://option.example/{trace_id}"
    assert data_of(read(render_page(found, trace_url=option)))["trace_url"] == option
    edited = replace(found.header, config={"telemetry": {"trace_url": "javascript:x{trace_id}"}})
    assert data_of(read(render_page(replace(found, header=edited))))["trace_url"] is None


# --- hostile text


def hostile() -> Run:
    found = rich(HOSTILE, prompts=3, repeats=1)
    records = [
        replace(record, failure=Failure("http_error", HOSTILE[n % len(HOSTILE)] or "x", code=HOSTILE[n % 7]))
        if record.failure
        else record
        for n, record in enumerate(found.records)
    ]
    records = [
        replace(record, ticket=replace(record.ticket, prompt_id=HOSTILE[record.ticket.block % 5])) for record in records
    ]
    changed: Any = {"name": HOSTILE[0] + HOSTILE[2], "run_id": HOSTILE[2], "versions": {HOSTILE[0]: HOSTILE[2]}}
    config = {**found.header.config, "suite": HOSTILE[2], "note": "</pre>" + HOSTILE[0]}
    return replace(
        found, records=tuple(records), header=replace(found.header, config=config, **changed), warnings=HOSTILE
    )


def test_hostile_text_is_inert_and_bounded() -> None:
    """No element, attribute or control of it is in the page, and no long name stands whole."""
    html = render_page(hostile())
    page = read(html)
    assert len(page.all("script")) == 2
    assert not [name for each in page.all() for name in each.attributes if name.startswith("on")]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u2028\u202a-\u202e\u2066\u2067\ufffe\ud800-\udfff]", html)
    assert html.encode("utf-8")
    text = page.one("main").text
    assert "x" * 300 not in text.replace(page.one("pre").text, "")  # the config is there in whole
    assert "<script>alert(1)</script>" in text


def test_hostile_names_stay_apart() -> None:
    """Two names that are cut to the same are numbered."""
    names = [row.name for row in leaderboard_of(hostile()).rows]
    assert len(names) == len(set(names)) == len(HOSTILE)


def test_hostile_markdown_is_inert() -> None:
    """No tag, no link, no cell that a name could open."""
    text = render_markdown(hostile())
    assert not re.search(r"(?<!\\)<", text)
    tables = [part.split("\n") for part in text.split("\n\n") if part.startswith("| ")]
    assert len(tables) == 2
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


def test_the_page_and_the_markdown_tell_the_doubts_of_check(run: Run, page: Element) -> None:
    """Each of them, in the same words."""
    expected = [doubt.why for doubt in quality_warnings(run)]
    assert expected
    listed = page.one("ul", **{"class": "doubts"}).all("li")
    assert [each.text.partition(" : ")[2] for each in listed] == expected
    assert render_markdown(run).count("\n- ") >= len(expected)


def test_goodput_is_shown_where_the_config_has_an_objective() -> None:
    """Half of ten answers start within 150 ms: a column, which the other run has not."""
    records = [answer(seq, "alpha", f"p{seq}", ttft=100 if seq % 2 else 200, gaps=[10, 10]) for seq in range(10)]
    header = make_header("alpha")
    stated = replace(header, config={**header.config, "assertions": {"goodput": "> 1 with ttft_ms < 150"}})
    assert "good" not in usage_cells(run_of(records, header))
    found = run_of(records, stated)
    assert usage_cells(found)["good"].startswith("5/10")
    assert numbers_in(read(render_page(found)).one("section", id="usage").all("p")[0].text) == [150]
    (head,) = [cell for cell in re.split(r" *\| *", render_markdown(found)) if cell.startswith("good (")]
    assert numbers_in(head) == [150]


def usage_cells(found: Run) -> dict[str, str]:
    """Head to cell, of the first model."""
    table = read(render_page(found)).one("section", id="usage").one("table")
    return {head.text: cell.text for head, cell in zip(table.one("thead").all("th"), table.rows()[0], strict=True)}


# --- awkward runs

ONE = answer(0, "alpha", "p", gaps=[10, 10])


def test_an_empty_run() -> None:
    """A true page: nothing was measured. In words."""
    page = read(render_page(run_of([], header_of(("alpha",), {}))))
    assert verdict(page) == {"Nothing measured": "No request was measured, so there is no result for any model."}
    assert not page.one("section", id="requests").all("table")
    assert not page.all("figure")


def test_a_run_without_models() -> None:
    """One cell says so, across the whole table."""
    board = read(render_page(run_of([], make_header()))).one("table", id="board")
    ((cell,),) = board.rows()
    assert cell.text
    assert int(cell.attributes["colspan"]) >= len(board.one("thead").all("th"))


def test_one_request() -> None:
    """Its one number, no interval, no comparison."""
    page = read(render_page(run_of([ONE], header_of(("alpha",), {}))))
    assert numbers_in(verdict(page)["First token"]) == [100, 1]
    assert not page.one("section", id="comparison").all("table")


def test_all_failed() -> None:
    """Who broke, and no latency at all."""
    records = [failed(answer(n, ("a", "b")[n % 2], f"p{n}")) for n in range(10)]
    found = verdict(read(render_page(run_of(records, header_of(("a", "b"), {})))))
    assert list(found) == ["First token", "Failures"]
    assert numbers_in(found["First token"]) == []
    assert numbers_in(found["Failures"]) == [5, 5, 100, 57, 100] * 2


def test_missing_usage() -> None:
    """Tokens are unknown, not zero: the sentence on speed has no number but the limit of a pause."""
    records = [replace(answer(n, "a", f"p{n}", gaps=[10] * 9), usage=None) for n in range(3)]
    page = read(render_page(run_of(records, header_of(("a",), {}))))
    assert numbers_in(verdict(page)["Output speed"]) == [500]
    row = page.one("section", id="usage").one("table").rows()[0]
    assert [cell.text for cell in row[1:6]] == ["-", "-", "-", "-", "3 of 3"]


def test_a_model_that_was_never_asked() -> None:
    """It is in the table, with dashes."""
    page = read(render_page(run_of([ONE], header_of(("alpha", "ghost"), {}))))
    ghost = page.one("table", id="board").rows()[1]
    assert (ghost[0].text, ghost[2].text) == ("-", "0/0 none measured")
    assert "ghost" in verdict(page)["First token"]


def test_a_run_that_still_goes_on_says_so() -> None:
    """Without an end it is incomplete, and a stopped one says why."""
    going = replace(run_of([ONE], header_of(("alpha",), {}, requests_planned=9)), end=None)
    (alert,) = alerts(read(render_page(going)))
    assert STATUS["unfinished"] in alert
    assert numbers_in(alert) == [1, 9]
    stopped = replace(going, end=make_end(status="budget", reason="the budget of 1 request is spent"))
    assert "the budget of 1 request is spent" in alerts(read(render_page(stopped)))[0]


def test_a_torn_journal_is_told() -> None:
    """What `load` skipped stands above the numbers."""
    torn = replace(run_of([ONE], header_of(("alpha",), {})), warnings=("records.jsonl line 2: skipped",))
    (alert,) = alerts(read(render_page(torn)))
    assert "records.jsonl line 2: skipped" in alert


def test_a_page_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    """And leaves nothing behind."""
    with pytest.raises(DiskError, match="cannot write"):
        write_page(run_of([ONE], header_of(("alpha",), {})), tmp_path / "none" / "report.html")


def test_a_large_page_stays_small() -> None:
    """Ten models with 1,000 requests of 100 chunks each: under 5 MB, with the explorer's sample."""
    records = [
        answer(
            n,
            f"model-{n % 10}",
            f"p{n // 10 % 50}",
            block=n // 10,
            repeat=n // 500,
            ttft=100 + n % 37,
            gaps=[10 + n % 7] * 100,
        )
        for n in range(10_000)
    ]
    html = render_page(run_of(records, header_of([f"model-{n}" for n in range(10)], {})))
    assert len(html.encode()) < 5_000_000
    assert len(data_of(read(html))["rows"]) == MOST

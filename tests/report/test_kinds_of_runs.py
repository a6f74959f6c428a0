"""What a page says of runs of one kind: whole answers beside streams, tools, JSON, thoughts, many models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sentences import numbers_in

from report.figures.runs import answer, header_of
from streambench.analysis.insights.insight import Insight
from streambench.analysis.leaderboard import leaderboard_of
from streambench.analysis.run import Run
from streambench.analysis.run_quality import KINDS
from streambench.records.schema import AttemptRecord, JsonAnswer, OutputRequest, ToolCall
from streambench.report.headline import gathered, headline
from streambench.report.markdown import render_markdown
from streambench.report.page import render_page
from streambench.testing import make_record, run_of

from .pages import read


def of(*models: str, whole: Sequence[str] = ()) -> Run:
    """Twelve prompts; those of `whole` give one body, sooner than any stream's first word."""
    records = []
    for n in range(12):
        for place, model in enumerate(models):
            seq = n * len(models) + place
            ttft = 20 + n if model in whole else 100 + 50 * place + n
            record = answer(seq, model, f"p{n}", block=n, ttft=ttft, gaps=[] if model in whole else [10, 10, 10])
            records.append(replace(record, streamed=model not in whole))
    return run_of(records, header_of(models, {}, price=False))


def answers(run: Run) -> dict[str, str]:
    """Each question of the verdict with its answer."""
    return {line.question: line.answer for line in headline(leaderboard_of(run), run.header)}


def test_whole_answers_are_not_ranked_with_streams_by_their_first_word() -> None:
    """The whole one's text is there first, but a stream's first word is another thing; ends are alike. It is named
    once, as not ranked.
    """
    run = of("alpha", "beta", "solid", whole=["solid"])
    board, verdict = leaderboard_of(run), answers(run)
    assert [verdict[question].count("solid") for question in ("First token", "Output speed")] == [1, 1]
    assert [place.model for place in board.places("ttft_ms")] == ["alpha", "beta"]
    assert {place.model for place in board.places("output_tok_s")} == {"alpha", "beta"}
    assert [place.model for place in board.places("e2e_ms")] == ["solid", "alpha", "beta"]
    assert all("solid" not in (pair.a, pair.b) for pair in board.comparisons["ttft_ms"])
    row = read(render_page(run)).one("table", id="board").rows()[-1]
    assert (row[0].text, row[1].one("bdi").text) == ("-", "solid")


def test_a_run_of_whole_answers_only_says_so_and_claims_no_pauses() -> None:
    """In words. Nobody could have seen a pause, so there is no number of them."""
    found = answers(of("alpha", "beta", whole=["alpha", "beta"]))
    assert found["First token"].endswith(" No answer was streamed, so the first token arrived with the last.")
    assert numbers_in(found["Output speed"]) == []


def heads(run: Run) -> list[str]:
    return [head.text for head in read(render_page(run)).one("table", id="board").one("thead").all("th")]


def test_columns_stand_only_where_the_run_asks_for_them() -> None:
    """A plain run has neither TTFA nor tools nor JSON nor money."""
    plain = heads(of("alpha"))
    assert not {"TTFA p50, ms", "tool called", "JSON valid", "USD per 1,000 tokens out"} & set(plain)
    asked = run_of([calls(0), forms(1), thinks(2), calls(3, called=False)], header_of(["alpha"], {}))
    found = heads(asked)
    assert {"TTFA p50, ms", "tool called", "JSON valid", "USD per 1,000 tokens out"} <= set(found)
    cells = read(render_page(asked)).one("table", id="board").rows()[0]
    told = dict(zip(found, [cell.text for cell in cells], strict=True))
    assert told["tool called"].startswith("1/2")
    assert told["JSON valid"].startswith("1/1")
    first = render_markdown(asked).split("| place |")[1].splitlines()[0]
    assert "tool called" in first


def calls(seq: int, *, called: bool = True) -> AttemptRecord:
    made = (ToolCall("look", arguments_valid=True, named_ns=10, complete_ns=20),) if called else ()
    return make_record(seq=seq, model="alpha", tool_calls=made, asked=OutputRequest(tools=1, tool_choice="auto"))


def forms(seq: int) -> AttemptRecord:
    good = JsonAnswer(valid=True, why=None, complete_ns=9)
    return make_record(seq=seq, model="alpha", asked=OutputRequest(json="json_object"), json_answer=good)


def thinks(seq: int) -> AttemptRecord:
    return make_record(seq=seq, model="alpha", kinds="rttcc", at_ms=(10, 20, 30, 40, 50))


def test_of_many_points_a_view_that_cannot_fold_shows_a_few_and_says_so() -> None:
    """Six stand as they are; of seven five, and that there are two more."""
    assert Insight("q", points=tuple("abcdef")).few == tuple("abcdef")
    *shown, more = Insight("q", points=tuple("abcdefg")).few
    assert shown == list("abcde")
    assert numbers_in(more) == [2]


def test_many_questions_on_one_model_each_become_one() -> None:
    """Up to four stand by themselves."""
    each = [Insight(f"Gateways, m{n}: a against b", "Later.", topic="Gateways") for n in range(5)]
    assert list(gathered(each[:4])) == each[:4]
    (one,) = gathered(each)
    assert one.question == "Gateways"
    assert one.points[4] == "m4: a against b: Later."


def test_ten_models_with_one_doubt_do_not_bury_the_others() -> None:
    """Each of ten has too few prompts for p95: four are named, six counted."""
    page = read(render_page(of(*(f"m{n}" for n in range(10)))))
    told = [line.text for line in page.one("ul", **{"class": "doubts"}).all("li") if KINDS["too_few"] in line.text]
    assert len(told) == 5
    assert [numbers_in(line)[-1] for line in told] == [12, 12, 12, 12, 6]  # it takes 20, there are 12

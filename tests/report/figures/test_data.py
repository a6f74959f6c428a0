"""What is drawn is what the frames hold: read back from the lines and bars."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.container import BarContainer
from matplotlib.image import AxesImage
from sentences import numbers_in

from report.figures.drawing import drawn, every_drawn, lines, material, outcome, run, x_of, y_of
from report.figures.runs import answer, failed, header_of, rich
from streambench.analysis.frames import chunks_frame
from streambench.records.schema import Resumption
from streambench.report.figures import catalogue, style
from streambench.report.figures.data import FigureData
from streambench.report.figures.figure import DrawnFigure
from streambench.report.figures.pace import MOMENTS
from streambench.testing import MS, make_record, run_of

MODELS = ("alpha", "beta", "gamma")


def ok(model: str, name: str = "rich") -> object:
    """The model's measured `ok` requests, straight from the run's frame."""
    rows = run(name).requests
    return rows[(rows["model"] == model) & (rows["outcome"] == "ok") & ~rows["warmup"].astype(bool)]


def bars_of(figure: DrawnFigure) -> list[BarContainer]:
    """The bars of its first axes."""
    return [one for one in figure.figure.axes[0].containers if isinstance(one, BarContainer)]


@pytest.mark.parametrize("model", MODELS)
def test_ecdf_is_of_the_ok_requests(model: str) -> None:
    """Its steps are the sorted TTFTs, each 1/n high; failed and warm-up requests are not in it."""
    curve, mark = lines(drawn("rich", "ttft-ecdf"), model)[0], drawn("rich", "ttft-ecdf").figure.axes[0].lines
    values = np.sort(ok(model)["ttft_ms"].to_numpy(dtype=float))  # type: ignore[index]
    np.testing.assert_allclose(x_of(curve)[1:], values)
    np.testing.assert_allclose(y_of(curve), np.arange(len(values) + 1) / len(values))
    assert np.median(values) in [x_of(line)[0] for line in mark]


def test_a_long_ecdf_keeps_its_ends() -> None:
    """Of 2,000 values 500 are drawn, the least and the largest among them, at their true ranks."""
    rows = [answer(n, "alpha", "p", block=n, ttft=20 + n) for n in range(2_000)]
    found = catalogue.FIGURES["ttft-ecdf"](run_of(rows, header_of(["alpha"], {"p": 4})))
    assert isinstance(found, DrawnFigure)
    curve = lines(found, "alpha")[0]
    assert (len(x_of(curve)), x_of(curve)[0], x_of(curve)[-1]) == (501, 20, 2019)
    np.testing.assert_allclose(y_of(curve)[1:], (x_of(curve)[1:] - 19) / 2_000)


@pytest.mark.parametrize(("axes", "column"), [(0, "ttft_ms"), (1, "e2e_ms")])
def test_dots_by_prompt_are_medians_over_repeats(axes: int, column: str) -> None:
    """A dot for each prompt that has an ok answer."""
    for model in MODELS:
        (line,) = lines(drawn("rich", "latency-by-prompt"), model, axes)
        middles = ok(model).groupby("prompt_id", observed=True)[column].median()  # type: ignore[attr-defined]
        np.testing.assert_allclose(np.sort(x_of(line)), np.sort(middles.to_numpy(dtype=float)))


def test_of_many_prompts_the_furthest_apart_are_shown() -> None:
    """24 of 30: where the two models' TTFTs differ most."""
    rows = []
    for n in range(30):
        rows += [
            answer(2 * n, "alpha", f"p{n}", block=n, ttft=100),
            answer(2 * n + 1, "beta", f"p{n}", block=n, ttft=110 + n),
        ]
    found = catalogue.FIGURES["latency-by-prompt"](run_of(rows, header_of(["alpha", "beta"], {})))
    assert isinstance(found, DrawnFigure)
    (line,) = lines(found, "beta")
    assert sorted(x_of(line)) == [110 + n for n in range(6, 30)]


def test_pace_counts_what_had_come() -> None:
    """Two requests of one model: at a moment the median of what both had, in tokens of the usage; all at the end."""
    rows = [answer(n, "alpha", "p", block=n, ttft=100, gaps=(100, 100)) for n in range(2)]
    found = catalogue.FIGURES["pace"](run_of(rows, header_of(["alpha"], {"p": 4})))
    assert isinstance(found, DrawnFigure)
    curve = lines(found, "alpha")[0]
    moments, had = x_of(curve), y_of(curve)
    assert (len(moments), moments[0], moments[-1]) == (MOMENTS, 0, 300)
    np.testing.assert_allclose(had, (moments >= 100).astype(float) + (moments >= 200) + (moments >= 300))
    (reading,) = lines(found, "reading")
    assert y_of(reading)[-1] / x_of(reading)[-1] * 1000 == pytest.approx(250 / 60 * 4 / 3)  # tokens a second


def test_pace_turns_to_characters_where_usage_is_unknown() -> None:
    """Four characters a chunk; the sentence, the axis and the note say so."""
    found = drawn("no_usage", "pace")
    assert found.figure.axes[0].get_ylabel() == "characters"
    assert "characters/s" in found.sentence
    assert max(y_of(lines(found, "alpha")[0])) % 2 == 0
    assert "characters" in found.figure.texts[1].get_text()


def test_gaps_and_stalls_are_the_observed_ones() -> None:
    """The bar stands at the median of the model's known gaps; a cross at the longest gap of each stalled request."""
    figure = drawn("rich", "chunk-gaps").figure.axes[0]
    medians = [x_of(line)[0] for line in figure.lines if line.get_linewidth() == 1.4]
    crosses = np.sort(np.concatenate([x_of(line) for line in figure.lines if line.get_marker() == "x"]))
    fine = {
        record.ticket.seq for record in run("rich").records if record.ticket.phase == "measure" and not record.failure
    }
    for model, drawn_at in zip(MODELS, medians, strict=True):
        rows = chunks_frame(run("rich").records, run("rich").header, model)
        rows = rows[rows["seq"].isin(fine) & ~rows["warmup"].astype(bool)]
        assert drawn_at == pytest.approx(rows["gap_ms"].median())
    stalled = run("rich").requests
    stalled = stalled[(stalled["outcome"] == "ok") & stalled["findings"].str.contains("stalled")]
    np.testing.assert_allclose(crosses, np.sort(stalled["longest_gap_ms"].to_numpy(dtype=float)))


def test_the_heat_map_has_no_cell_for_an_unknown_gap() -> None:
    """Medians by position; positions that a quarter of the answers do not reach are blank, not zero."""
    (image,) = [one for one in drawn("rich", "gap-heatmap").figure.axes[0].images if isinstance(one, AxesImage)]
    cells = image.get_array()
    assert cells is not None
    rows = material("rich").chunks("alpha")
    lengths = np.bincount(rows.request)
    for column in range(cells.shape[1]):
        reached = (lengths > column + 1).mean() >= 0.25
        assert bool(np.ma.getmaskarray(cells)[0, column]) is not bool(reached)
        if reached:
            assert cells[0, column] == pytest.approx(np.median(rows.gap_ms[rows.position == column + 1]))


def test_outcome_bars_are_shares_of_all_measured_requests() -> None:
    """Widths add up to one, and each is its count over all."""
    rows = run("ten").requests
    rows = rows[~rows["warmup"].astype(bool)]
    for model, part in rows.groupby("model", observed=True):
        shares = part["outcome"].value_counts(normalize=True)
        widths = {
            str(bars.get_label()).removeprefix(f"{model} "): bars.patches[0].get_width()
            for bars in bars_of(drawn("ten", "outcomes"))
            if str(bars.get_label()).startswith(f"{model} ")
        }
        assert widths == pytest.approx({name: share for name, share in shares.items() if share})


def test_finding_bars_are_shares_too() -> None:
    """The stalled requests of each model, over its measured ones; a full cell is 0.9 wide."""
    rows = run("rich").requests
    rows = rows[~rows["warmup"].astype(bool)]
    for one in bars_of(drawn("rich", "findings")):
        mine = rows[rows["model"] == one.get_label()]
        counted = mine["findings"].fillna("").str.split(",").explode()
        shares = counted[counted != ""].value_counts() / len(mine)
        assert sorted(patch.get_width() / 0.9 for patch in one.patches) == pytest.approx(sorted(shares))


def test_the_course_has_each_ok_request_and_each_failure() -> None:
    """Dots are the ok requests at their start; hollow marks are the others, and no latency is drawn of them."""
    found = drawn("rich", "latency-over-time")
    rows = run("rich").requests
    rows = rows[~rows["warmup"].astype(bool)]
    first = rows["start_at_ns"].min()
    for model in MODELS:
        dots = lines(found, model)[0]
        np.testing.assert_allclose(
            np.sort(x_of(dots)),
            (ok(model)["start_at_ns"].sort_values() - first).to_numpy(dtype=float) / 1e9,  # type: ignore[index]
        )
        np.testing.assert_allclose(np.sort(y_of(dots)), np.sort(ok(model)["ttft_ms"].to_numpy(dtype=float)))  # type: ignore[index]
    failures = found.figure.axes[1].lines
    assert sum(len(x_of(line)) for line in failures) == int((rows["outcome"] != "ok").sum())


def test_a_resumed_run_has_no_hole() -> None:
    """The hour between its parts is no time of the run; a line marks the seam."""
    found = drawn("resumed", "latency-over-time")
    right = max(x_of(line).max() for model in MODELS for line in lines(found, model))
    assert right < 10  # 54 requests, 50 ms apart
    assert "the next part, or the next run, begins here" in found.figure.texts[1].get_text().replace("\n", " ")


def test_rate_limits_have_a_lane_of_their_own() -> None:
    """429 is told from other errors."""
    rows = [
        answer(0, "alpha", "p"),
        failed(answer(1, "alpha", "p"), "http_error", 429),
        failed(answer(2, "alpha", "p")),
    ]
    found = catalogue.FIGURES["latency-over-time"](run_of(rows, header_of(["alpha"], {"p": 4})))
    assert isinstance(found, DrawnFigure)
    assert [tick.get_text() for tick in found.figure.axes[1].get_yticklabels()] == [
        "http_error, 1",
        "rate limit (429), 1",
    ]
    assert numbers_in(found.sentence)[-3:] == [2, 3, 1]


def test_dots_by_length_stand_at_the_prompts_characters() -> None:
    """x is the catalogue's count, y the median TTFT."""
    catalogue = run("rich").header.suite["catalogue"]
    dots = lines(drawn("rich", "ttft-by-prompt-length"), "alpha")[0]
    middles = ok("alpha").groupby("prompt_id", observed=True)["ttft_ms"].median()  # type: ignore[attr-defined]
    wanted = sorted((catalogue[str(prompt)]["chars"], ttft) for prompt, ttft in middles.items())
    np.testing.assert_allclose(sorted(zip(x_of(dots), y_of(dots), strict=True)), wanted)


def test_cost_is_tokens_times_price() -> None:
    """alpha: 20 tokens in at 0.5 USD and 3 out at 2 USD a million = 0.000016 USD, so 0.016 for 1,000."""
    (line,) = lines(drawn("one_request", "cost-speed"), "alpha")
    assert (x_of(line)[0], y_of(line)[0]) == (pytest.approx(0.016), pytest.approx(50))


def test_a_stated_cost_is_hollow_and_said() -> None:
    """Without a price the gateway's own word counts, and shows as such."""
    from dataclasses import replace

    from streambench.records.schema import Usage

    told = Usage(input=20, output=3, total=23, cost_usd=0.002, source="gateway")
    rows = [replace(answer(0, "alpha", "p", gaps=(20, 20)), usage=told)]
    found = catalogue.FIGURES["cost-speed"](run_of(rows, header_of(["alpha"], {"p": 4}, price=False)))
    assert isinstance(found, DrawnFigure)
    (line,) = lines(found, "alpha")
    assert (x_of(line)[0], line.get_markerfacecolor()) == (pytest.approx(2), style.GROUND[0])
    assert "alpha" in found.figure.texts[1].get_text()


def test_a_waterfall_has_the_median_and_the_slowest() -> None:
    """Phases follow one another from the queue (before the start) to the last generated chunk."""
    from dataclasses import replace

    from streambench.records.schema import Connection

    rows = [answer(n, "alpha", "p", block=n, ttft=100 + 10 * n, gaps=(50,)) for n in range(3)]
    link = Connection(new=True, dns_ns=MS, connect_ns=4 * MS, tls_ns=15 * MS)
    rows[2] = replace(rows[2], queue_ns=30 * MS, connection=link)
    found = catalogue.FIGURES["waterfall"](run_of(rows, header_of(["alpha"], {"p": 4})))
    assert isinstance(found, DrawnFigure)
    axes = found.figure.axes[0]
    bars = {str(one.get_label()): one.patches[0] for one in bars_of(found)}
    spans = {name: (round(bar.get_x(), 6), round(bar.get_x() + bar.get_width(), 6)) for name, bar in bars.items()}
    assert spans == {
        "1 wait for headers": (0, 80),
        "1 think": (80, 110),
        "1 stream": (110, 160),
        "2 queue": (-30, 0),
        "2 connect": (0, 20),
        "2 wait for headers": (20, 80),
        "2 think": (80, 120),
        "2 stream": (120, 170),
    }
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["alpha  median", "slowest"]


def test_a_connection_opened_ahead_is_outside_the_latency() -> None:
    """Its set-up was before the start, so no phase shows it; unknown headers make wait and think one."""
    from dataclasses import replace

    from streambench.records.schema import Connection

    link = Connection(new=True, connect_ns=5 * MS, ahead=True)
    row = replace(answer(0, "alpha", "p", gaps=(50,)), connection=link, headers_ns=None)
    found = catalogue.FIGURES["waterfall"](run_of([row], header_of(["alpha"], {"p": 4})))
    assert isinstance(found, DrawnFigure)
    assert [str(one.get_label()) for one in bars_of(found)] == ["0 wait or think", "0 stream"]


@pytest.mark.parametrize(("axes", "column"), [(0, "start_lag_ms"), (1, "client_lag_ms")])
def test_lags_are_of_all_measured_requests(axes: int, column: str) -> None:
    """Failed ones too: the lag is ours."""
    rows = run("ten").requests
    rows = rows[~rows["warmup"].astype(bool)]
    for model, part in rows.groupby("model", observed=True):
        (line,) = lines(drawn("ten", "lags"), str(model), axes)
        assert x_of(line)[0] == pytest.approx(part[column].median())


def test_a_model_has_one_colour_everywhere() -> None:
    """By its place in the config: whatever carries its name has its colour, or the grey of the rest."""
    for name in ("rich", "ten", "forty"):
        looks = {model.name: model.look.colour for model in material(name).models}
        for each in every_drawn(name):
            for axes in each.figure.axes:
                for line in axes.lines:
                    if line.get_label() in looks:
                        assert line.get_color() in (looks[str(line.get_label())], style.REST[0]), (each.name, line)


def test_of_forty_seven_are_in_colour() -> None:
    """The four fastest and the three slowest; the note says the rule."""
    found = drawn("forty", "ttft-ecdf")
    middles = {model: np.median(values) for model, values in material("forty").by_model("ttft_ms").items()}
    ranked = sorted(middles, key=lambda model: middles[model])
    coloured = {line.get_label() for line in found.figure.axes[0].lines if line.get_color() != style.REST[0]}
    assert {*ranked[:4], *ranked[-3:]} == {label for label in coloured if label in middles}
    assert {40, 4, 3} <= set(numbers_in(found.figure.texts[1].get_text()))


def test_simulated_models_say_so() -> None:
    """Wherever the model is named: labels, sentence."""
    assert material("rich").models[0].label == "alpha (simulated)"
    for each in every_drawn("rich"):
        said = [text.get_text() for text in style.texts(each.figure)] + [each.sentence]
        named = [text for text in said if "alpha" in text]
        assert all("alpha (simulated)" in text for text in named), (each.name, named)


def test_a_retried_request_counts_once_by_its_last_attempt() -> None:
    """A failure and then an answer is one ok request."""
    from dataclasses import replace

    first = failed(answer(0, "alpha", "p"))
    again = replace(answer(0, "alpha", "p", ttft=140), attempt=2)
    whole = FigureData.of(run_of([first, again], header_of(["alpha"], {"p": 4})))
    assert (len(whole.requests), len(whole.ok), whole.finals[0].attempt) == (1, 1, 2)


def test_a_run_is_read_as_it_is() -> None:
    """`Material.of` takes a run, and itself."""
    whole = material("rich")
    assert FigureData.of(whole) is whole
    assert len(whole.requests) == len(rich().records) - 3  # the warm-up
    assert outcome("rich", "lags") is outcome("rich", "lags")


def test_the_attempt_of_a_conversation_that_was_sent_anew_is_drawn() -> None:
    """Part 0 tried the turn twice and was interrupted; part 1 sent its conversation anew: its attempt 1 is the last."""
    part = Resumption(1, 1_900_000_000_000_000_000, 0, 1, "kernel", {}, {})
    ticket = replace(make_record().ticket, session_id="p0:0:alpha", turn=0)
    first, second, anew = (
        make_record(attempt=attempt, ticket=ticket, segment=segment) for attempt, segment in ((1, 0), (2, 0), (1, 1))
    )
    found = FigureData.of(run_of([first, second, anew], header_of(["alpha"], {"p0": 4}, resumed=(part,)))).finals
    assert [(record.attempt, record.segment) for record in found.values()] == [(1, 1)]

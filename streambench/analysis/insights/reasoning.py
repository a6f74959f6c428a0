"""Insights on reasoning: how long models think before they answer, hidden reasoning tokens, and effort settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from streambench.analysis.insights.insight import Insight, OkRows, answers_of
from streambench.metrics.model_names import alias_of
from streambench.text import listed, percent
from streambench.workload.request_params import effort_of

if TYPE_CHECKING:
    from streambench.analysis.run import Run


def reasoning(run: Run, names: Mapping[str, str]) -> Iterator[Insight]:
    """Yields the insights on reasoning; none if no response had reasoning chunks or reasoning tokens in its usage."""
    if not any("t" in record.timeline.kind or (record.usage and record.usage.reasoning) for record in run.records):
        return
    answers = answers_of(run, names)
    models = answers.by_model()
    thinkers = {alias: each for alias, each in models.items() if _thinks(each)}
    if not thinkers:
        return
    efforts = _efforts(run, models)
    lines = tuple(f"{_thinking(_with_effort(names[alias], efforts[alias]), each)}." for alias, each in thinkers.items())
    others = [names[alias] for alias in models if alias not in thinkers]
    rest = f"No reasoning tokens were streamed or billed for {listed(others)}." if others else ""
    yield Insight("Thinking", rest, lines)
    first = answers.first("ttfa_ms")
    if first:
        yield Insight("Start of the answer", first)
    yield from _effort_parts(run, answers, models, efforts)


def _thinks(answers: OkRows) -> bool:
    return answers.total("reasoning_tokens") > 0 or answers.total("reasoning_chars") > 0


def _thinking(name: str, answers: OkRows) -> str:
    streamed = answers.total("reasoning_chars") > 0
    begins = f"{name} sends its first output after {answers.shown('ttft_ms')}"
    if not streamed:
        return f"{begins}, which includes its reasoning, as none of it is streamed: {_bill(answers)}"
    answered = f"and the start of its answer after {answers.shown('ttfa_ms')}" if answers.median("ttfa_ms").n else ""
    took = f"it streams reasoning for {answers.shown('thinking_ms')}" if answers.median("thinking_ms").n else ""
    return ", ".join(part for part in (f"{begins} {answered}".strip(), took, _bill(answers)) if part)


def _bill(answers: OkRows) -> str:
    """Returns the part of a sentence on reasoning tokens: their share of the output, and how many were hidden."""
    rows = answers.rows[answers.rows["reasoning_tokens"].notna() & answers.rows["output_tokens"].notna()]
    if not len(rows):
        return "and its number of reasoning tokens is not reported"
    known = answers.where(rows)
    thought, output = known.total("reasoning_tokens"), known.total("output_tokens")
    share = f", {percent(thought / output)} of its output" if output > 0 and thought <= output else ""
    return f"{known.shown('reasoning_tokens')} of reasoning per request{share}, {_hidden(known, thought)}"


def _hidden(answers: OkRows, thought: int) -> str:
    if answers.rows["hidden_tokens"].isna().any():
        return "part of which may be hidden"
    hidden = answers.total("hidden_tokens")
    if hidden == 0:
        return "all streamed"
    return "all hidden" if hidden == thought else f"{percent(hidden / thought)} hidden"


# --- effort -----------------------------------------------------------------------------------------------------------


def _efforts(run: Run, models: Mapping[str, OkRows]) -> dict[str, str | None]:
    """Returns the effort by alias: that of the requests if they have a single one, else that of the model's params."""
    stated = {alias_of(entry): entry for entry in run.header.config.get("models", ())}
    found: dict[str, str | None] = {}
    for alias, answers in models.items():
        seen = {str(effort) for effort in answers.rows["effort"].dropna()}
        found[alias] = seen.pop() if len(seen) == 1 else effort_of(stated.get(alias, {}).get("params") or {})
    return found


def _effort_parts(
    run: Run, answers: OkRows, models: Mapping[str, OkRows], efforts: Mapping[str, str | None]
) -> Iterator[Insight]:
    """Yields one insight per model that the config has under several aliases with different efforts."""
    for aliases in _same_models(run.header.config, models):
        if len({efforts[alias] for alias in aliases}) < 2:
            continue
        lines = tuple(_at_effort(answers.names[alias], efforts[alias], models[alias]) for alias in aliases)
        among = answers.where(answers.rows[answers.rows["model"].isin(aliases)])
        first = among.first("ttfa_ms")
        one = f"{listed([answers.names[alias] for alias in aliases])} are the same model."
        yield Insight("Effort", f"{one} {first}".strip(), lines)


def _same_models(config: Mapping[str, Any], models: Mapping[str, OkRows]) -> list[list[str]]:
    groups: dict[tuple[Any, Any], list[str]] = {}
    for entry in config.get("models", ()):
        alias = alias_of(entry)
        if alias in models:
            groups.setdefault((entry.get("gateway"), entry.get("model")), []).append(alias)
    return [aliases for aliases in groups.values() if len(aliases) > 1]


def _at_effort(name: str, effort: str | None, answers: OkRows) -> str:
    asked = f"At effort {effort}" if effort else "Without an effort setting"
    thought = f" and {answers.shown('reasoning_tokens')} of reasoning" if answers.median("reasoning_tokens").n else ""
    if not answers.median("ttfa_ms").n:
        return f"{asked}, {name} gave no answer."
    return f"{asked}, {name} starts its answer after {answers.shown('ttfa_ms')}{thought}."


def _with_effort(name: str, effort: str | None) -> str:
    return f"{name} (effort {effort})" if effort else name

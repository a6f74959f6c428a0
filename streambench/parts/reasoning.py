"""How long models think before they answer, what of it is seen, and what an effort setting changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from streambench.asked import effort_of
from streambench.model_names import alias_of
from streambench.parts.answers import Answers, answers_of
from streambench.parts.part import Part
from streambench.words import listed, percent

if TYPE_CHECKING:
    from streambench.results import Run


def reasoning(run: Run, names: Mapping[str, str]) -> Iterator[Part]:
    """Of runs in which a model was seen to think, by its chunks or by its bill."""
    if not any("t" in record.timeline.kind or (record.usage and record.usage.reasoning) for record in run.records):
        return
    answers = answers_of(run, names)
    models = answers.by_model()
    thinkers = {alias: each for alias, each in models.items() if _thinks(each)}
    if not thinkers:
        return
    efforts = _efforts(run, models)
    told = tuple(f"{_thinking(_with_effort(names[alias], efforts[alias]), each)}." for alias, each in thinkers.items())
    others = [names[alias] for alias in models if alias not in thinkers]
    rest = f"Of {listed(others)} no thought was streamed or billed." if others else ""
    yield Part("Thinking", rest, told)
    first = answers.first("ttfa_ms", "starts its answer first")
    if first:
        yield Part("First word of the answer", first)
    yield from _effort_parts(run, answers, models, efforts)


def _thinks(answers: Answers) -> bool:
    return answers.total("reasoning_tokens") > 0 or answers.total("reasoning_chars") > 0


def _thinking(name: str, answers: Answers) -> str:
    streamed = answers.total("reasoning_chars") > 0
    begins = f"{name} sends its first output after {answers.shown('ttft_ms')}"
    if not streamed:
        return f"{begins}, which holds its thinking, as none of it is streamed: {_bill(answers)}"
    answered = f"and the first of its answer after {answers.shown('ttfa_ms')}" if answers.median("ttfa_ms").n else ""
    took = f"it is seen to think for {answers.shown('thinking_ms')}" if answers.median("thinking_ms").n else ""
    return ", ".join(part for part in (f"{begins} {answered}".strip(), took, _bill(answers)) if part)


def _bill(answers: Answers) -> str:
    """Tokens thought against all that were put out, and what of them nobody saw."""
    rows = answers.rows[answers.rows["reasoning_tokens"].notna() & answers.rows["output_tokens"].notna()]
    if not len(rows):
        return "and how many tokens it thinks is not told"
    known = answers.where(rows)
    thought, output = known.total("reasoning_tokens"), known.total("output_tokens")
    share = f", {percent(thought / output)} of its output" if output > 0 and thought <= output else ""
    return f"{known.shown('reasoning_tokens')} of thought a request{share}, {_hidden(known, thought)}"


def _hidden(answers: Answers, thought: int) -> str:
    if answers.rows["hidden_tokens"].isna().any():
        return "of which a part may be hidden"
    hidden = answers.total("hidden_tokens")
    if hidden == 0:
        return "all streamed"
    return "all hidden" if hidden == thought else f"{percent(hidden / thought)} of it hidden"


# --- effort -----------------------------------------------------------------------------------------------------------


def _efforts(run: Run, models: Mapping[str, Answers]) -> dict[str, str | None]:
    """By alias: what its answers asked for, where that was one and the same; else what its model's params say."""
    stated = {alias_of(entry): entry for entry in run.header.config.get("models", ())}
    found: dict[str, str | None] = {}
    for alias, answers in models.items():
        seen = {str(effort) for effort in answers.rows["effort"].dropna()}
        found[alias] = seen.pop() if len(seen) == 1 else effort_of(stated.get(alias, {}).get("params") or {})
    return found


def _effort_parts(
    run: Run, answers: Answers, models: Mapping[str, Answers], efforts: Mapping[str, str | None]
) -> Iterator[Part]:
    """Of each model that was asked under several aliases with several efforts."""
    for aliases in _same_models(run.header.config, models):
        if len({efforts[alias] for alias in aliases}) < 2:
            continue
        told = tuple(_at_effort(answers.names[alias], efforts[alias], models[alias]) for alias in aliases)
        among = answers.where(answers.rows[answers.rows["model"].isin(aliases)])
        first = among.first("ttfa_ms", "starts its answer first")
        one = f"{listed([answers.names[alias] for alias in aliases])} are one model."
        yield Part("Effort", f"{one} {first}".strip(), told)


def _same_models(config: Mapping[str, Any], models: Mapping[str, Answers]) -> list[list[str]]:
    groups: dict[tuple[Any, Any], list[str]] = {}
    for entry in config.get("models", ()):
        alias = alias_of(entry)
        if alias in models:
            groups.setdefault((entry.get("gateway"), entry.get("model")), []).append(alias)
    return [aliases for aliases in groups.values() if len(aliases) > 1]


def _at_effort(name: str, effort: str | None, answers: Answers) -> str:
    asked = f"At effort {effort}" if effort else "Without an effort setting"
    thought = f" and {answers.shown('reasoning_tokens')} of thought" if answers.median("reasoning_tokens").n else ""
    if not answers.median("ttfa_ms").n:
        return f"{asked} ({name}) no answer came."
    return f"{asked} ({name}) the answer starts after {answers.shown('ttfa_ms')}{thought}."


def _with_effort(name: str, effort: str | None) -> str:
    return f"{name} (effort {effort})" if effort else name

"""Checks the relations between keys: which keys require, exclude or refer to one another.

A step of load.py over the Draft, before schema validation, so that these problems are reported even if another part is
wrong. Each check skips values of the wrong type; schema validation refuses those.
"""

from __future__ import annotations

from typing import Any

from streambench.config.credentials import variable_for
from streambench.config.draft import Draft
from streambench.config.fields import is_glob, meant_embedded
from streambench.config.sections import OPEN_LOOPS
from streambench.documents import KeyPath
from streambench.metrics.assertions import BASELINE, REGRESSION, AssertionTextError, entries, needs_baseline, parse_at
from streambench.text import nearest, shown
from streambench.workload.api_formats import unsendable, whole_alias
from streambench.workload.conversation import scripted
from streambench.workload.request_params import faults
from streambench.workload.suite import RESERVED_PARAMS, Suite

_BASELINE = "the folder of an earlier run"
_EMBEDDINGS = "is not supported: streambench times token streams, and embeddings are not streamed"


def complete_models(draft: Draft) -> None:
    """Turns a plain text in `models` into a mapping, and sets a missing gateway to the first one of the config.

    A `!` pattern without a gateway stays without: it applies to all gateways.
    """
    gateways = draft.data.get("gateways")
    first = next(iter(gateways), None) if isinstance(gateways, dict) else None
    models = draft.data.get("models")
    if isinstance(models, list):
        models[:] = [{"model": model} if isinstance(model, str) else model for model in models]
    for _, model in draft.models():
        if model.get("gateway") is None and first is not None and not _excludes(model):
            model["gateway"] = first


def check_relations(draft: Draft) -> None:
    """Adds a problem to the draft for each broken relation between keys."""
    for name, gateway in draft.gateways():
        _check_gateway(draft, gateway, ("gateways", name), variable_for(name))
    _check_aliases(draft)
    _check_patterns(draft)
    for index, model in draft.models():
        _check_model(draft, model, ("models", index))
    _check_load(draft, draft.data.get("load"))
    _check_budget(draft, draft.data.get("budget"))
    _check_telemetry(draft, draft.data.get("telemetry"))
    _check_assertions(draft, draft.data.get("assert"))
    _check_prompts_given(draft)


def check_prompts_sendable(draft: Draft, suite: Suite | None) -> None:
    """Adds a problem for each model whose API cannot send one of the prompts, with the first such prompt."""
    gateways = dict(draft.gateways())
    for index, model in draft.models():
        api = model.get("api") or gateways.get(str(model.get("gateway")), {}).get("api") or "chat"
        params = model.get("params")
        own = params if isinstance(params, dict) else {}
        for prompt in suite.prompts if suite else ():
            messages = [message for turn in scripted(prompt) for message in turn]
            what = unsendable(str(api), messages, {**own, **prompt.params})
            if what is None and api == "completions" and any(turn.tool_results for turn in prompt.turns):
                what = "`tool_results`"
            if what is not None:
                message = f"`{api}` does not support {what}, which requests for prompt {shown(prompt.id)} contain"
                draft.refuse(("models", index, "api"), message, accepted="chat or responses; or prompts with text only")
                break


def _check_api(draft: Draft, holder: dict[str, Any], path: KeyPath) -> None:
    if holder.get("api") == "embeddings":
        draft.refuse((*path, "api"), _EMBEDDINGS, shown("embeddings"), "chat, responses, completions")


def _check_gateway(draft: Draft, gateway: dict[str, Any], path: KeyPath, variable: str) -> None:
    _check_api(draft, gateway, path)
    if gateway.get("base_url") == "embedded":
        if gateway.get("models") is None:
            draft.refuse(
                (*path, "models"), "is required with `base_url: embedded`", accepted="the path of a models file"
            )
    else:
        _check_real_gateway(draft, gateway, path, variable)
    _check_params(draft, gateway.get("params"), (*path, "params"))
    tls = gateway.get("tls")
    if isinstance(tls, dict) and tls.get("client_key") is not None and tls.get("client_cert") is None:
        draft.refuse((*path, "tls", "client_cert"), "is required with client_key", accepted="a certificate file path")


def _check_real_gateway(draft: Draft, gateway: dict[str, Any], path: KeyPath, variable: str) -> None:
    if meant_embedded(str(gateway.get("base_url"))):
        return  # schema validation reports the misspelling
    if gateway.get("models") is not None:
        accepted = "no `models` here; list the models to measure under the top-level `models:`"
        draft.refuse((*path, "models"), "is only allowed with `base_url: embedded`", accepted=accepted)
    if "api_key" not in gateway:
        accepted = f"`api_key: ${{{variable}}}` with `export {variable}=...`, or `api_key: none`"
        draft.refuse((*path, "api_key"), "is required", accepted=accepted)


def _check_aliases(draft: Draft) -> None:
    first: dict[str, int] = {}
    for index, model in draft.models():
        alias = model.get("alias") or model.get("model")
        if not isinstance(alias, str) or _is_pattern(model):
            continue
        both = isinstance(stated := model.get("stream", draft.data.get("stream")), list) and len(stated) > 1
        names = [alias, whole_alias(alias)] if both else [alias]
        earlier = next((first[name] for name in names if name in first), index)
        first |= {name: index for name in names if name not in first}
        if earlier != index:
            line = draft.place(("models", earlier))[1]
            other = f"the model in line {line}" if line else f"models.{earlier}"
            message = f"clashes with the alias of {other}"
            draft.refuse(("models", index, "alias"), message, shown(alias), "a unique alias")


def _check_patterns(draft: Draft) -> None:
    """Checks globs, and the `!` patterns that exclude models from them."""
    globs = [index for index, model in draft.models() if _is_pattern(model) and not _excludes(model)]
    for index, model in draft.models():
        path = ("models", index)
        if _excludes(model) and not globs:
            accepted = "a list that also has a glob such as `gpt-*`, or model names only"
            draft.refuse(path, "`!` excludes models from globs, but `models` has no glob", accepted=accepted)
        for key in sorted(model.keys() - {"model", "gateway"}) if _excludes(model) else []:
            draft.refuse((*path, key), "does not apply to an exclusion (`!`)", accepted="only model and gateway")
        if index in globs and model.get("alias") is not None:
            accepted = "no alias; or an alias with a full model name"
            draft.refuse((*path, "alias"), "would be the alias of every model that the glob picks", accepted=accepted)
    if globs and draft.data.get("discovery") is False:
        message = "is false, but globs need the model lists of the gateways"
        draft.refuse(("discovery",), message, "false", "true, or full model names instead of globs")


def _is_pattern(model: dict[str, Any]) -> bool:
    name = model.get("model")
    return isinstance(name, str) and (name.startswith("!") or is_glob(name))


def _excludes(model: dict[str, Any]) -> bool:
    return _is_pattern(model) and model["model"].startswith("!")


def _check_model(draft: Draft, model: dict[str, Any], path: KeyPath) -> None:
    _check_api(draft, model, path)
    gateways = draft.data.get("gateways")
    name = model.get("gateway")
    if isinstance(gateways, dict) and isinstance(name, str) and name not in gateways:
        message = f"there is no such gateway{nearest(name, gateways)}"
        draft.refuse((*path, "gateway"), message, shown(name), ", ".join(gateways) or None)
    _check_params(draft, model.get("params"), (*path, "params"))


def _check_params(draft: Draft, params: Any, path: KeyPath) -> None:
    if not isinstance(params, dict):
        return
    for param in sorted(params.keys() & RESERVED_PARAMS):
        draft.refuse((*path, param), f"may not be set: {RESERVED_PARAMS[param]}")
    for fault in faults(params):
        draft.refuse((*path, *fault.path), fault.message, fault.found, fault.accepted)


def _check_load(draft: Draft, load: Any) -> None:
    if not isinstance(load, dict):
        return
    mode = load.get("mode", "closed")
    if mode in OPEN_LOOPS:
        _check_open_loop(draft, load, mode)
    elif mode == "closed" and load.get("rate") is not None:
        message = "does not apply in a closed loop, where the next request waits for a response"
        accepted = f"concurrency; or this rate with one of the modes {', '.join(OPEN_LOOPS)}"
        draft.refuse(("load", "rate"), message, accepted=accepted)


def _check_open_loop(draft: Draft, load: dict[str, Any], mode: str) -> None:
    if load.get("rate") is None:
        message = f"is required with `mode: {mode}`"
        draft.refuse(("load", "rate"), message, accepted="requests per second, a number above 0")
    if "concurrency" in load:
        message = f"does not apply with `mode: {mode}`, which sends on a schedule without waiting for responses"
        accepted = "rate; `limits: {max_concurrency: ...}` of a gateway or model caps parallel requests"
        draft.refuse(("load", "concurrency"), message, accepted=accepted)


def _check_budget(draft: Draft, budget: Any) -> None:
    """Requires a price for each model if there is a budget in USD; models of the embedded gateway are free."""
    if not isinstance(budget, dict) or budget.get("usd") is None:
        return
    free = {name for name, gateway in draft.gateways() if gateway.get("base_url") == "embedded"}
    for index, model in draft.models():
        if model.get("price") is None and model.get("gateway") not in free and not _excludes(model):
            accepted = "USD per million tokens, as in {input: 1.0, output: 4.0}"
            draft.refuse(("models", index, "price"), "is required with `budget.usd`", accepted=accepted)


def _check_telemetry(draft: Draft, telemetry: Any) -> None:
    if isinstance(telemetry, dict) and telemetry.get("client_key") and not telemetry.get("client_certificate"):
        path = ("telemetry", "client_certificate")
        draft.refuse(path, "is required with client_key", accepted="a certificate file path")


def _check_assertions(draft: Draft, stated: Any) -> None:
    if not isinstance(stated, dict):
        return
    found = []
    for path, value in entries(stated):
        try:
            found.append(parse_at(path, value))
        except AssertionTextError as error:
            given = None if error.found is None else shown(error.found)
            draft.refuse(("assert", *path), error.message, given, error.accepted)
    regression = stated.get(REGRESSION, {})
    if not isinstance(regression, dict):
        accepted = "a mapping such as {baseline: results/before, ttft_p50: 10%}"
        draft.refuse(("assert", REGRESSION), "must be a mapping", shown(regression), accepted)
    elif not isinstance(regression.get(BASELINE), str) and (needs_baseline(found) or regression):
        given = None if BASELINE not in regression else shown(regression[BASELINE])
        draft.refuse(
            ("assert", REGRESSION, BASELINE),
            "is required: `regression` compares this run with an earlier one",
            given,
            _BASELINE,
        )


def _check_prompts_given(draft: Draft) -> None:
    given = [key for key in ("suite", "prompts") if draft.data.get(key) is not None]
    if len(given) == 2:
        draft.refuse(("prompts",), "cannot be combined with `suite`", accepted="either `suite` or `prompts`")
    elif not given:
        draft.refuse(("suite",), "is required", accepted="`suite:` with a file path, or `prompts:` with a list")

"""Relations between keys: which need, exclude or name one another.

On the way: a step of load.py over the Draft, before the schema, so that they are told even if another part is wrong.
Each check looks only at values of the right kind; the others are the schema's to refuse.
"""

from __future__ import annotations

from typing import Any

from streambench.apis import unsendable, whole_alias
from streambench.asked import faults
from streambench.assertions import BASELINE, REGRESSION, AssertionTextError, entries, needs_baseline, parse_at
from streambench.config.credentials import variable_for
from streambench.config.draft import Draft
from streambench.config.values import is_glob, meant_embedded
from streambench.conversation import scripted
from streambench.documents import KeyPath, nearest, shown
from streambench.suite import RESERVED_PARAMS, Suite

_BASELINE = "the folder of an earlier run"
_OPEN_LOOPS = ("constant", "poisson")
_EMBEDDINGS = "is out of scope: streambench times token streams; embeddings have none"


def complete_models(draft: Draft) -> None:
    """A plain text means a model of that name; without a gateway it goes to the only, or first, one."""
    gateways = draft.data.get("gateways")
    first = next(iter(gateways), None) if isinstance(gateways, dict) else None
    models = draft.data.get("models")
    if isinstance(models, list):
        models[:] = [{"model": model} if isinstance(model, str) else model for model in models]
    for _, model in draft.models():
        if model.get("gateway") is None and first is not None and not _excludes(model):
            model["gateway"] = first


def check_relations(draft: Draft) -> None:
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
    """Whether each model's API has a place for all that the prompts hold; the first that it has none for is told."""
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
                message = f"`{api}` has no place for {what}, which prompt {shown(prompt.id)} is sent with"
                draft.refuse(("models", index, "api"), message, accepted="chat or responses; or prompts of text alone")
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
        draft.refuse((*path, "tls", "client_cert"), "is required with client_key", accepted="the certificate's path")


def _check_real_gateway(draft: Draft, gateway: dict[str, Any], path: KeyPath, variable: str) -> None:
    if meant_embedded(str(gateway.get("base_url"))):
        return  # the schema tells of the typo
    if gateway.get("models") is not None:
        accepted = "no `models` here; what to measure is listed under the top-level `models:`"
        draft.refuse((*path, "models"), "goes with `base_url: embedded` only", accepted=accepted)
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
            message = f"goes by the same name as {other}"
            draft.refuse(("models", index, "alias"), message, shown(alias), "an alias of its own")


def _check_patterns(draft: Draft) -> None:
    """Globs, and `!` before what they may not pick."""
    globs = [index for index, model in draft.models() if _is_pattern(model) and not _excludes(model)]
    for index, model in draft.models():
        path = ("models", index)
        if _excludes(model) and not globs:
            accepted = "a glob beside it, such as `gpt-*`, or the models' names alone"
            draft.refuse(path, "`!` keeps globs from picking a model, and there is no glob", accepted=accepted)
        for key in sorted(model.keys() - {"model", "gateway"}) if _excludes(model) else []:
            draft.refuse((*path, key), "has no meaning for what is left out", accepted="model and gateway alone")
        if index in globs and model.get("alias") is not None:
            accepted = "no alias; or the model's name, written out, with one"
            draft.refuse((*path, "alias"), "would be the name of every model that the glob picks", accepted=accepted)
    if globs and draft.data.get("discovery") is False:
        message = "is off, so no gateway can be asked for what matches a glob"
        draft.refuse(("discovery",), message, "false", "true, or the models' names, written out")


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
    if mode in _OPEN_LOOPS:
        _check_open_loop(draft, load, mode)
    elif mode == "closed" and load.get("rate") is not None:
        message = "has no meaning in closed loop, where the next request waits for a reply"
        draft.refuse(("load", "rate"), message, accepted="concurrency; or `mode: constant` or `poisson` with this rate")


def _check_open_loop(draft: Draft, load: dict[str, Any], mode: str) -> None:
    if load.get("rate") is None:
        message = f"is required with `mode: {mode}`"
        draft.refuse(("load", "rate"), message, accepted="requests per second, a number above 0")
    if "concurrency" in load:
        message = f"has no meaning with `mode: {mode}`, which sends on schedule whether replies come or not"
        accepted = "rate; `limits: {max_concurrency: ...}` of a gateway or model caps parallel requests"
        draft.refuse(("load", "concurrency"), message, accepted=accepted)


def _check_budget(draft: Draft, budget: Any) -> None:
    """Dollars are counted by price; what the embedded gateway serves is free."""
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
        draft.refuse(path, "is required with client_key", accepted="the certificate's path")


def _check_assertions(draft: Draft, stated: Any) -> None:
    if not isinstance(stated, dict):
        return
    found = []
    for path, value in entries(stated):
        try:
            found.append(parse_at(path, value))
        except AssertionTextError as error:
            told = None if error.found is None else shown(error.found)
            draft.refuse(("assert", *path), error.message, told, error.accepted)
    regression = stated.get(REGRESSION, {})
    if not isinstance(regression, dict):
        accepted = "a mapping such as {baseline: results/before, ttft_p50: 10%}"
        draft.refuse(("assert", REGRESSION), "is of the wrong kind", shown(regression), accepted)
    elif not isinstance(regression.get(BASELINE), str) and (needs_baseline(found) or regression):
        told = None if BASELINE not in regression else shown(regression[BASELINE])
        draft.refuse(("assert", REGRESSION, BASELINE), "is required: what would it be worse than?", told, _BASELINE)


def _check_prompts_given(draft: Draft) -> None:
    given = [key for key in ("suite", "prompts") if draft.data.get(key) is not None]
    if len(given) == 2:
        draft.refuse(("prompts",), "stands beside `suite`", accepted="one of `suite` and `prompts`")
    elif not given:
        draft.refuse(("suite",), "is required", accepted="`suite:` with a file's path, or `prompts:` with a list")

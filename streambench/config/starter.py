"""The text of a first config, with comments, which runs without changes. `streambench init` writes it. Pure.

It contains no key, only the name of the variable that holds one.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

SIMULATED = """\
# Simulated models, so that a first run needs no key and no network. Their delays are made up.
# ttft_ms: time to the first chunk; gap_ms: time from one chunk to the next; tokens: length of an answer.
models:
  sim-quick: {ttft_ms: 90, gap_ms: 8, tokens: 40}
  sim-slow: {ttft_ms: 250, gap_ms: 20, tokens: 40}
"""

SIMULATED_MODELS = ("sim-quick", "sim-slow")

_PROMPTS = """\
prompts: # or `suite: my-prompts.yaml`, a file of prompts
  - {id: sky, text: Why is the sky blue? Two sentences., params: {max_tokens: 80}}
  - {id: haiku, text: Write a haiku about trams., params: {max_tokens: 40}}
  - {id: code, text: Write a Python function that reverses a list. Code only., params: {max_tokens: 80}}
  - {id: french, text: "Translate into French: where is the nearest tram stop?", params: {max_tokens: 40}}
"""

_REST = """\
load: {mode: closed, concurrency: 4} # four requests in flight at any time
repeats: 5 # every model answers every prompt five times; p95 needs 20 requests per model
warmup: {requests: 1} # per model; recorded, but excluded from all metrics
limits: {duration: 10m} # the run ends after this time, even if requests are left
seed: 7 # the same seed gives the same order
output: results/
"""


@dataclass(frozen=True, slots=True)
class Start:
    """What a first config is made from. Without a `base_url` it uses the embedded simulator."""

    name: str
    models: tuple[str, ...]
    base_url: str | None = None
    key_variable: str | None = None
    """None for a server without a key."""
    simulated_file: str = "simulated-models.yaml"


def config_text(start: Start, file: str) -> str:
    """Returns the YAML text; `file` is the config's path, which its comments show."""
    key = f"# The key:   export {start.key_variable}=...   (or a line in a file .env beside this one)"
    lines = [
        "# All settings: configs/gateway.yaml of streambench. Any can be overridden for one run: --set repeats=1",
        f"# Run it:    streambench run {file}",
        f"# Check it:  streambench doctor {file}",
        *([key] if start.base_url is not None and start.key_variable is not None else []),
        f"name: {_plain(start.name)} # the first part of the results folder's name",
        "gateways:",
        *_gateway(start),
        "models: # each gets every prompt equally often; a glob such as gpt-* picks all that match",
        *(f"  - {_plain(model)}" for model in start.models),
    ]
    return "\n".join(lines) + "\n" + _PROMPTS + _REST


def _gateway(start: Start) -> Sequence[str]:
    if start.base_url is None:
        return [
            "  demo: # the embedded simulator: no key, no network",
            "    base_url: embedded",
            f"    models: {_plain(start.simulated_file)}",
        ]
    key = f"${{{start.key_variable}}} # never the key itself" if start.key_variable else "none # needs no key"
    return [
        f"  {gateway_name(start.base_url)}:",
        f"    base_url: {_plain(start.base_url)} # up to and including the version",
        f"    api_key: {key}",
        "    limits: {max_concurrency: 8} # a safety limit",
    ]


def gateway_name(base_url: str) -> str:
    """Returns a short name from the URL's host: `deepseek` for api.deepseek.com.

    `hub` for an IP address, localhost, or a host without a usable name.
    """
    host = urlsplit(base_url).hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        parts = [part for part in host.split(".") if part not in ("api", "www", "gateway", "llm")]
        name = re.sub(r"[^a-z0-9]+", "-", (parts[-2] if len(parts) > 1 else parts[0] if parts else "").lower()).strip(
            "-"
        )
        return name if name and not name.isdigit() and name != "localhost" else "hub"
    return "hub"


def _plain(text: str) -> str:
    """Returns the text as a YAML value: unquoted if YAML reads it as text, else in quotes."""
    bare = re.fullmatch(r"[A-Za-z][\w./:@+-]*", text, re.ASCII) and not text.endswith(":")
    is_word = text.lower() in ("yes", "no", "on", "off", "true", "false", "null", "y", "n")
    return text if bare and not is_word else json.dumps(text)

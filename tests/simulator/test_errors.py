"""What the gateway answers to requests that it cannot serve."""

from __future__ import annotations

import pytest

from .client import Client, Start, chat_body

MODELS = """
api_key: sesame
models:
  plain: {ttft_ms: 5, gap_ms: 1, tokens: 2}
"""
KEY = {"Authorization": "Bearer sesame"}


@pytest.fixture(scope="module")
def client(start: Start) -> Client:
    return start(MODELS)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (chat_body("nobody"), 404, "model_not_found"),
        (b"{not json", 400, None),
        (b'{"model": "plain", "messages": "hello"}', 400, None),
        (b'{"model": "plain"}', 400, "missing_parameter"),
        (b'{"messages": [{"role": "user", "content": "x"}]}', 400, None),
        (chat_body("plain", max_tokens=0), 400, "integer_below_min_value"),
    ],
)
def test_a_bad_request(client: Client, body: bytes, status: int, code: str | None) -> None:
    """Status and code as OpenAI's, with an error object that has all four fields."""
    reply = client.request("POST", "/v1/chat/completions", body, KEY)
    assert reply.status == status
    assert set(reply.json["error"]) == {"message", "type", "param", "code"}
    assert reply.json["error"]["code"] == code


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/chat/completions", 405), ("POST", "/v1/models", 405), ("POST", "/v1/embeddings", 404)],
)
def test_wrong_method_or_path(client: Client, method: str, path: str, status: int) -> None:
    """405 for a known path, 404 for another."""
    assert client.request(method, path, headers=KEY).status == status


def test_the_key_is_asked_for(client: Client) -> None:
    """401 without it and with another one; 200 with it."""
    assert client.chat("plain").json["error"]["code"] == "invalid_api_key"
    body = chat_body("plain")
    assert client.request("POST", "/v1/chat/completions", body, {"Authorization": "Bearer guess"}).status == 401
    assert client.request("POST", "/v1/chat/completions", body, KEY).status == 200


def test_models_are_listed(client: Client) -> None:
    """As OpenAI lists them."""
    listed = client.request("GET", "/v1/models", headers=KEY).json
    assert listed["object"] == "list"
    assert [row["id"] for row in listed["data"]] == ["plain"]


def test_health_needs_no_key(client: Client) -> None:
    """For a supervisor that only wants to know whether it runs."""
    assert client.request("GET", "/health").json == {"status": "ok"}

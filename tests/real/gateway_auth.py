"""The proxy's check of a key: LiteLLM without a database answers 400 or 500 to a wrong one; real gateways say 401.

LiteLLM loads this file by the name that litellm.yaml gives.
"""

from __future__ import annotations

import os
import secrets

from fastapi import Request  # type: ignore[import-not-found]  # lives in .venv-real only
from litellm.proxy._types import ProxyException, UserAPIKeyAuth  # type: ignore[import-not-found]  # the same

REQUESTS_PER_MINUTE = 1
"""Of the limited key."""


async def check_key(request: Request, api_key: str | None) -> UserAPIKeyAuth:
    """The caller's rights. For no key, or another than the environment's two: ProxyException, which becomes a 401."""
    if _is(api_key, "STREAMBENCH_TEST_KEY"):
        return UserAPIKeyAuth(api_key=api_key)
    if _is(api_key, "STREAMBENCH_TEST_LIMITED_KEY"):
        return UserAPIKeyAuth(api_key=api_key, rpm_limit=REQUESTS_PER_MINUTE)
    raise ProxyException(message="invalid API key", type="auth_error", param="api_key", code=401)


def _is(key: str | None, variable: str) -> bool:
    wanted = os.environ.get(variable, "")
    return bool(wanted) and secrets.compare_digest((key or "").encode(), wanted.encode())

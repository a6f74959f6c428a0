"""The proxy's check of a key: LiteLLM without a database answers 400 or 500 to a wrong one; real gateways say 401.

LiteLLM loads this file by the name that litellm.yaml gives.
"""

from __future__ import annotations

import os
import secrets

from fastapi import Request  # type: ignore[import-not-found]  # lives in .venv-real only
from litellm.proxy._types import ProxyException, UserAPIKeyAuth  # type: ignore[import-not-found]  # the same


async def check_key(request: Request, api_key: str | None) -> UserAPIKeyAuth:
    """The caller's rights. For no key, or another than the environment's: ProxyException, which becomes a 401."""
    if secrets.compare_digest((api_key or "").encode(), os.environ["STREAMBENCH_TEST_KEY"].encode()):
        return UserAPIKeyAuth(api_key=api_key)
    raise ProxyException(message="invalid API key", type="auth_error", param="api_key", code=401)

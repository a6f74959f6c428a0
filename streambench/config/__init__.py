"""From a YAML file, `--set` overrides and the environment to a frozen, checked Config.

On the way: the first step of every run. `load_config` names everything that is wrong at once, as ConfigError (or
SuiteError, where only the prompts are wrong), each problem with file, line, key, what was found and what is accepted.
"""

from streambench.config.credentials import variable_for
from streambench.config.json_schema import json_schema, json_schema_text
from streambench.config.load import load_config
from streambench.config.schema import (
    Breakers,
    Budget,
    Config,
    FailureShare,
    Gateway,
    GatewayLimits,
    Health,
    Limits,
    Load,
    Model,
    Price,
    Retry,
    Telemetry,
    Timeouts,
    Tls,
    Warmup,
)
from streambench.config.values import base_url as read_base_url
from streambench.config.values import is_glob, is_label

__all__ = [
    "Breakers",
    "Budget",
    "Config",
    "FailureShare",
    "Gateway",
    "GatewayLimits",
    "Health",
    "Limits",
    "Load",
    "Model",
    "Price",
    "Retry",
    "Telemetry",
    "Timeouts",
    "Tls",
    "Warmup",
    "is_glob",
    "is_label",
    "json_schema",
    "json_schema_text",
    "load_config",
    "read_base_url",
    "variable_for",
]

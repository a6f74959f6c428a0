"""Reads a YAML config file, `--set` overrides and environment variables into a frozen, validated Config.

`load.load_config` reports all problems together, as ConfigError (or SuiteError if only the prompts are wrong): each
with file, line, key, what was found and what is accepted.
"""

"""`streambench plan`: estimates the requests, tokens, cost and duration of a run before anything is sent."""

from __future__ import annotations

from pathlib import Path

import click

from streambench.cli.arguments import CONFIG, OVERRIDES, RUN


@click.command()
@click.argument("config_file", metavar="CONFIG", type=CONFIG)
@OVERRIDES
@click.option("--like", metavar="RESULTS", type=RUN, help="Estimate from the responses of this earlier run.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(config_file: Path, overrides: tuple[str, ...], like: Path | None, *, as_json: bool) -> int:
    """Estimate a run's requests, tokens, cost and time.

    No prompt is sent; only if CONFIG has globs, the gateways are asked for their model lists. Input tokens are
    estimated at four characters per token, and max_tokens bounds the output tokens. --like takes both, and the time,
    from the responses of an earlier run. Other values are unknown.
    """
    import json

    from streambench.analysis.run import load
    from streambench.api import steps
    from streambench.cli import output as out
    from streambench.config.load import load_config
    from streambench.report.forecast import plan_text
    from streambench.runner.forecast import forecast

    config = load_config(config_file, overrides)
    if any(model.picks or model.excludes for model in config.models):
        with steps.serving(config) as base_urls:
            config = steps.models_chosen(config, config_file, base_urls, out.to_stderr)
    found = forecast(config, steps.plan_of(config, config_file), load(like).records if like else ())
    out.say(json.dumps(found.to_plain(), indent=2) if as_json else plan_text(found))
    return 0

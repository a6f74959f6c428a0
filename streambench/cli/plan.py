"""`streambench plan`: what a run would send, take and cost, before anything is sent."""

from __future__ import annotations

from pathlib import Path

import click

from streambench.cli.places import CONFIG, OVERRIDES, RUN


@click.command()
@click.argument("config_file", metavar="CONFIG", type=CONFIG)
@OVERRIDES
@click.option("--like", metavar="RESULTS", type=RUN, help="Count as this earlier run did.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(config_file: Path, overrides: tuple[str, ...], like: Path | None, *, as_json: bool) -> int:
    """Tell what a run would take: requests, tokens, cost, time.

    No request is sent. Input is estimated at four characters a token, output is bounded by max_tokens; --like takes
    both, and the time, from the answers of an earlier run. What neither can tell is unknown. Of globs the gateway is
    asked for its list.
    """
    import json

    from streambench.cli import gate, session
    from streambench.config import load_config
    from streambench.forecast import forecast
    from streambench.report import plan_text
    from streambench.results import load

    config = load_config(config_file, overrides)
    if any(model.picks or model.excludes for model in config.models):
        with session.serving(config) as base_urls:
            config = session.discovered(config, config_file, base_urls, quiet=False)
    found = forecast(config, session.plan_of(config, config_file), load(like).records if like else ())
    gate.say(json.dumps(found.to_plain(), indent=2) if as_json else plan_text(found))
    return 0

"""`streambench plan`: what a run would send, take and cost, before anything is sent."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("config_file", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override any key; may be given often.")
@click.option("--like", metavar="RESULTS", type=click.Path(path_type=Path), help="Count as this earlier run did.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(config_file: Path, overrides: tuple[str, ...], like: Path | None, *, as_json: bool) -> int:
    """Print what running CONFIG would take: requests, tokens, cost, time. Nothing is sent.

    Input is estimated at four characters a token, output is bounded by max_tokens; --like takes both, and the time,
    from the answers of an earlier run. What neither can tell is unknown.
    """
    import json

    from streambench.cli import gate, session
    from streambench.config import load_config
    from streambench.forecast import forecast
    from streambench.report import plan_text
    from streambench.results import load

    config = load_config(config_file, overrides)
    found = forecast(config, session.plan_of(config, config_file), load(like).records if like else ())
    gate.say(json.dumps(found.to_plain(), indent=2) if as_json else plan_text(found))
    return 0

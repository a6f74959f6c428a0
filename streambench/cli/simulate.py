"""`streambench simulate`: runs the simulator alone, to test any client with known delays."""

from __future__ import annotations

import click


@click.command()
@click.argument("models", type=click.Path(exists=True, dir_okay=False))
@click.option("--port", default=8700, show_default=True, help="Port to listen on; 0 lets the system choose.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback address to listen on.")
@click.option("--seed", default=0, show_default=True, help="Seed of all delays, lengths and faults.")
@click.option("--truth", type=click.Path(dir_okay=False), help="File for the true time of every write, as JSON lines.")
def simulate(models: str, port: int, host: str, seed: int, truth: str | None) -> int:
    """Serve simulated models on an OpenAI-compatible API.

    It accepts connections from this machine only. MODELS is a YAML file such as configs/simulated/models.yaml. Stop it
    with Ctrl-C.
    """
    from streambench.simulator.command import main

    options = ["--models", models, "--port", str(port), "--host", host, "--seed", str(seed)]
    return main([*options, "--truth", truth] if truth else options)

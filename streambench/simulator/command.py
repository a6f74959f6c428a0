"""The simulator's own command line, kept apart from the others' so that it starts in a fraction of a second."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from streambench.errors import SimulatorError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the simulator until it is stopped. Returns the exit code: 0, or 2 for input that cannot be used."""
    from streambench.simulator.server import Options, serve

    options = Options(**vars(_parser().parse_args(argv)))
    try:
        serve(options, announce)
    except SimulatorError as exc:
        sys.stderr.write("".join(f"error: {line}\n" for line in str(exc).splitlines()))
        return exc.exit_code
    return 0


def announce(url: str) -> None:
    """The line that a parent waits for."""
    from streambench.simulator.server import READY

    sys.stdout.write(f"{READY}{url}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m streambench.simulator",
        description="An OpenAI-compatible gateway with seeded delays and faults, on this machine only.",
    )
    parser.add_argument("--models", type=Path, required=True, metavar="FILE", help="the simulated models, YAML")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="same seed, same delays (default 0)")
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="0, the default, lets the system choose")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="write the true time of each write there")
    parser.add_argument("--parent-pipe", action="store_true", help="exit when standard input ends")
    return parser

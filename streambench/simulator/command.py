"""The command line of the simulator process, separate from `streambench.cli` so that it starts in a fraction of a
second."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from streambench.errors import SimulatorError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the simulator until it is stopped. Returns the exit code: 0, or 2 after it printed a SimulatorError."""
    from streambench.simulator.server import Options, serve

    options = Options(**vars(_parser().parse_args(argv)))
    try:
        serve(options, announce)
    except SimulatorError as exc:
        sys.stderr.write("".join(f"error: {line}\n" for line in str(exc).splitlines()))
        return exc.exit_code
    return 0


def announce(url: str) -> None:
    """Prints the line `READY <url>`, which the parent process waits for."""
    from streambench.simulator.server import READY

    sys.stdout.write(f"{READY}{url}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m streambench.simulator",
        description="An OpenAI-compatible gateway with seeded delays and faults, on this machine only.",
    )
    parser.add_argument("--models", type=Path, required=True, metavar="FILE", help="YAML file of the simulated models")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of all delays, lengths and faults (default 0)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0, the default, lets the system choose")
    parser.add_argument(
        "--truth", type=Path, metavar="FILE", help="file for the true time of every write, as JSON lines"
    )
    parser.add_argument("--parent-pipe", action="store_true", help="exit when standard input ends")
    return parser

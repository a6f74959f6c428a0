"""Runs `command.main` for `python -m streambench.simulator`."""

from __future__ import annotations

import sys

from streambench.simulator.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

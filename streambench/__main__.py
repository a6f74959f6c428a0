"""`python -m streambench` is the `streambench` command."""

from __future__ import annotations

from streambench.cli.main import main

if __name__ == "__main__":
    main()

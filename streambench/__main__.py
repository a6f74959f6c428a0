"""`python -m streambench` is the `streambench` command."""

from __future__ import annotations

import os
import sys

from streambench.cli import INTERRUPTED, main

if __name__ == "__main__":
    try:
        main()
    except SystemExit as end:
        # With -m, Python forgets the code and ends by the signal where an interrupt came inside of an exec, as a
        # dataclass is made by.
        if end.code == INTERRUPTED:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        raise

"""The commands. Each parses, calls one function and prints; what it needs it imports inside itself.

So `streambench --help` loads nothing but click, and a command that reads results never loads the SDK.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from streambench import __version__
from streambench.cli.chat import chat
from streambench.cli.check import check
from streambench.cli.compare import compare
from streambench.cli.completion import completion
from streambench.cli.config import config
from streambench.cli.doctor import doctor
from streambench.cli.export import export
from streambench.cli.init import init
from streambench.cli.models import models
from streambench.cli.plan import plan
from streambench.cli.plot import plot
from streambench.cli.report import report
from streambench.cli.resume import resume
from streambench.cli.run import run
from streambench.cli.show import show
from streambench.cli.simulate import simulate
from streambench.cli.trend import trend
from streambench.errors import InputError, StreambenchError

INTERRUPTED = 3


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="streambench")
def commands() -> None:
    """Fair, true timings of many models' token streams behind an OpenAI-compatible gateway.

    Exit codes: 0 all is well; 1 a model had only failures, or an assertion failed; 2 bad input; 3 the run is
    incomplete; 4 an assertion cannot be decided, as the sample is too small.
    """


commands.add_command(init)
commands.add_command(run)
commands.add_command(models)
commands.add_command(doctor)
commands.add_command(plan)
commands.add_command(resume)
commands.add_command(compare)
commands.add_command(check)
commands.add_command(trend)
commands.add_command(show)
commands.add_command(report)
commands.add_command(plot)
commands.add_command(export)
commands.add_command(chat)
commands.add_command(simulate)
commands.add_command(config)
commands.add_command(completion)


def main() -> None:
    """The `streambench` command: errors of ours become lines on stderr and an exit code."""
    try:
        code = commands(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        _leave(INTERRUPTED)
    except InputError as error:
        for problem in error.problems:
            click.echo(f"error: {problem}", err=True)
        sys.exit(error.exit_code)
    except StreambenchError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def _leave(code: int) -> NoReturn:
    """At once. Where Ctrl-C fell into an `exec`, as the import of a dataclass does, Python would end by the signal
    although it was caught.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

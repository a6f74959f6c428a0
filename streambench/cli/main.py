"""The `streambench` command group, and how errors become exit codes."""

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


class _InOrder(click.Group):
    """Lists its commands in the order in which a new user needs them, not alphabetically."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's own signature
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="streambench")
def commands() -> None:
    """Measure and compare the token streams of many models behind OpenAI-compatible gateways.

    Exit codes: 0 all is well; 1 a model had only failures, or an assertion failed; 2 bad input; 3 the run is
    incomplete; 4 an assertion cannot be decided, as the sample is too small.
    """


for _command in (
    init,
    doctor,
    models,
    plan,
    run,
    resume,
    report,
    show,
    plot,
    compare,
    check,
    trend,
    export,
    chat,
    simulate,
    config,
    completion,
):
    commands.add_command(_command)


def main() -> None:
    """Runs the `streambench` command. Prints streambench's errors on stderr and exits with their exit code."""
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
    """Exits at once, without Python's shutdown.

    If Ctrl-C arrives during an `exec`, such as when a dataclass is imported, Python would end the process by the signal
    although the exception was caught.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

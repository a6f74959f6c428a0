"""`streambench completion`: prints the shell script that completes commands, options, config files and runs."""

from __future__ import annotations

import click

_VARIABLE = "_STREAMBENCH_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script for shell completion.

    It completes commands, options, config files and run folders.

    \b
    bash: streambench completion bash >> ~/.bashrc
    zsh:  streambench completion zsh >> ~/.zshrc
    fish: streambench completion fish > ~/.config/fish/completions/streambench.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"click does not support {shell}")
    # fills in the class's template directly, as click's class for bash would start bash to read its version
    name = "_streambench_completion"
    values = {"complete_func": name, "complete_var": _VARIABLE, "prog_name": "streambench"}
    click.echo(kind.source_template % values)

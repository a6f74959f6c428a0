"""`streambench completion`: what a shell needs to complete commands, options, config files and runs."""

from __future__ import annotations

import click

_VARIABLE = "_STREAMBENCH_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script by which your shell completes commands.

    Options, config files and the folders of runs too.

    \b
    bash: streambench completion bash >> ~/.bashrc
    zsh:  streambench completion zsh >> ~/.zshrc
    fish: streambench completion fish > ~/.config/fish/completions/streambench.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"{shell} is not known to click")
    # The source is a template: bash's own class would start bash to look at its version.
    name = "_streambench_completion"
    values = {"complete_func": name, "complete_var": _VARIABLE, "prog_name": "streambench"}
    click.echo(kind.source_template % values)

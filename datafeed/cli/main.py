"""The command ``datafeed``: a group whose subcommands are loaded when named."""

import signal
import sys
from importlib import import_module
from importlib.util import find_spec

import click
from click.exceptions import NoArgsIsHelpError

from datafeed._version import __version__
from datafeed.console import log

__all__ = ["main"]

_NAMES = ("stage", "inspect", "verify", "warm", "bench", "doctor", "cluster")


class _Lazy(click.Group):
    """Loads ``datafeed/cli/NAME.py`` when NAME is asked for: ``--help`` needs no torch or MPI."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in _NAMES if find_spec(f"datafeed.cli.{name}")]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(ctx):
            return None
        command: click.Command = import_module(f"datafeed.cli.{name}").command
        return command


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="datafeed")
def group() -> None:
    """Stage training data from Hadoop and feed it to MPI trainers."""


def main() -> None:
    """Run the command and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    signal.signal(signal.SIGTERM, _interrupt)  # ends what was started, as Ctrl-C does
    try:
        status = group.main(prog_name="datafeed", standalone_mode=False)
    except NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        log(f"datafeed: error: {_usage(error)}")
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("datafeed: interrupted; the same command goes on where it stopped", err=True)
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)


def _usage(error: click.ClickException) -> str:
    """One line of what click prints in four."""
    text = " ".join(error.format_message().split()).rstrip(".")
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    return f"{text}; see {ctx.command_path if ctx else 'datafeed'} --help"


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt

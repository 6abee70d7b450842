"""What all commands share: options from environment and file, output, exit status."""

import configparser
import json
import os
import traceback
from typing import Any

import click

from datafeed.errors import ConfigError, DatafeedError

__all__ = ["Command", "emit", "exit_status", "hdfs_client_option", "log"]

hdfs_client_option = click.option(
    "--hdfs-client", default="auto", show_default=True, help="native, pydoop, webhdfs."
)
"""By which client files in HDFS are read."""


class Command(click.Command):
    """A subcommand with ``--json``, ``--verbose`` and ``--config``.

    Every option also reads ``DATAFEED_<OPTION>`` from the environment, then ``[datafeed]`` of
    the file given by ``--config``; the command line comes first.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += [
            click.Option(["--json", "as_json"], is_flag=True, help="JSON lines on stdout."),
            click.Option(["--verbose"], is_flag=True, help="Tracebacks with errors."),
            click.Option(
                ["--config"],
                type=click.Path(dir_okay=False),
                is_eager=True,
                expose_value=False,
                callback=_load_config,
                help="INI file with a [datafeed] section.",
            ),
        ]
        for param in self.params:
            if isinstance(param, click.Option):
                param.envvar = "DATAFEED_" + _long_name(param).upper()

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; datafeed's and the system's errors become one line and the status."""
        verbose = ctx.params.pop("verbose")
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the flush at the end is silent, too
            ctx.exit(1)
        except (DatafeedError, OSError) as error:
            if verbose:
                traceback.print_exception(error)
            log(f"datafeed: error: {error}")
            ctx.exit(exit_status(error))


def exit_status(error: DatafeedError | OSError) -> int:
    """The status of a command that ends with this error."""
    return 2 if isinstance(error, ConfigError) else 1


def _long_name(param: click.Option) -> str:
    longest = max(param.opts, key=len)
    return longest.lstrip("-").replace("-", "_")


def _load_config(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    parser = configparser.ConfigParser(interpolation=None)
    try:
        found = parser.read(value, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        cause = str(error).splitlines()[0]
        raise click.BadParameter(f"{value}: no INI file ({cause})") from error
    if not found or "datafeed" not in parser:
        raise click.BadParameter(f"{value}: no such file, or no [datafeed] section in it")
    names = {_long_name(p): p.name for p in ctx.command.params if isinstance(p, click.Option)}
    settings = {key.replace("-", "_"): text for key, text in parser["datafeed"].items()}
    root = ctx.find_root()
    unknown = sorted(set(settings) - set(_all_options(root.command, root)))
    if unknown:
        raise click.BadParameter(f"{value}: unknown option {unknown[0]!r}; see --help")
    ctx.default_map = {str(names[key]): settings[key] for key in settings if key in names}


def _all_options(command: click.Command, ctx: click.Context) -> set[str]:
    """Long names of the options of a command and all below it: one file serves them all."""
    names = {_long_name(p) for p in command.params if isinstance(p, click.Option)}
    if isinstance(command, click.Group):
        found = (command.get_command(ctx, name) for name in command.list_commands(ctx))
        names.update(*(_all_options(sub, ctx) for sub in found if sub is not None))
    return names


def emit(result: dict[str, Any], as_json: bool) -> None:
    """Print a result on standard output: one JSON line, or ``name: value`` lines."""
    if as_json:
        click.echo(json.dumps(result))
        return
    for name, value in result.items():
        if value is not None:
            click.echo(f"{name.replace('_', ' ')}: {value}")


def log(text: str) -> None:
    """Print a log line on standard error."""
    click.echo(text, err=True)

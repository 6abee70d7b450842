"""The options that say how memcached servers let us in; shared by the commands that use them."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["access_options"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = {
    "--cache-password-file": "Its first line is user:password, as for memcached -Y.",
    "--cache-tls-ca": "PEM file of the servers' authority; turns TLS on.",
    "--cache-tls-cert": "PEM file of our own certificate, if the servers ask for one.",
    "--cache-tls-key": "PEM file of its key, unless it stands in the certificate's.",
}


def access_options(command: _Command) -> _Command:
    """Add the options. Their values go into the environment for as long as the command runs, so
    that what it starts is let in, too; each is the name of a file, never a secret."""
    for name, text in reversed(_OPTIONS.items()):
        option = click.option(
            name, type=click.Path(), help=text, expose_value=False, callback=_export
        )
        command = option(command)
    return command


def _export(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if not value:
        return
    name = f"DATAFEED_{str(param.name).upper()}"
    before = os.environ.get(name)
    os.environ[name] = os.path.abspath(value)  # whatever the tasks' working folders are
    ctx.call_on_close(lambda: _restore(name, before))


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value

"""The frame of a command that mpirun starts: an exception on one rank ends all ranks."""

import faulthandler
import signal
import sys
import traceback
from typing import Any

import click

from datafeed.console import Command
from datafeed.errors import ConfigError, DatafeedError
from trainers.run.stop_signal import Stopped
from trainers.world.world import connect

__all__ = ["RankCommand"]


class RankCommand(Command):
    """A command whose callback gets ``world``; with ``--json``, ``--verbose``, ``--timeout``.

    Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 143 stopped by SIGTERM.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        timeout = click.Option(
            ["--timeout"],
            type=click.FloatRange(min=0.1),
            default=600.0,
            show_default=True,
            help="Seconds to wait for other ranks before the run is given up.",
        )
        super().__init__(*args, **kwargs)
        self.params.append(timeout)

    def invoke(self, ctx: click.Context) -> Any:
        """Join the ranks and run the callback."""
        verbose, timeout_s = ctx.params.pop("verbose"), ctx.params.pop("timeout")
        if not faulthandler.is_enabled():  # a crash in C tells its stack
            faulthandler.enable()
        world = None
        try:
            world = connect(timeout_s)
            ctx.params["world"] = world
            click.Command.invoke(self, ctx)
        except (Exception, KeyboardInterrupt) as error:
            who = "trainer" if world is None or world.size == 1 else f"rank {world.rank}"
            status = _explain(error, who, verbose)
            if world is not None and world.size > 1 and not isinstance(error, Stopped):
                world.abort(status)  # all ranks stop together by themselves
            ctx.exit(status)
        world.close()


def _explain(error: BaseException, who: str, verbose: bool) -> int:
    """Print an error, the line that names it last; give the exit status."""
    sys.stdout.flush()
    if isinstance(error, KeyboardInterrupt):
        print(f"{who}: interrupted; run again with --resume", file=sys.stderr, flush=True)
        return 130
    if isinstance(error, Stopped):
        print(f"{who}: {error}; run again with --resume", file=sys.stderr, flush=True)
        return 128 + signal.SIGTERM
    if verbose or not isinstance(error, DatafeedError):
        traceback.print_exception(error)
    print(f"{who}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    return 2 if isinstance(error, ConfigError) else 1

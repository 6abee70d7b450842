"""Another process that works for a benchmark, and prints what it found."""

import subprocess
from collections.abc import Mapping, Sequence

from datafeed.errors import TrainerError

__all__ = ["output_of"]


def output_of(
    command: Sequence[str], what: str, limit_s: float, env: Mapping[str, str] | None = None
) -> str:
    """Run a command to its end; give what it printed.

    Args:
        command: Its words.
        what: Name for messages.
        limit_s: Seconds until it is ended.
        env: All of its variables; None: this process's own.

    Raises:
        TrainerError: it failed or took too long; its own words are on standard error.
    """
    try:
        done = subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            timeout=limit_s,
        )
    except subprocess.TimeoutExpired as error:
        raise TrainerError(f"{what} did not end in {limit_s:g} s") from error
    if done.returncode:
        raise TrainerError(f"{what} ended with status {done.returncode}; see what it said")
    return done.stdout

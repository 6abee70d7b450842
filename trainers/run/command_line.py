"""The options that all trainers share on the command line, with TrainOptions' own defaults."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from trainers.run.options import TrainOptions

__all__ = ["run_options"]

F = TypeVar("F", bound=Callable[..., Any])

_FOLDER = click.Path(file_okay=False, path_type=Path)

_OPTIONS: dict[str, dict[str, Any]] = {
    "--feed": {"required": True, "help": "Feed to train on."},
    "--test-feed": {"help": "Feed to measure accuracy on, after every epoch."},
    "--cache": {"help": "memcached servers, host:port,... or unix:/path."},
    "--epochs": {"type": int, "help": "Passes over the feed, in all."},
    "--global-batch": {"type": int, "help": "Samples of a step over all ranks."},
    "--lr": {"type": float, "help": "Highest learning rate."},
    "--lr-batch": {"type": int, "help": "Batch --lr was found for: scale it to --global-batch."},
    "--warm-up": {"type": float, "help": "Part of the run in which the rate rises."},
    "--clip": {"type": float, "help": "Highest global norm of the gradients."},
    "--seed": {"type": int, "help": "Of the order of samples and of the first parameters."},
    "--checkpoint": {"type": _FOLDER, "help": "Folder of checkpoints."},
    "--checkpoint-every": {"type": int, "help": "Steps; 0: only after every epoch."},
    "--keep-checkpoints": {"type": int, "help": "Newest checkpoints that stay."},
    "--resume": {"is_flag": True, "help": "Go on from the newest checkpoint, if there is one."},
    "--device": {"type": click.Choice(["cpu", "cuda"])},
    "--precision": {"type": click.Choice(["fp32", "bf16"])},
    "--metrics": {"type": _FOLDER, "help": "Folder for JSON lines and a picture of the run."},
    "--sample-log": {"type": _FOLDER, "help": "Folder for lists of each rank's samples."},
    "--streams": {"type": int, "help": "Streams of the order, at least one for each rank."},
    "--memory-bytes": {"type": int, "help": "Memory of each rank's loader."},
    "--window-bytes": {"type": int, "help": "Memory of each node to share the feed in."},
}


def run_options(function: F) -> F:
    """Return a command's callback the fields of TrainOptions as keyword arguments."""
    for flag, settings in reversed(_OPTIONS.items()):
        field = TrainOptions.__dataclass_fields__[flag.removeprefix("--").replace("-", "_")]
        if not settings.get("required"):
            settings = {"default": field.default, "show_default": True, **settings}
        function = click.option(flag, **settings)(function)
    return function

"""What a ``GradientAverager`` can be asked for, and what it cannot average."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import nn

from datafeed.arguments import checked_count
from datafeed.errors import ConfigError, TrainerError
from trainers.gradients.overlap import Mode
from trainers.world.half_precision import HALF_PRECISION

__all__ = ["Buffers", "check_options", "checked_samples", "refuse_unsummable"]

Buffers = Literal["broadcast", "own"]
_SUMMED = (torch.float32, torch.float64, *HALF_PRECISION)


def check_options(overlap: Mode, buffers: Buffers, lengths: Mapping[str, int]) -> None:
    """Raise ConfigError unless options are among their choices, and lengths 1 or more."""
    _check("overlap", overlap, get_args(Mode))
    _check("buffers", buffers, get_args(Buffers))
    for name, n_bytes in lengths.items():
        checked_count(name, n_bytes)


def _check(name: str, value: Any, modes: tuple[str, ...]) -> None:
    if value not in modes:
        raise ConfigError(f"{name}={value!r}: give one of {', '.join(map(repr, modes))}")


def checked_samples(n_samples_local: int) -> int:
    """Return a rank's number of samples, or raise ConfigError where it is none."""
    return checked_count("n_samples_local", n_samples_local, least=0)


def refuse_unsummable(named: Iterable[tuple[str, nn.Parameter]]) -> None:
    """Raise TrainerError for parameters whose gradients would be of a type without a sum."""
    for name, parameter in named:
        if parameter.dtype not in _SUMMED:
            raise TrainerError(
                f"parameter {name!r} is {parameter.dtype}, whose gradients cannot be summed; "
                "keep parameters in float32, float64, bfloat16 or float16"
            )

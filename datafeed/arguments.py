"""Arguments of calls, checked where they come in, so that an error names the argument."""

from numbers import Real
from operator import index
from typing import Any

import numpy as np

from datafeed.errors import ConfigError

__all__ = ["checked_count", "checked_integer", "checked_seconds", "checked_share", "checked_switch"]

_MOST = (1 << 62) - 1
"""Sums of two counts still fit into 64 bits."""
_LONGEST_S = 1e9
"""30 years; Python's locks take no longer times than 292."""


def checked_integer(name: str, value: Any) -> int:
    """Return an argument as int, or raise ConfigError by its name."""
    try:
        if isinstance(value, bool):
            raise TypeError("True and False are no counts")
        return index(value)
    except TypeError as error:
        raise ConfigError(f"{name}={value!r}: give an integer") from error


def checked_share(name: str, value: Any) -> float:
    """Return a number from 0 to 1, or raise ConfigError by the argument's name."""
    if not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise ConfigError(f"{name}={value!r}: give 0 to 1")
    return float(value)


def checked_switch(name: str, value: Any) -> bool:
    """Return an argument as bool, or raise ConfigError by its name."""
    if isinstance(value, (bool, int, np.bool_)) and value in (0, 1):
        return bool(value)
    raise ConfigError(f"{name}={value!r}: give True or False")


def checked_count(name: str, value: Any, least: int = 1) -> int:
    """Return an argument of ``least`` or more as int, or raise ConfigError by its name."""
    count = checked_integer(name, value)
    if count < least:
        raise ConfigError(f"{name}={count}: give {least} or more")
    if count > _MOST:
        raise ConfigError(f"{name}={count}: give less than 2**62")
    return count


def checked_seconds(name: str, value: Any) -> float:
    """Return a number above 0, or raise ConfigError by the argument's name."""
    if not isinstance(value, Real) or not 0 < float(value) <= _LONGEST_S:
        raise ConfigError(f"{name}={value!r}: give seconds, more than 0 and at most 1e9")
    return float(value)

"""The options of a loader over a feed, checked when made."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from datafeed.arguments import (
    checked_count,
    checked_integer,
    checked_seconds,
    checked_switch,
)
from datafeed.errors import ConfigError
from datafeed.loading.order.base_order import Shuffle
from datafeed.loading.torch_compat import translate
from datafeed.loading.transforms.transforms import BatchTransform, SampleTransform, TransformIn

__all__ = ["LoaderOptions"]

_N_THREADS = 2
_COUNTS = ("batch_size", "global_batch_size", "memory_bytes", "streams", "window")
_SWITCHES = ("drop_last", "pin_memory", "with_index")
_FUNCTIONS = {
    "sample_transform": ("sample", "generator"),
    "batch_transform": ("batch", "generator"),
    "collate_fn": ("samples",),
}
"""What each is called with."""


@dataclass(frozen=True, kw_only=True)
class LoaderOptions:
    """What the user asks of a loader over a feed; see ``DataLoader``.

    Raises:
        ConfigError: options contradict each other or are out of range.
    """

    batch_size: int | None = None
    global_batch_size: int | None = None
    shuffle: Shuffle | None = None
    seed: int = 0
    drop_last: bool = False
    comm: Any = None
    rank: int | None = None
    world_size: int | None = None
    sample_transform: SampleTransform | None = None
    batch_transform: BatchTransform | None = None
    collate_fn: Callable[[list[Any]], Any] | None = None
    memory_bytes: int = 512 << 20
    pin_memory: bool = False
    device: Any = None
    streams: int | None = None
    window: int | None = None
    timeout_s: float = 60.0
    with_index: bool = False
    num_workers: int = 0
    transform_in: TransformIn = "threads"
    epoch_from: Any = None
    """A sampler whose ``epoch`` is followed."""

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.global_batch_size is not None:
            raise ConfigError(
                f"batch_size={self.batch_size} (of each rank) and "
                f"global_batch_size={self.global_batch_size}: give one of them"
            )
        defaults = {entry.name: entry.default for entry in fields(self)}
        for name in _COUNTS:
            if getattr(self, name) is not None or defaults[name] is not None:
                checked_count(name, getattr(self, name))
        if checked_integer("num_workers", self.num_workers) < 0:
            raise ConfigError(f"num_workers={self.num_workers}: give threads for sample_transform")
        checked_integer("seed", self.seed)
        checked_seconds("timeout_s", self.timeout_s)
        for name in _SWITCHES:
            object.__setattr__(self, name, checked_switch(name, getattr(self, name)))
        for name, arguments in _FUNCTIONS.items():
            if getattr(self, name) is not None:
                _check_function(name, getattr(self, name), arguments)
        if self.transform_in not in ("threads", "processes"):
            raise ConfigError(f"transform_in={self.transform_in!r}: give 'threads' or 'processes'")

    def global_batch(self, world_size: int) -> int:
        """Samples of a step over all ranks; without any size one for each rank, as in torch."""
        return self.global_batch_size or (self.batch_size or 1) * world_size

    @property
    def n_workers(self) -> int:
        """Threads or processes for ``sample_transform``."""
        return self.num_workers or _N_THREADS

    def given(self) -> dict[str, Any]:
        """Return the options that are not at their defaults."""
        values = {entry.name: (getattr(self, entry.name), entry.default) for entry in fields(self)}
        return {name: value for name, (value, default) in values.items() if value is not default}

    @classmethod
    def parse(
        cls, args: Sequence[Any], options: Mapping[str, Any], n_samples: int
    ) -> "LoaderOptions":
        """Read the arguments of ``DataLoader(feed, *args, **options)``.

        Args:
            args, options: As given.
            n_samples: Of the feed.

        Raises:
            ConfigError: an option is unknown or has no meaning for a feed.
        """
        found = translate(args, options, n_samples)
        unknown = sorted(found.keys() - {entry.name for entry in fields(cls)})
        if unknown:
            name = unknown[0]
            raise ConfigError(f"{name}={found[name]!r}: DataLoader has no such option")
        return cls(**found)


def _check_function(name: str, function: Any, arguments: Sequence[str]) -> None:
    """See that a function can be called; those of torchvision take one argument, for example."""
    if not callable(function):
        raise ConfigError(f"{name}={function!r}: give a function")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some written in C tell none
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        wanted = f"f({', '.join(arguments)})"
        raise ConfigError(
            f"{name}={function!r}: is called as {wanted}, but takes {signature}; wrap it by a "
            "function that does"
        ) from error

"""The options of a loader over a feed, checked when made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from datafeed.arguments import checked_count, checked_integer, checked_seconds
from datafeed.errors import ConfigError
from datafeed.loading.steps import Shuffle
from datafeed.loading.torch_arguments import translate
from datafeed.loading.transforms import BatchTransform, SampleTransform, TransformIn

__all__ = ["LoaderOptions"]

_N_THREADS = 2
_COUNTS = ("batch_size", "global_batch_size", "memory_bytes", "streams", "window")
_SWITCHES = ("drop_last", "with_index")
_FUNCTIONS = ("sample_transform", "batch_transform", "collate_fn")


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
        for name in _COUNTS:
            if getattr(self, name) is not None:
                checked_count(name, getattr(self, name))
        if checked_integer("num_workers", self.num_workers) < 0:
            raise ConfigError(f"num_workers={self.num_workers}: give threads for sample_transform")
        checked_integer("seed", self.seed)
        checked_seconds("timeout_s", self.timeout_s)
        for name in _SWITCHES:
            if getattr(self, name) not in (True, False):
                raise ConfigError(f"{name}={getattr(self, name)!r}: give True or False")
        for name in _FUNCTIONS:
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                raise ConfigError(f"{name}={getattr(self, name)!r}: give a function")
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
        """Give the options that are not at their defaults."""
        values = {entry.name: (getattr(self, entry.name), entry.default) for entry in fields(self)}
        return {name: value for name, (value, default) in values.items() if value is not default}

    @classmethod
    def parse(cls, args: Sequence[Any], options: Mapping[str, Any]) -> "LoaderOptions":
        """Read the arguments of ``DataLoader(feed, *args, **options)``.

        Raises:
            ConfigError: an option is unknown or has no meaning for a feed.
        """
        found = translate(args, options)
        unknown = sorted(found.keys() - {entry.name for entry in fields(cls)})
        if unknown:
            name = unknown[0]
            raise ConfigError(f"{name}={found[name]!r}: DataLoader has no such option")
        return cls(**found)

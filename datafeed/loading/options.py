"""The options of a loader over a feed, checked when made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from datafeed.errors import ConfigError
from datafeed.loading.order import Shuffle
from datafeed.loading.transforms import BatchTransform, SampleTransform, TransformIn

__all__ = ["LoaderOptions"]

# Arguments of torch's DataLoader that mean nothing here: their default, and what to use instead.
_TORCH_ONLY: dict[str, tuple[Any, str]] = {
    "sampler": (None, "shuffle="),
    "batch_sampler": (None, "batch_size= and shuffle="),
    "collate_fn": (None, "batch_transform="),
    "timeout": (0, "timeout_s="),
    "worker_init_fn": (None, "nothing: there are no worker processes"),
    "multiprocessing_context": (None, "nothing: there are no worker processes"),
    "generator": (None, "seed="),
    "prefetch_factor": (None, "memory_bytes="),
    "persistent_workers": (False, "nothing: threads live as long as the loader"),
    "pin_memory_device": ("", "device="),
    "in_order": (True, "nothing: batches always come in order"),
}
_POSITIONAL = ("batch_size", "shuffle")
_N_THREADS = 2


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
    memory_bytes: int = 512 << 20
    pin_memory: bool = False
    device: Any = None
    streams: int | None = None
    window: int = 4
    timeout_s: float = 60.0
    with_index: bool = False
    num_workers: int = 0
    transform_in: TransformIn = "threads"

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.global_batch_size is not None:
            raise ConfigError(
                f"batch_size={self.batch_size} (of each rank) and "
                f"global_batch_size={self.global_batch_size}: give one of them"
            )
        for name in ("batch_size", "global_batch_size", "memory_bytes", "timeout_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name}={value}: give more than 0")
        if self.num_workers < 0:
            raise ConfigError(f"num_workers={self.num_workers}: give threads for sample_transform")

        if self.transform_in not in ("threads", "processes"):
            raise ConfigError(f"transform_in={self.transform_in!r}: give 'threads' or 'processes'")

    def global_batch(self, world_size: int) -> int:
        """Samples of a step over all ranks; without any size one for each rank, as in torch."""
        return self.global_batch_size or (self.batch_size or 1) * world_size

    @property
    def n_workers(self) -> int:
        """Threads or processes for ``sample_transform``."""
        return self.num_workers or _N_THREADS

    @classmethod
    def parse(cls, args: Sequence[Any], options: Mapping[str, Any]) -> "LoaderOptions":
        """Read the arguments of ``DataLoader(feed, *args, **options)``.

        Raises:
            ConfigError: an option is unknown or has no meaning for a feed.
        """
        if len(args) > len(_POSITIONAL):
            raise ConfigError(f"give all arguments behind {_POSITIONAL[-1]} by name")
        given = {**dict(zip(_POSITIONAL, args, strict=False)), **options}
        known = {entry.name for entry in fields(cls)}
        for name in sorted(given.keys() - known):
            _refuse(name, given[name])
        return cls(**{name: value for name, value in given.items() if name in known})


def _refuse(name: str, value: Any) -> None:
    """Let torch's defaults pass; raise for all else."""
    if name not in _TORCH_ONLY:
        raise ConfigError(f"{name}={value!r}: DataLoader has no such option")
    default, instead = _TORCH_ONLY[name]
    if value != default:
        raise ConfigError(f"{name}={value!r} means nothing for a feed; use {instead}")

"""``datafeed.DataLoader``: torch's loader, with a fast path for feeds."""

from collections.abc import Mapping
from os import PathLike
from types import GenericAlias, TracebackType
from typing import TYPE_CHECKING, Any

import torch.utils.data

from datafeed.errors import ConfigError
from datafeed.loading.datasets import is_fast
from datafeed.loading.feed_loader import FeedLoader

if TYPE_CHECKING:
    from datafeed.loading.telemetry.trace import TraceFile

__all__ = ["DataLoader"]


class DataLoader(torch.utils.data.DataLoader[Any]):
    """Gives batches of a feed; over any other dataset it is ``torch.utils.data.DataLoader``.

    ``DataLoader(other_dataset, ...)`` passes all arguments to torch untouched. Over a feed:

    Args:
        dataset: A feed, a selection or split of one, or a blend. Batches are dicts of tensors,
            first axis the sample; of a tuple view lists. A ragged field is a list of tensors, of
            ``str`` or of ``bytes``.
        batch_size: Samples of each rank and step. Default: 1, as in torch.
        shuffle: True shuffles in windows; ``"global"`` is the uniform permutation, read sample
            by sample where the feed is larger than ``memory_bytes``; False is feed order.
            Default: True.
        global_batch_size: Samples of a step over all ranks, instead of ``batch_size``. It fixes
            the order for any number of ranks.
        seed: Key of the order and of the transforms' generators. Default: 0.
        drop_last: Leave out the last, smaller batch. Default: False.
        comm: mpi4py communicator; or ``rank`` and ``world_size``; else ``torch.distributed`` if
            it is initialised by the time of the first batch; else one rank.
        sample_transform: ``f(sample, generator)``, in threads; its results are collated as by
            ``torch.utils.data.default_collate``. The ``numpy.random.Generator`` is keyed by
            seed, epoch and sample: draws are the same for any number of ranks.
        batch_transform: ``f(batch, generator)``, keyed by seed, epoch and step: the same draws on
            all ranks.
        collate_fn: ``f(samples)``, for torch's sake: makes a batch of a list of samples, in
            Python, sample by sample. A ``batch_transform`` is much faster.
        memory_bytes: Memory for chunks in bytes; batches come on top. Default: 512 MiB.
        pin_memory: Give batches in page-locked memory (nothing without a GPU). Default: False.
        device: Give batches on this device. Default: the CPU.
        streams, window: Of the order, see ``Order``. Defaults: by the feed's size.
        timeout_s: Seconds until a wait in which nothing moves becomes StallError. Default: 60.
        with_index: Add the feed positions, int64, as ``index``. Default: False.
        num_workers: Threads or processes for ``sample_transform``. Default: 2.
        transform_in: ``"threads"``, for code that lets go of the GIL, as numpy, torch and Pillow
            do; or ``"processes"``: spawned ones, for code in Python. The function must then be
            importable (no lambda), and a script needs ``if __name__ == "__main__":``.
            Default: ``"threads"``.

    docs/loader.md tells what becomes of torch's other arguments.

    Iterating runs one epoch: it begins at the loaded step, or at step 0; after a whole epoch the
    next one follows. Leaving an epoch early changes nothing: iterating again begins it again; to
    go on in its middle, give ``state_dict()`` to ``load_state_dict``. A loader has one iteration
    at a time. A batch stays valid for as long as anybody holds it, and up to 16 MiB with it, as
    small batches share buffers: of those kept for long, keep ``clone()``.

    Raises:
        ConfigError: arguments contradict each other, the feed or the memory.

    Example:
        >>> with datafeed.DataLoader(feed, batch_size=8, seed=1) as loader:
        ...     batch = next(iter(loader))
        ...     len(loader), batch["image"].shape, batch["label"].dtype
        (5, torch.Size([8, 4, 3]), torch.int64)
    """

    def __new__(cls, dataset: Any = None, *args: Any, **options: Any) -> "DataLoader":
        """Make torch's own loader, or one with what only feeds have; a copy names no data set."""
        if isinstance(dataset, (str, PathLike)):
            raise ConfigError(f"DataLoader({str(dataset)!r}): give datafeed.open({str(dataset)!r})")
        if not is_fast(dataset) or issubclass(cls, FeedLoader):
            return super().__new__(cls)
        if cls is DataLoader:
            return super().__new__(_FeedDataLoader)
        return super().__new__(type(cls.__name__, (cls, _FeedDataLoader), {}))

    def __class_getitem__(cls, item: Any) -> GenericAlias:
        """Let ``DataLoader[Any]`` stand in annotations, as those of torch's loader do."""
        return GenericAlias(cls, item)

    if TYPE_CHECKING:  # only loaders over feeds have these: see FeedLoader

        def set_epoch(self, epoch: int) -> None: ...
        def state_dict(self) -> dict[str, Any]: ...
        def load_state_dict(self, state: Mapping[str, Any]) -> None: ...
        def stats(self) -> dict[str, Any]: ...
        def trace(self, path: str | PathLike[str]) -> TraceFile: ...
        def metrics(self) -> str: ...

    def close(self) -> None:
        """End the threads and let go of memory and connections; twice is fine."""

    def __enter__(self) -> "DataLoader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()


class _FeedDataLoader(FeedLoader, DataLoader):
    """What ``DataLoader(feed)`` makes: a loader over a feed that is a ``DataLoader``, too."""


_FeedDataLoader.__name__ = _FeedDataLoader.__qualname__ = "FeedLoader"

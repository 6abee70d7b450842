"""``datafeed.DataLoader``: torch's loader, with a fast path for feeds."""

import os
import weakref
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, cast

import torch.utils.data

from datafeed.errors import ConfigError
from datafeed.loading.datasets import id_of, is_fast, order_of, readable_of
from datafeed.loading.metrics import metrics_text
from datafeed.loading.options import LoaderOptions
from datafeed.loading.pipeline import Pipeline
from datafeed.loading.ranks import find_rank
from datafeed.loading.reader import Reader
from datafeed.loading.state import make_state, read_state
from datafeed.loading.trace import TraceFile

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
            it is initialised; else one rank.
        sample_transform: ``f(sample, generator)``, in threads; its results are collated as by
            ``torch.utils.data.default_collate``. The ``numpy.random.Generator`` is keyed by
            seed, epoch and sample: draws are the same for any number of ranks.
        batch_transform: ``f(batch, generator)``, keyed by seed, epoch and step: the same draws on
            all ranks.
        memory_bytes: Memory for chunks in bytes; batches come on top. Default: 512 MiB.
        pin_memory: Give batches in page-locked memory (nothing without a GPU). Default: False.
        device: Give batches on this device. Default: the CPU.
        streams, window: Of the order, see ``Order``. Defaults: by the feed's size; 4.
        timeout_s: Seconds until a wait in which nothing moves becomes StallError. Default: 60.
        with_index: Add the feed positions, int64, as ``index``. Default: False.
        num_workers: Threads for ``sample_transform``; there are no worker processes. Default: 2.

    Iterating runs one epoch: it begins at the loaded step, or at step 0; after a whole epoch the
    next one follows. Leaving an epoch early changes nothing: iterating again begins it again; to
    go on in its middle, give ``state_dict()`` to ``load_state_dict``. A loader has one iteration
    at a time. A batch stays valid for as long as anybody holds it.

    Raises:
        ConfigError: arguments contradict each other, the feed or the memory.
    """

    _reader: Reader | None = None

    def __init__(self, dataset: Any, *args: Any, **options: Any) -> None:
        if not is_fast(dataset):
            super().__init__(dataset, *args, **options)
            return
        asked = LoaderOptions.parse(args, options)
        rank, world_size = find_rank(asked.comm, asked.rank, asked.world_size)
        order = order_of(dataset, asked, world_size)
        order.check_rank(rank, world_size)
        share = -(-order.global_batch // world_size)
        super().__init__(cast(Any, dataset), batch_size=share, drop_last=asked.drop_last)
        self._order, self._feed_id = order, id_of(dataset)
        self._epoch = self._start = self._step = 0
        self._iteration, self._rank = 0, rank
        self._pid = os.getpid()
        self._reader = Reader(readable_of(dataset), order, rank, world_size, asked)
        self._closer = weakref.finalize(self, _close, self._reader, self._pid)

    def __len__(self) -> int:
        """Steps of an epoch, the same on all ranks."""
        return super().__len__() if self._reader is None else self._order.steps

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Run one epoch from where the loader stands."""
        if self._reader is None:
            return super().__iter__()
        self._check_process()
        self._iteration = iteration = self._iteration + 1
        if self._is_spent():
            self._set_place(self._epoch + 1, 0)
        self._step = self._start
        if self._start >= self._order.steps:
            self._set_place(self._epoch + 1, 0)
            return iter(())
        pipeline = self._reader.start(self._epoch, self._start)
        return self._epoch_of(self._reader, pipeline, self._start, iteration)

    def _epoch_of(
        self, reader: Reader, pipeline: Pipeline, start: int, iteration: int
    ) -> Iterator[Any]:
        is_whole = False
        try:
            for _ in range(start, self._order.steps):
                self._check_process()
                reader.check_open()
                if iteration != self._iteration:
                    raise ConfigError(
                        "this iteration ended when its loader began another one or was sent to "
                        "another place; make a second loader to have both"
                    )
                batch = reader.read(pipeline)
                self._step += 1
                yield batch
            is_whole = True
        finally:
            if not is_whole and iteration == self._iteration and os.getpid() == self._pid:
                reader.stop()
        if iteration == self._iteration:
            self._set_place(self._epoch + 1, 0)

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration run this epoch; a step loaded for the same epoch stays."""
        self._feed_reader()
        if epoch != self._epoch or self._is_spent():
            self._iteration += 1
            self._set_place(epoch, 0)

    def _is_spent(self) -> bool:
        """Whether the last iteration gave all its batches, though it was not asked for more."""
        return self._start < self._order.steps == self._step

    def _set_place(self, epoch: int, step: int) -> None:
        self._epoch, self._start, self._step = epoch, step, step

    def state_dict(self) -> dict[str, Any]:
        """Tell which batch comes next, counting those handed out: a small JSON-able dict."""
        self._feed_reader()
        return make_state(self._feed_id, self._order, self._epoch, self._step)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a place; any number of ranks may load what any other number saved.

        Raises:
            ConfigError: the state belongs to another feed or order; both values are named.
        """
        self._feed_reader()
        place = read_state(state, self._feed_id, self._order)
        self._iteration += 1
        self._set_place(*place)

    def stats(self) -> dict[str, Any]:
        """Count what happened so far.

        Returns:
            ``batches``, ``samples``, ``bytes`` handed out; ``wait_s`` that the user waited;
            ``wait_by_cause_s``: of that, for the parts' files (source), for tiers before them
            (cache), gather, decode (of text and bytes), transform, transfer, other;
            ``wait_percentiles_s`` of the last 4,096 waits: p50, p90, p99, max; ``ready``: share of
            batches that lay ready when asked for; chunks ``fetched``, ``refetched``; arena
            ``slots`` and ``resident`` chunks; ``tiers``: name to hits, misses, timeouts, down,
            corrupt (in chunks) and bytes.
        """
        return self._feed_reader().stats()

    def trace(self, path: str | os.PathLike[str]) -> TraceFile:
        """Write down what each thread does, from now on, for ``chrome://tracing`` and Perfetto.

        Args:
            path: Of the JSON file, overwritten.

        Returns:
            A context manager that ends the file; ``close()`` of the loader does so too.
        """
        activity = self._feed_reader().counts.activity
        if activity.trace is not None:
            activity.trace.close()
        activity.trace = TraceFile(path, f"datafeed rank {self._rank}")
        return activity.trace

    def metrics(self) -> str:
        """Give ``stats()`` as text for Prometheus, labelled with the rank."""
        return metrics_text(self.stats(), {"rank": str(self._rank)})

    def _feed_reader(self) -> Reader:
        if self._reader is None:
            raise ConfigError(f"{type(self.dataset).__name__} is no feed: only feeds have this")
        return self._reader

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise ConfigError(
                f"this loader belongs to process {self._pid}; make one in process {os.getpid()}"
            )

    def close(self) -> None:
        """End the threads and let go of memory and connections; twice is fine."""
        if self._reader is not None:
            self._iteration += 1
            self._closer()

    def __enter__(self) -> "DataLoader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()


def _close(reader: Reader, pid: int) -> None:
    if os.getpid() == pid:  # a forked child has no threads to end, and locks that nobody frees
        reader.close()

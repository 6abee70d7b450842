"""The inner loader over a feed: owns memory, tiers and threads, and knows nothing of its user.

The public ``DataLoader`` is a thin object over it, so that dropping the loader ends the threads
although they hold all of this.
"""

import concurrent.futures
import time
from threading import RLock
from typing import Any

import torch

from datafeed.dataset.protocols import Readable
from datafeed.errors import ConfigError, StallError
from datafeed.loading.chunks.residency import LoadRequest, choose_chunk_source
from datafeed.loading.options import LoaderOptions
from datafeed.loading.order.base_order import BaseOrder
from datafeed.loading.pipeline import Pipeline
from datafeed.loading.telemetry.stats import LoaderCounts
from datafeed.loading.threads.queues import BatchQueues
from datafeed.loading.transforms.collate import check_dtypes, map_tensors
from datafeed.loading.transforms.cuda import CudaCopies
from datafeed.loading.transforms.transforms import Transforms

__all__ = ["Reader"]

_MEMORY_FACTOR = 4  # uint8 that becomes float32


class Reader:
    """Reads batches of a feed in its order.

    Args:
        feed: The feed or a tuple view of it.
        order: Which samples stand where.
        rank, world_size: Whose share.
        options: As the user gave them.
    """

    def __init__(
        self, feed: Readable, order: BaseOrder, rank: int, world_size: int, options: LoaderOptions
    ) -> None:
        self._feed, self._order, self._options = feed, order, options
        if options.with_index and "index" in feed.fields:
            raise ConfigError("with_index=True: the feed has a field 'index' of its own")
        check_dtypes(feed.manifest.schema)
        self.counts = LoaderCounts()
        self._pipeline: Pipeline | None = None
        self._next = (-1, -1)
        self._is_closed = False
        self._lock = RLock()  # one thread may close while another begins
        self._copies = _copies(options.device)
        self._is_pinned = _may_pin(options.pin_memory or self._copies is not None)
        self._transforms = Transforms(
            feed,
            seed=order.seed,
            with_index=options.with_index,
            sample_transform=options.sample_transform,
            batch_transform=options.batch_transform,
            collate_fn=options.collate_fn,
            n_workers=options.n_workers,
            where=options.transform_in,
            to_device=self._to_device if self._is_pinned or self._copies else None,
            activity=self.counts.activity,
        )
        self._request = LoadRequest(
            feed=feed,
            order=order,
            rank=rank,
            world_size=world_size,
            names=list(feed.tuple_fields or feed.fields),
            memory_bytes=options.memory_bytes,
            timeout_s=options.timeout_s,
            is_pinned=self._is_pinned,
            n_transformers=options.n_workers
            if options.sample_transform or options.collate_fn
            else 0,
            memory_factor=1 if options.batch_transform is None else _MEMORY_FACTOR,
        )
        try:
            self._chunk_source = choose_chunk_source(self._request, self.counts)
        except BaseException:
            self._transforms.close()
            raise

    def _to_device(self, batch: Any) -> Any:
        """The last thing done to a batch in the background."""
        if self._is_pinned:
            batch = map_tensors(lambda t: t if t.is_pinned() else t.pin_memory(), batch)
        return batch if self._copies is None else self._copies.send(batch)

    def start(self, epoch: int, step: int) -> Pipeline:
        """Begin at a place, or go on if the threads are there already.

        Returns:
            The pipeline, to be asked for that batch next.
        """
        with self._lock:
            self.check_open()
            self._feed.check_open()
            pipeline = self._pipeline
            if pipeline is None or pipeline.queues.is_closed or self._next != (epoch, step):
                self.stop()
                pipeline = self._pipeline = self._begin(epoch, step)
                self._next = (epoch, step)
            return pipeline

    def check_open(self) -> None:
        """Raise ConfigError once it is closed."""
        if self._is_closed:
            raise ConfigError("this loader is closed; make a new one")

    def _begin(self, epoch: int, step: int) -> Pipeline:
        chunk_source, depth = self._chunk_source, self._request.depth
        return Pipeline(
            chunk_source.plans(epoch, step),
            chunk_source.source,
            self._transforms,
            chunk_source.page_in,
            chunk_source.n_threads,
            BatchQueues(
                chunk_source.max_samples,
                depth.batches,
                depth.group,
                chunk_source.load_group,
                chunk_source.is_all_there,
            ),
        )

    def read(self, pipeline: Pipeline) -> Any:
        """Wait for the next batch.

        Raises:
            StallError: nothing moved for ``timeout_s`` and a half.
            ConfigError: the loader was closed, or began another iteration.
        """
        began_s, is_ready = time.perf_counter(), pipeline.queues.is_ready
        # A tier gets the time that the user gave; it must be able to use it up and say so.
        ready = pipeline.queues.get(1.5 * self._options.timeout_s)
        batch = self._finished(ready.batch.result, ready.step.step)
        epoch, step = ready.step.epoch, ready.step.step + 1
        self._next = (epoch, step) if step < self._order.steps else (epoch + 1, 0)
        self.counts.handed_out(len(ready.step.positions), ready.n_bytes, began_s, is_ready)
        return batch

    def _finished(self, result: Any, step: int) -> Any:
        try:
            batch = result(self._options.timeout_s)
        except concurrent.futures.TimeoutError as error:
            raise StallError(
                f"step {step}: sample_transform took longer than {self._options.timeout_s:g} s; "
                "give more timeout_s, or more threads by num_workers="
            ) from error
        return batch if self._copies is None else self._copies.receive(batch)

    def stats(self) -> dict[str, Any]:
        """Copy the counts of the loader and of its tiers."""
        return {**self.counts.as_dict(), **self._chunk_source.stats()}

    def stop(self) -> None:
        """End the threads, but keep the memory and what is in it; twice is fine."""
        with self._lock:
            pipeline, self._pipeline = self._pipeline, None
            if pipeline is not None and not pipeline.close():
                self._chunk_source.renew()  # a thread hangs in a tier and may still write

    def close(self) -> None:
        """End everything; twice is fine."""
        self._is_closed = True
        self.stop()
        if self.counts.activity.trace is not None:
            self.counts.activity.trace.close()
        self._transforms.close()
        self._chunk_source.close()


def _copies(device: Any) -> CudaCopies | None:
    """How batches get to the device; None for the CPU."""
    try:
        wanted = torch.device("cpu" if device is None else device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"device={device!r}: torch knows no such device") from error
    if wanted.type == "cpu":
        return None
    if wanted.type != "cuda" or not torch.cuda.is_available():
        raise ConfigError(
            f"device={device}: not available here; give 'cpu', or 'cuda' where torch sees a GPU"
        )
    return CudaCopies(wanted)


def _may_pin(is_wanted: bool) -> bool:
    """Whether to page-lock buffers; without a GPU it cannot be done and has no use."""
    return is_wanted and torch.cuda.is_available()

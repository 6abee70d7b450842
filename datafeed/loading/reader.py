"""The inner loader over a feed: owns memory, tiers and threads, and knows nothing of its user.

The public ``DataLoader`` is a thin object over it, so that dropping the loader ends the threads
although they hold all of this.
"""

import concurrent.futures
import time
from collections.abc import Iterator
from threading import RLock
from typing import Any

import torch

from datafeed.cache.stack import TierStack
from datafeed.errors import ConfigError, StallError
from datafeed.feed.readable import Readable
from datafeed.loading.arena import Arena
from datafeed.loading.batch import check_dtypes, map_tensors
from datafeed.loading.device import CudaCopies
from datafeed.loading.fetch import Fetcher
from datafeed.loading.gather import ArenaSource
from datafeed.loading.handover import Handover
from datafeed.loading.options import LoaderOptions
from datafeed.loading.pipeline import Pipeline, Source
from datafeed.loading.room import check_room
from datafeed.loading.samplewise import SampleSource
from datafeed.loading.schedule import Plan, planned, unplanned
from datafeed.loading.slots import Slots
from datafeed.loading.stats import LoaderCounts
from datafeed.loading.steps import Steps
from datafeed.loading.transforms import Transforms

__all__ = ["Reader"]

_DEPTH = 3
_N_FETCHERS = 2
# Samples planned at a time, and ahead of the batches: 6 MiB of numbers at most. Planning takes
# about 0.5 us a sample, so that a longer stretch would hold up the batches behind it.
_MAX_STRETCH = 1 << 16
_MAX_PLANNED = 1 << 18


class Reader:
    """Reads batches of a feed in its order.

    Args:
        feed: The feed or a tuple view of it.
        order: Which samples stand where.
        rank, world_size: Whose share.
        options: As the user gave them.
    """

    def __init__(
        self, feed: Readable, order: Steps, rank: int, world_size: int, options: LoaderOptions
    ) -> None:
        self._feed, self._order, self._options = feed, order, options
        self._share = (rank, world_size)
        self._names = list(feed.tuple_fields or feed.fields)
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
        self._arena = self._make_arena()
        self._source = self._make_source()
        self._transforms = Transforms(
            feed,
            order.seed,
            options.with_index,
            options.sample_transform,
            options.batch_transform,
            options.n_threads,
            self._place,
        )
        self._stack: TierStack = feed.open_stack()  # last: what raises above leaves nothing open

    def _make_arena(self) -> Arena | None:
        """An arena, unless the order jumps about in a feed that is larger than it."""
        manifest = self._feed.manifest
        arena = Arena(manifest, self._options.memory_bytes)
        if self._order.shuffle == "global" and arena.n_slots < self._order.n_chunks:
            return None
        check_room(self._order, self._share[1], arena.n_slots, arena.slot_bytes)
        return arena

    def _make_source(self) -> Source:
        rest = (self._names, _DEPTH + 2, self._is_pinned)
        if self._arena is None:
            return SampleSource(self._feed, self._feed.manifest.schema, *rest)
        return ArenaSource(self._arena, *rest)

    def _place(self, batch: Any) -> Any:
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
            pipeline = self._pipeline
            if pipeline is None or pipeline.handover.is_closed or self._next != (epoch, step):
                self.stop()
                pipeline = self._pipeline = self._begin(epoch, step)
                self._next = (epoch, step)
            return pipeline

    def check_open(self) -> None:
        """Raise ConfigError once it is closed."""
        if self._is_closed:
            raise ConfigError("this loader is closed; make a new one")

    def _begin(self, epoch: int, step: int) -> Pipeline:
        room = _MAX_PLANNED
        if self._arena is not None:
            room = min(room, self._arena.n_slots * self._arena.n_rows)
        return Pipeline(
            self._plans(epoch, step, min(room, _MAX_STRETCH)),
            self._source,
            self._transforms,
            self._fetch,
            _N_FETCHERS if self._arena is not None else 0,
            Handover(room, _DEPTH),
        )

    def _plans(self, epoch: int, step: int, max_samples: int) -> Iterator[Plan]:
        place = (self._order, *self._share, epoch, step, max_samples)
        if self._arena is None:
            return unplanned(*place)
        return planned(
            *place,
            manifest=self._feed.manifest,
            slots=Slots(self._arena.resident),
            n_rows=self._arena.n_rows,
        )

    def _fetch(self, handover: Handover) -> None:
        assert self._arena is not None
        options = self._options
        Fetcher(self._feed, self._stack, self._arena, options.timeout_s, self.counts).run(handover)

    def read(self, pipeline: Pipeline) -> Any:
        """Wait for the next batch.

        Raises:
            StallError: nothing moved for ``timeout_s`` and a half.
            ConfigError: the loader was closed, or began another iteration.
        """
        began_s = time.monotonic()
        # A tier gets the time that the user gave; it must be able to use it up and say so.
        ready = pipeline.handover.get(1.5 * self._options.timeout_s)
        batch = self._finished(ready.batch.result, ready.step.step)
        epoch, step = ready.step.epoch, ready.step.step + 1
        self._next = (epoch, step) if step < self._order.steps else (epoch + 1, 0)
        self.counts.add(
            batches=1,
            samples=len(ready.step.positions),
            bytes=ready.n_bytes,
            wait_s=time.monotonic() - began_s,
        )
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
        arena = self._arena
        return {
            **self.counts.as_dict(),
            "slots": 0 if arena is None else arena.n_slots,
            "resident": 0 if arena is None else int((arena.resident >= 0).sum()),
            "tiers": self._stack.stats(),
        }

    def stop(self) -> None:
        """End the threads, but keep the memory and what is in it; twice is fine."""
        with self._lock:
            pipeline, self._pipeline = self._pipeline, None
            if pipeline is not None and not pipeline.close() and self._arena is not None:
                # A thread hangs in a tier and may still write: leave the memory to it.
                self._arena = self._make_arena()
                self._source = self._make_source()

    def close(self) -> None:
        """End everything; twice is fine."""
        self._is_closed = True
        self.stop()
        self._transforms.close()
        self._source.close()
        self._stack.close()


def _copies(device: Any) -> CudaCopies | None:
    """How batches get to the device; None for the CPU."""
    wanted = torch.device("cpu" if device is None else device)
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

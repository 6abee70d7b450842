"""From gathered arrays to the batch that the user gets, through the user's own functions.

Both kinds of transform get a random generator that is keyed by what they work on and not by who
works on it, so augmentation is the same for any number of ranks and threads. Philox is counter
based: any key gives an independent stream (Salmon et al., "Parallel random numbers: as easy as
1, 2, 3", SC 2011).
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import default_collate

from datafeed.errors import FeedError
from datafeed.feed.mixing import key64
from datafeed.loading.activity import Activity
from datafeed.loading.batch import add_index, tensors_of
from datafeed.loading.gather import Arrays
from datafeed.loading.schedule import Step

__all__ = ["BatchTransform", "Origins", "SampleTransform", "Transforms"]

SampleTransform = Callable[[Any, np.random.Generator], Any]
BatchTransform = Callable[[Any, np.random.Generator], Any]

_SAMPLE_KEY, _BATCH_KEY = 4, 5


class Origins(Protocol):
    """Whoever knows samples by their position, and where they came from."""

    tuple_fields: tuple[str, ...] | None

    def __getitem__(self, position: int) -> Any:
        """Give one sample."""

    def origin(self, position: int) -> tuple[str, str]:
        """URL of a sample's shard, and its key there."""


class Transforms:
    """Finishes batches: in the thread that gathers, or in threads of its own for samples.

    Args:
        feed: Names samples in errors.
        seed: Of the loader.
        with_index: Add the feed positions.
        sample_transform: Called with a sample and a generator; its results are collated as by
            torch's ``default_collate``.
        batch_transform: Called with a batch and a generator.
        collate_fn: Makes a batch of samples instead of ``default_collate``.
        n_threads: Threads for ``sample_transform``.
        place: What becomes of the finished batch: pinned, sent to a GPU; None for nothing.
        activity: Where the time that it takes is noted.
    """

    def __init__(
        self,
        feed: Origins,
        seed: int,
        with_index: bool,
        sample_transform: SampleTransform | None,
        batch_transform: BatchTransform | None,
        collate_fn: Callable[[list[Any]], Any] | None,
        n_threads: int,
        place: Callable[[Any], Any] | None,
        activity: Activity,
    ) -> None:
        self._feed, self._seed, self._with_index = feed, seed, with_index
        self._sample_transform, self._batch_transform = sample_transform, batch_transform
        self._place, self._n_threads = place, n_threads
        self.activity = activity
        self._threads: ThreadPoolExecutor | None = None
        self._collate_fn = collate_fn
        if sample_transform is not None or collate_fn is not None:
            self._threads = ThreadPoolExecutor(n_threads, thread_name_prefix="datafeed-transform")

    def start(self, arrays: Arrays, step: Step) -> "Future[Any]":
        """Begin to finish a batch; the future gives it, or raises what went wrong."""
        future: Future[Any] = Future()
        if self._threads is None:
            batch = self._shaped(tensors_of(arrays))
            future.set_result(self._finish(batch, step))
            return future
        shares = np.array_split(np.arange(len(step.positions)), self._n_threads)
        work = _Work(self, arrays, step, future, [share.tolist() for share in shares])
        for share in work.shares:
            self._threads.submit(work.run, share)
        return future

    def _shaped(self, items: dict[str, Any]) -> Any:
        """A dict, or a list for a tuple view; text in it as a tuple, as torch collates it."""
        names = self._feed.tuple_fields
        return items if names is None else [_frozen(items[name]) for name in names]

    def _finish(self, batch: Any, step: Step) -> Any:
        if self._with_index:
            batch = add_index(batch, torch.from_numpy(step.positions.copy()))
        if self._batch_transform is not None:
            key = key64(self._seed, step.epoch, _BATCH_KEY)
            try:
                with self.activity.doing("transform"):
                    batch = self._batch_transform(batch, _generator(key, step.step))
            except Exception as error:
                raise FeedError(
                    f"batch_transform failed in epoch {step.epoch}, step {step.step}: {error!r}"
                ) from error
        if self._place is None:
            return batch
        with self.activity.doing("transfer"):
            return self._place(batch)

    def one(self, arrays: Arrays, i: int, step: Step) -> Any:
        """Transform one sample of a batch."""
        items = {name: value[i] for name, value in arrays.items()}
        sample = items if self._feed.tuple_fields is None else tuple(self._shaped(items))
        epoch = step.epoch if step.passes is None else int(step.passes[i])
        return self._transformed(sample, epoch, int(step.positions[i]))

    def _transformed(self, sample: Any, epoch: int, position: int) -> Any:
        if self._sample_transform is None:
            return sample
        generator = _generator(key64(self._seed, epoch, _SAMPLE_KEY), position)
        try:
            return self._sample_transform(sample, generator)
        except Exception as error:
            shard, key = self._feed.origin(position)
            raise FeedError(
                f"sample_transform failed on sample {position} ({key!r} of {shard}): {error!r}"
            ) from error

    def collated(self, samples: list[Any], step: Step) -> Any:
        """Make a batch of transformed samples; an empty one looks like a batch of sample 0."""
        if samples:
            return self._finish(self._collate(samples), step)
        model = self._collate([self._transformed(self._feed[0], step.epoch, 0)])
        return self._finish(_emptied(model), step)

    def _collate(self, samples: list[Any]) -> Any:
        if self._collate_fn is not None:
            try:
                return self._collate_fn(samples)
            except Exception as error:
                raise FeedError(f"collate_fn failed: {error!r}") from error
        try:
            return default_collate(samples)
        except (TypeError, RuntimeError, ValueError) as error:
            raise FeedError(
                f"results of sample_transform cannot be stacked: {error}; let it give arrays, "
                "tensors or numbers of one shape and type"
            ) from error

    def close(self) -> None:
        """End the threads; twice is fine."""
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)


class _Work:
    """The samples of one batch, transformed by several threads; the last one collates."""

    def __init__(
        self,
        transforms: Transforms,
        arrays: Arrays,
        step: Step,
        future: "Future[Any]",
        shares: list[list[int]],
    ) -> None:
        self._transforms, self._arrays, self._step = transforms, arrays, step
        self._future = future
        self.shares = shares
        self._n_left = len(shares)
        self._outputs: list[Any] = [None] * len(step.positions)
        self._lock = Lock()

    def run(self, share: list[int]) -> None:
        try:
            with self._transforms.activity.doing("transform"):
                for i in share:
                    self._outputs[i] = self._transforms.one(self._arrays, i, self._step)
            with self._lock:
                self._n_left -= 1
                is_last = not self._n_left
            if is_last:
                self._future.set_result(self._transforms.collated(self._outputs, self._step))
        except BaseException as error:
            with self._lock:
                if not self._future.done():
                    self._future.set_exception(error)


def _generator(key: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([key, number], np.uint64)))


def _frozen(values: Any) -> Any:
    is_text = isinstance(values, list) and (not values or isinstance(values[0], (str, bytes)))
    return tuple(values) if is_text else values


def _emptied(batch: Any) -> Any:
    """Cut every tensor and list of a collated batch to no samples."""
    if isinstance(batch, torch.Tensor):
        return batch[:0]
    if isinstance(batch, dict):
        return {name: _emptied(value) for name, value in batch.items()}
    if batch and isinstance(batch[0], (str, bytes)):
        return []
    return [_emptied(value) for value in batch]

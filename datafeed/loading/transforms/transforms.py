"""From gathered arrays to the batch that the user gets, through the user's own functions."""

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Literal, Protocol

import numpy as np
import torch

from datafeed.errors import FeedError
from datafeed.feed.hashing import key64
from datafeed.loading.chunks.buffer_pool import Pool
from datafeed.loading.chunks.gather import Arrays
from datafeed.loading.schedule.gather_plan import Step
from datafeed.loading.telemetry.activity import Activity
from datafeed.loading.threads.daemon_pool import Workers
from datafeed.loading.threads.queues import Result
from datafeed.loading.transforms.collate import add_index, emptied, frozen, tensors_of
from datafeed.loading.transforms.shared_work import SharedWork
from datafeed.loading.transforms.user_function import (
    SampleError,
    SampleTransform,
    UserFunction,
    generator_of,
)
from datafeed.loading.transforms.worker_process import TransformProcess

__all__ = ["BatchTransform", "Origins", "SampleTransform", "TransformIn", "Transforms"]

BatchTransform = Callable[[Any, np.random.Generator], Any]
TransformIn = Literal["threads", "processes"]

_BATCH_KEY = 5
_N_KEPT = 6


class Origins(Protocol):
    """Whoever knows samples by their position, and where they came from."""

    tuple_fields: tuple[str, ...] | None

    def __getitem__(self, position: int) -> Any:
        """Return one sample."""

    def origin(self, position: int) -> tuple[str, str]:
        """URL of a sample's shard, and its key there."""


class Transforms:
    """Finishes batches: in the thread that gathers; samples in threads or processes of their own.

    Args:
        feed: Names samples in errors.
        seed: Of the loader.
        with_index: Add the feed positions.
        sample_transform: Called with a sample and a generator; its results are collated as by
            torch's ``default_collate``.
        batch_transform: Called with a batch and a generator.
        collate_fn: Makes a batch of samples instead of ``default_collate``.
        n_workers: Threads or processes for ``sample_transform`` and ``collate_fn``.
        where: Which of them.
        to_device: What becomes of the finished batch: pinned, sent to a GPU; None for nothing.
        activity: Where the time that it takes is noted.
    """

    def __init__(
        self,
        feed: Origins,
        *,
        seed: int,
        with_index: bool,
        sample_transform: SampleTransform | None,
        batch_transform: BatchTransform | None,
        collate_fn: Callable[[list[Any]], Any] | None,
        n_workers: int,
        where: TransformIn,
        to_device: Callable[[Any], Any] | None,
        activity: Activity,
    ) -> None:
        self._feed, self._seed, self._with_index = feed, seed, with_index
        self._batch_transform = batch_transform
        self._to_device, self._n_workers = to_device, n_workers
        self.activity = activity
        self._code: UserFunction | None = None
        self._threads: Workers | None = None
        self._processes: list[TransformProcess] = []
        self.is_closed = False
        """Whether nobody waits for batches any more."""
        if sample_transform is not None or collate_fn is not None:
            self._code = UserFunction(sample_transform, collate_fn, seed, feed.tuple_fields)
            self._threads = Workers(n_workers, "datafeed-transform")
        self._idle: SimpleQueue[TransformProcess] | None = None
        if self._code is not None and where == "processes":
            self._idle, self._pool = SimpleQueue(), Pool(_N_KEPT)
            for _ in range(n_workers):
                self._idle.put(self._start_process(self._code))

    def _start_process(self, code: UserFunction) -> TransformProcess:
        process = TransformProcess(code, len(self._processes))
        self._processes.append(process)
        return process

    def start(self, arrays: Arrays, step: Step) -> Result:
        """Begin to finish a batch; the result gives it, or raises what went wrong."""
        if self._threads is None:
            if self._batch_transform is None and self._to_device is None:
                return _Untouched(self, arrays, step)
            return _Finished(self.finish_arrays(arrays, step))
        future: Future[Any] = Future()
        if self._idle is not None and len(step.positions):
            self._threads.submit(self._in_process, self._idle, arrays, step, future)
            return future
        shares = np.array_split(np.arange(len(step.positions)), self._n_workers)
        work = SharedWork(self, arrays, step, future, [share.tolist() for share in shares])
        for share in work.shares:
            self._threads.submit(work.run, share)
        return future

    def finish_arrays(self, arrays: Arrays, step: Step) -> Any:
        """Make a batch of arrays that no code of the user's for samples touches."""
        return self._finish(self._shaped(tensors_of(arrays)), step)

    def _in_process(
        self,
        idle: "SimpleQueue[TransformProcess]",
        arrays: Arrays,
        step: Step,
        future: "Future[Any]",
    ) -> None:
        """Let a process transform a batch; one that has ended is replaced."""
        process = idle.get()
        try:
            if not process.is_alive and not self.is_closed and self._code is not None:
                process = self._start_process(self._code)
            with self.activity.doing("transform"):
                batch = process.run(arrays, step, self._pool)
            future.set_result(self._finish(batch, step))
        except SampleError as error:
            future.set_exception(self._named(error))
        except BaseException as error:
            future.set_exception(error)
        finally:
            idle.put(process)

    def _shaped(self, items: dict[str, Any]) -> Any:
        """A dict, or a list for a tuple view; text in it as a tuple, as torch collates it."""
        names = self._feed.tuple_fields
        return items if names is None else [frozen(items[name]) for name in names]

    def _finish(self, batch: Any, step: Step) -> Any:
        if self._with_index:
            batch = add_index(batch, torch.from_numpy(step.positions.copy()))
        if self._batch_transform is not None:
            key = key64(self._seed, step.epoch, _BATCH_KEY)
            try:
                with self.activity.doing("transform"):
                    batch = self._batch_transform(batch, generator_of(key, step.step))
            except Exception as error:
                raise FeedError(f"batch_transform failed in {_at(step)}: {error!r}") from error
            if batch is None:
                raise FeedError(f"batch_transform gave None in {_at(step)}; let it return a batch")
        if self._to_device is None:
            return batch
        with self.activity.doing("transfer"):
            return self._to_device(batch)

    def one(self, arrays: Arrays, i: int, step: Step) -> Any:
        """Transform one sample of a batch."""
        assert self._code is not None
        epoch = step.epoch if step.passes is None else int(step.passes[i])
        try:
            return self._code.run(arrays, i, int(step.positions[i]), epoch)
        except SampleError as error:
            raise self._named(error) from error.__cause__

    def _named(self, error: SampleError) -> FeedError:
        """Say which sample it was, and where it came from."""
        shard, key = self._feed.origin(error.position)
        named = FeedError(
            f"sample_transform failed on sample {error.position} ({key!r} of {shard}): "
            f"{error.__cause__!r}"
        )
        named.__cause__ = error.__cause__
        return named

    def collated(self, samples: list[Any], step: Step) -> Any:
        """Make a batch of transformed samples; an empty one looks like a batch of sample 0."""
        assert self._code is not None
        if samples:
            return self._finish(self._collate(samples, step), step)
        try:
            model = self._code.run_on(self._feed[0], 0, step.epoch)
        except SampleError as error:
            raise self._named(error) from error.__cause__
        return self._finish(emptied(self._collate([model], step)), step)

    def _collate(self, samples: list[Any], step: Step) -> Any:
        assert self._code is not None
        try:
            return self._code.collate(samples)
        except FeedError as error:
            raise FeedError(f"{_at(step)}: {error}") from error.__cause__

    def close(self) -> None:
        """End the threads and processes, but for a function that hangs; twice is fine."""
        self.is_closed = True
        for process in self._processes:
            process.hang_up()
        for process in self._processes:
            process.close()
        if self._threads is not None:
            self._threads.close()


class _Finished:
    """A batch that is there: a future would cost 2 us more."""

    __slots__ = ("_batch",)

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def done(self) -> bool:
        return True

    def result(self, timeout: float | None = None) -> Any:
        return self._batch


class _Untouched:
    """A batch that is there but for its tensors.

    Whoever takes it makes them, in 2 us: the thread that gathers has just moved 16 MiB through the
    cache, so that all that it does in Python costs it several times as much.
    """

    __slots__ = ("_arrays", "_step", "_transforms")

    def __init__(self, transforms: Transforms, arrays: Arrays, step: Step) -> None:
        self._transforms, self._arrays, self._step = transforms, arrays, step

    def done(self) -> bool:
        return True

    def result(self, timeout: float | None = None) -> Any:
        return self._transforms.finish_arrays(self._arrays, self._step)


def _at(step: Step) -> str:
    return f"epoch {step.epoch}, step {step.step}"

"""The loader over a feed: a thin object over a reader, with a place in the run."""

import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from inspect import Parameter, Signature
from typing import Any, TypeVar, cast

import torch.utils.data

from datafeed.errors import ConfigError
from datafeed.loading.accelerate_epoch import accelerate_epoch
from datafeed.loading.datasets import FastDataset, id_of, order_of, readable_of
from datafeed.loading.engine import Reader
from datafeed.loading.options import LoaderOptions
from datafeed.loading.order.base_order import checked_epoch
from datafeed.loading.pipeline import Pipeline
from datafeed.loading.sampler import sampler_of
from datafeed.loading.state import ResumePoints, make_state, read_state
from datafeed.loading.telemetry.prometheus import metrics_text
from datafeed.loading.telemetry.trace import TraceFile
from datafeed.loading.world import ALONE, find_rank, warn_if_alone, warn_if_uneven

__all__ = ["FeedLoader"]

F = TypeVar("F", bound=Callable[..., Any])
_NOT_SHOWN = {"batch_size", "shuffle", "drop_last", "collate_fn", "epoch_from"}


def _signed(function: F) -> F:
    """Show the options of a loader over a feed to those who look at what ``__init__`` takes."""
    own = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=entry.default)
        for name, entry in LoaderOptions.__dataclass_fields__.items()
    ]
    first = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", "dataset")]
    rest = Parameter("torch_options", Parameter.VAR_KEYWORD)
    function.__signature__ = Signature([*first, *own, rest])  # type: ignore[attr-defined]
    return function


class FeedLoader(torch.utils.data.DataLoader[Any]):
    """What ``DataLoader(feed, ...)`` gives; see there.

    Its torch attributes tell what torch's would: ``batch_size`` of this rank, ``sampler``,
    ``num_workers`` and so on.
    """

    use_stateful_dataloader = True
    """Let accelerate save the loader's state with its checkpoints."""
    _is_in_accelerate = False

    @_signed
    def __init__(self, dataset: FastDataset, *args: Any, **options: Any) -> None:
        chosen = LoaderOptions.parse(args, options, len(dataset))
        self._options, self._pid = chosen, os.getpid()
        self._epoch = self._start = self._step = 0
        self._iteration = self._n_moves = 0
        self._followed: int | None = None
        self._resume_points = ResumePoints()
        self._serve(dataset, find_rank(chosen.comm, chosen.rank, chosen.world_size))
        rank, world_size = self._share
        torch.utils.data.DataLoader.__init__(
            self,
            cast(Any, dataset),
            batch_size=-(-self._order.global_batch // world_size),
            sampler=sampler_of(self, dataset, self._order, rank, world_size, chosen.given()),
            drop_last=chosen.drop_last,
            collate_fn=chosen.collate_fn,
        )
        # Lightning makes loaders anew from what their attributes tell.
        for name, value in chosen.given().items():
            if name not in _NOT_SHOWN:
                setattr(self, name, value)

    def _serve(self, dataset: FastDataset, share: tuple[int, int]) -> None:
        """Become the loader of a rank."""
        order = order_of(dataset, self._options, share[1])
        order.check_rank(*share)
        warn_if_uneven(order, *share)
        self._share, self._order, self._feed_id = share, order, id_of(dataset)
        self._reader = Reader(readable_of(dataset), order, *share, self._options)
        self._closer = weakref.finalize(self, _close, self._reader, self._pid)

    def _find_ranks(self) -> None:
        """See whether ``torch.distributed`` has been initialised since the loader was made."""
        chosen = self._options
        if self._share != ALONE or chosen.comm is not None or chosen.rank is not None:
            return
        share = find_rank(None, None, None)
        if share == ALONE:
            return
        self._closer()
        self._serve(cast(FastDataset, self.dataset), share)
        rank, world_size = share
        self.__dict__["batch_size"] = -(-self._order.global_batch // world_size)
        self.__dict__["sampler"] = sampler_of(
            self, self.dataset, self._order, rank, world_size, chosen.given()
        )

    def __len__(self) -> int:
        """Steps of an epoch, the same on all ranks."""
        self._find_ranks()
        return self._order.steps

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Run one epoch from where the loader stands."""
        self._check_process()
        self._find_ranks()
        self._follow()
        if not self._iteration and self._share == ALONE and self._options.rank is None:
            warn_if_alone()
        self._iteration += 1
        return self._epoch_of(self._enter(), self._iteration, self._n_moves)

    def _enter(self) -> Pipeline | None:
        """Begin to load from the place where the loader stands; None at the end of an epoch."""
        if self._is_spent():
            self._set_position(self._epoch + 1, 0)
        self._step = self._start
        if self._start >= self._order.steps:
            self._set_position(self._epoch + 1, 0)
            return None
        if self._order.shuffle:
            self._resume_points.note(self._epoch, self._start, self._n_moves)
        return self._reader.start(self._epoch, self._start)

    def _epoch_of(self, pipeline: Pipeline | None, iteration: int, n_moves: int) -> Iterator[Any]:
        self._check_iteration(iteration, self._n_moves)
        if n_moves != self._n_moves:  # Lightning makes the iterator first, then sets the epoch
            n_moves, pipeline = self._n_moves, self._enter()
        if pipeline is None:
            return
        reader = self._reader
        try:
            with _accelerated(self) as placed:
                for _ in range(self._start, self._order.steps):
                    self._check_iteration(iteration, n_moves)
                    batch = reader.read(pipeline)
                    self._step += 1
                    yield placed(batch)
        finally:
            # Whoever leaves with the last batch in hand, as those do who count steps, goes on.
            is_over = self._step >= self._order.steps
            is_mine = (iteration, n_moves) == (self._iteration, self._n_moves)
            if not is_over and is_mine and os.getpid() == self._pid:
                reader.stop()
        if (iteration, n_moves) == (self._iteration, self._n_moves):
            self._set_position(self._epoch + 1, 0)

    def _check_iteration(self, iteration: int, n_moves: int) -> None:
        self._check_process()
        self._reader.check_open()
        if (iteration, n_moves) != (self._iteration, self._n_moves):
            raise ConfigError(
                "this iteration ended when its loader began another one or was sent to "
                "another place; make a second loader to have both"
            )

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration run this epoch; a step loaded for the same epoch stays.

        Example:
            >>> with datafeed.DataLoader(feed, batch_size=8) as loader:
            ...     loader.set_epoch(3)
            ...     loader.state_dict()["epoch"]
            3
        """
        number = checked_epoch(epoch)
        if number != self._epoch or self._is_spent():
            self._n_moves += 1
            self._set_position(number, 0)

    def _follow(self) -> None:
        """Take over the epoch of a sampler that the user gave and goes on to set."""
        sampler = self._options.epoch_from
        if sampler is not None and sampler.epoch != self._followed:
            if self._followed is not None or sampler.epoch:
                self.set_epoch(sampler.epoch)
            self._followed = sampler.epoch

    def _is_spent(self) -> bool:
        """Whether the last iteration gave all its batches, though it was not asked for more."""
        return self._start < self._order.steps == self._step

    def _set_position(self, epoch: int, step: int) -> None:
        self._epoch, self._start, self._step = epoch, step, step

    def state_dict(self) -> dict[str, Any]:
        """Tell which batch comes next, counting those handed out: a small JSON-able dict.

        Example:
            >>> with datafeed.DataLoader(feed, batch_size=8) as loader:
            ...     _ = next(iter(loader))
            ...     loader.state_dict()["step"]
            1
        """
        self._find_ranks()
        return make_state(self._feed_id, self._order, self._epoch, self._step)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a place; any number of ranks may load what any other number saved.

        Raises:
            ConfigError: the state belongs to another feed or order; both values are named.

        Example:
            >>> with datafeed.DataLoader(feed, batch_size=8) as loader:
            ...     state = loader.state_dict()
            ...     loader.load_state_dict(state | {"step": 4})
            ...     len(list(loader))
            1
        """
        self._find_ranks()
        position = read_state(state, self._feed_id, self._order)
        self._n_moves += 1
        self._set_position(*position)

    def stats(self) -> dict[str, Any]:
        """Count what happened so far.

        Returns:
            ``batches``, ``samples``, ``bytes`` handed out; ``wait_s`` that the user waited;
            ``wait_by_cause_s``: of that, for the parts' files (source), for tiers before them
            (cache), gather, decode (of text and bytes), transform, transfer, other;
            ``wait_percentiles_s`` of the last 4,096 waits: p50, p90, p99, max; ``ready``: share of
            batches that lay ready when asked for; chunks ``fetched``, ``refetched``; arena
            ``slots`` and ``resident`` chunks; ``tiers``: name to hits, misses, timeouts, down,
            corrupt, slow (in chunks) and bytes; ``pace``: of each memcached server that was
            measured, and of the tier ``behind``, ``bytes_per_s`` to a fetch thread and the
            ``share`` of its chunks that it is asked for.

        Example:
            >>> with datafeed.DataLoader(feed, batch_size=8) as loader:
            ...     n_samples = sum(len(batch["label"]) for batch in loader)
            ...     n_samples == loader.stats()["samples"] == 37
            True
        """
        return self._reader.stats()

    def trace(self, path: str | os.PathLike[str]) -> TraceFile:
        """Write down what each thread does, from now on, for ``chrome://tracing`` and Perfetto.

        Args:
            path: Of the JSON file, overwritten.

        Returns:
            A context manager that ends the file; ``close()`` of the loader does so too.
        """
        activity = self._reader.counts.activity
        if activity.trace is not None:
            activity.trace.close()
        activity.trace = TraceFile(path, f"datafeed rank {self._share[0]}")
        return activity.trace

    def metrics(self) -> str:
        """Return ``stats()`` as text for Prometheus, labelled with the rank."""
        return metrics_text(self.stats(), {"rank": str(self._share[0])})

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise ConfigError(
                f"this loader belongs to process {self._pid}; make one in process {os.getpid()}"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        """Refuse, by the error that those expect who try whether things can be pickled."""
        raise TypeError(
            "a loader over a feed has threads and memory, and cannot be copied or pickled; send "
            "the feed, and make a loader there (its place: state_dict())"
        )

    @property
    def _is_accelerate_prepared(self) -> bool:
        """Tell ``accelerator.prepare`` to leave the loader as it is, not to rebuild it of parts."""
        return True

    @_is_accelerate_prepared.setter
    def _is_accelerate_prepared(self, is_prepared: bool) -> None:
        self._is_in_accelerate = is_prepared

    @property
    def end_of_dataloader(self) -> bool:
        """Whether the batch handed out is the epoch's last; accelerate asks."""
        return self._step >= self._order.steps

    remainder = 0
    """Samples repeated to fill the last batch up; accelerate asks."""

    def close(self) -> None:
        """End the threads and let go of memory and connections; twice is fine."""
        self._iteration += 1
        self._closer()


def _accelerated(loader: FeedLoader) -> Any:
    """What goes round an epoch: something only for loaders that accelerate prepared."""
    if not loader._is_in_accelerate:
        return nullcontext(lambda batch: batch)
    return accelerate_epoch(loader, is_placed=loader._options.device is not None)


def _close(reader: Reader, pid: int) -> None:
    if os.getpid() == pid:  # a forked child has no threads to end, and locks that nobody frees
        reader.close()

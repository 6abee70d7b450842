"""Copies between device and host beside the computation: a thread on a CPU, a stream on a GPU."""

import ctypes
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Protocol

import torch
from torch import Tensor

from datafeed.errors import TrainerError
from trainers.gradients.device_streams import CudaStreams

__all__ = ["Copies", "Pair", "StreamCopies", "ThreadCopies", "copies_of"]

Pair = tuple[Tensor, Tensor]
"""To and from: flat uint8 tensors of equal length."""

_DEADLINE_S = 600.0


class Copies(Protocol):
    """A lane beside the computation, on which copies are made one after another."""

    def start(self, pairs: Sequence[Pair]) -> Any:
        """Begin to copy; nobody may touch either side until ``finish``. Returns a mark."""

    def finish(self, mark: Any) -> None:
        """Let the caller's computation go on only when what was marked is done."""

    def flush(self) -> None:
        """Wait until device and lane have nothing to do, as for taking the time."""

    def close(self) -> None:
        """End the lane; twice is fine."""


class ThreadCopies:
    """A CPU's lane. ``memmove`` by one thread, without the interpreter's lock."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="out-of-core copies")

    def start(self, pairs: Sequence[Pair]) -> "Future[None]":
        """Hand the copies to the thread."""
        return self._pool.submit(_move, list(pairs))

    def finish(self, mark: "Future[None]") -> None:
        """Wait for the thread.

        Raises:
            TrainerError: it does not end.
        """
        try:
            mark.result(_DEADLINE_S)
        except FutureTimeoutError as error:
            raise TrainerError(
                f"out of core: a copy did not end in {_DEADLINE_S:g} s; is the disk of spill= "
                "alive?"
            ) from error

    def flush(self) -> None:
        """Do nothing: a CPU's operations are done when they return."""

    def close(self) -> None:
        """End the thread; twice is fine."""
        self._pool.shutdown()


def _move(pairs: list[Pair]) -> None:
    for to, source in pairs:
        ctypes.memmove(to.data_ptr(), source.data_ptr(), source.numel())
    pairs.clear()  # the pool keeps its arguments a moment longer than the caller waits


class StreamCopies:
    """A GPU's lane: a side stream, which waits for the user's and is waited for by events.

    Not yet run on a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._streams = CudaStreams(device)

    def start(self, pairs: Sequence[Pair]) -> Any:
        """Queue the copies behind what the caller's stream has queued."""
        with self._streams.beside(self._streams.mark()):
            for to, source in pairs:
                to.copy_(source, non_blocking=True)
            return _mark(self._device)

    def finish(self, mark: Any) -> None:
        """Let the caller's stream wait for the copies."""
        torch.cuda.current_stream(self._device).wait_event(mark)

    def flush(self) -> None:
        """Wait for all streams."""
        torch.cuda.synchronize(self._device)

    def close(self) -> None:
        """Wait for what is queued; twice is fine."""
        self.flush()


def _mark(device: torch.device) -> torch.cuda.Event:
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event


def copies_of(device: torch.device) -> Copies:
    """Return the lane of a device."""
    return StreamCopies(device) if device.type == "cuda" else ThreadCopies()


def rate(copies: Copies, device: torch.device, host: Tensor) -> float:
    """Measure bytes a second from the host to new memory of the device, the best of three."""
    best = 0.0
    for _ in range(3):
        copies.flush()
        started = time.perf_counter()
        copies.finish(copies.start([(torch.empty_like(host, device=device), host)]))
        copies.flush()
        best = max(best, len(host) / (time.perf_counter() - started))
    return best

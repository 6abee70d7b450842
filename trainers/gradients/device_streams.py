"""Streams of a device: queued work, and waiting for it. CPUs have none and wait for nothing.

The CUDA half is not yet run on a GPU; the CPU half lets the same code be tested without one.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = ["CudaStreams", "HostStreams", "Streams", "streams_of"]


class Streams(Protocol):
    """One stream beside those on which the user computes."""

    def mark(self) -> Any:
        """Note what the calling thread has queued so far on its own stream."""

    def beside(self, mark: Any = None) -> AbstractContextManager[Any]:
        """Queue the body's work on the side stream, behind a mark."""

    def wait(self, mark: Any) -> None:
        """Wait on the CPU until what was marked is done."""

    def rejoin(self) -> None:
        """Let the caller's stream wait for all that was queued on the side stream."""

    def host_buffer(self, n: int, dtype: torch.dtype) -> Tensor:
        """Make memory of the CPU that the device copies from and to without waiting."""


class HostStreams:
    """The CPU: everything is done when its call returns."""

    def mark(self) -> None:
        """Note nothing."""

    def beside(self, mark: Any = None) -> AbstractContextManager[Any]:
        """Run the body as it is."""
        return nullcontext()

    def wait(self, mark: Any) -> None:
        """Wait for nothing."""

    def rejoin(self) -> None:
        """Wait for nothing."""

    def host_buffer(self, n: int, dtype: torch.dtype) -> Tensor:
        """Make memory."""
        return torch.empty(n, dtype=dtype)


class CudaStreams:
    """A CUDA device. Not yet run on a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def mark(self) -> torch.cuda.Event:
        """Record an event on the current stream."""
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event

    def beside(self, mark: Any = None) -> AbstractContextManager[Any]:
        """Make the side stream the current one, behind the event."""
        if mark is not None:
            self._side.wait_event(mark)
        context: AbstractContextManager[Any] = torch.cuda.stream(self._side)
        return context

    def wait(self, mark: Any) -> None:
        """Wait for the event, without the interpreter's lock."""
        mark.synchronize()

    def rejoin(self) -> None:
        """Let the current stream wait for the side stream."""
        torch.cuda.current_stream(self._device).wait_stream(self._side)

    def host_buffer(self, n: int, dtype: torch.dtype) -> Tensor:
        """Make pinned memory."""
        return torch.empty(n, dtype=dtype, pin_memory=True)


def streams_of(device: torch.device) -> Streams:
    """Return the streams of a device."""
    return CudaStreams(device) if device.type == "cuda" else HostStreams()

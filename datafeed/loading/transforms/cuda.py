"""Batches onto a GPU: copied on a stream of their own while the user computes.

Not yet run on a GPU.
"""

from collections import deque
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch

from datafeed.loading.transforms.collate import map_tensors

__all__ = ["CudaCopies", "Sent"]


@dataclass(frozen=True)
class Sent:
    """A batch on its way to the GPU."""

    batch: Any
    event: torch.cuda.Event


class CudaCopies:
    """Copies batches to a CUDA device.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._held: deque[tuple[torch.cuda.Event, Any]] = deque()
        self._lock = Lock()  # threads that transform samples send, too

    def send(self, batch: Any) -> Sent:
        """Begin to copy a batch from page-locked memory, which is held until the copy is done."""
        with torch.cuda.stream(self._stream):
            moved = map_tensors(lambda t: t.to(self._device, non_blocking=True), batch)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(self._stream)
        with self._lock:
            self._held.append((event, batch))
            while self._held and self._held[0][0].query():  # type: ignore[no-untyped-call]
                self._held.popleft()
        return Sent(moved, event)

    def receive(self, sent: Sent) -> Any:
        """Let the caller's stream wait for the copy, and keep its memory for as long."""
        stream = torch.cuda.current_stream(self._device)
        stream.wait_event(sent.event)

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            tensor.record_stream(stream)
            return tensor

        return map_tensors(keep, sent.batch)

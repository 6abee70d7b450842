"""A loader under Hugging Face accelerate: it tells accelerate where in the epoch it is.

``accelerator.prepare(loader)`` gives the loader back as it is, because its order is shared out
between ranks already. What accelerate's own wrapper does besides is done here: gradient
accumulation ends with the epoch, and batches come on the accelerator's device.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["accelerate_epoch"]


@contextmanager
def accelerate_epoch(loader: Any, is_placed: bool) -> Iterator[Callable[[Any], Any]]:
    """Be the loader that accelerate looks at.

    Args:
        loader: Has ``end_of_dataloader`` and ``remainder``.
        is_placed: Whether batches are on the device that the user asked for.

    Yields:
        What becomes of a batch.
    """
    from accelerate.state import AcceleratorState, GradientState
    from accelerate.utils import send_to_device

    device = AcceleratorState().device
    state = GradientState()
    state._add_dataloader(loader)
    try:
        if is_placed or device.type == "cpu":
            yield lambda batch: batch
        else:
            yield lambda batch: send_to_device(batch, device, non_blocking=True)
    finally:
        state._remove_dataloader(loader)

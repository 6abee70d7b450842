"""Reading a file ahead of its user, in a thread of its own.

While a staging task decodes and writes one piece, the next ones come in: reading and writing go
on at the same time, and a task takes as long as the slower of the two.
"""

import threading
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue

__all__ = ["ReadAhead"]

Piece = bytes | bytearray | memoryview
_BATCH_BYTES = 512 << 10
_N_BATCHES = 8
_END_S = 1.0


class ReadAhead:
    """Pieces of a stream, up to 4 MiB of them read before they are asked for.

    Args:
        name: Of the file, for the thread and for errors.
        stream: Gives the pieces, in order; called and used in the thread.
        timeout_s: How long the next piece may take to come, in seconds.
        failure: Makes the error that the user sees of what the stream raised, or of a TimeoutError.
    """

    def __init__(
        self,
        name: str,
        stream: Callable[[], Iterator[Piece]],
        timeout_s: float,
        failure: Callable[[Exception], Exception],
    ) -> None:
        self._name, self._stream, self._timeout_s = name, stream, timeout_s
        self._failure = failure
        self._batches: SimpleQueue[list[Piece] | Exception | None] = SimpleQueue()
        self._free_slots: SimpleQueue[None] = SimpleQueue()
        """A semaphore that is not written in Python, as threading's is."""
        for _ in range(_N_BATCHES):
            self._free_slots.put(None)
        self._is_closed = False
        self._thread = threading.Thread(
            target=self._read, name=f"datafeed read ahead {name}", daemon=True
        )
        self._thread.start()

    def batch(self) -> list[Piece]:
        """Return the next pieces, about 512 KiB; an empty list at the end.

        Raises:
            Exception: what ``failure`` made, from what the stream raised.
        """
        try:
            batch = self._batches.get(timeout=self._timeout_s)
        except Empty:
            batch = TimeoutError(f"no answer within {self._timeout_s:g} s; is it up?")
        if isinstance(batch, Exception):
            raise self._failure(batch) from batch
        self._free_slots.put(None)
        return batch or []

    def _read(self) -> None:
        try:
            for batch in _batches(self._stream()):
                self._free_slots.get()
                if self._is_closed:
                    return
                self._batches.put(batch)
            self._batches.put(None)
        except Exception as error:
            self._batches.put(error)
        except BaseException as panic:  # a Rust panic
            failure = RuntimeError(f"{type(panic).__name__}: {panic}")
            failure.__cause__ = panic
            self._batches.put(failure)

    def close(self) -> bool:
        """Stop reading; tells whether the thread has ended (one that hangs is left behind)."""
        self._is_closed = True
        self._free_slots.put(None)
        self._thread.join(_END_S)
        return not self._thread.is_alive()


def _batches(pieces: Iterator[Piece]) -> Iterator[list[Piece]]:
    batch: list[Piece] = []
    n_bytes = 0
    for piece in pieces:
        batch.append(piece)
        n_bytes += len(piece)
        if n_bytes >= _BATCH_BYTES:
            yield batch
            batch, n_bytes = [], 0
    if batch:
        yield batch

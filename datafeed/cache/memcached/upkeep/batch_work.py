"""Work on all chunks of a feed, batch by batch, in a few threads."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Event, Lock

from datafeed.cache.chunk_batches import Batches
from datafeed.cache.tier import ChunkRequest
from datafeed.progress import Progress

__all__ = ["BatchWork"]


class BatchWork:
    """Goes through batches in threads; the first error, or Ctrl-C, ends all of them.

    Args:
        name: Of the threads.
        n_threads: How many.
        progress: Whether to show progress on standard error.
    """

    def __init__(self, name: str, n_threads: int, progress: bool) -> None:
        self._name, self._n_threads, self._progress = name, n_threads, progress
        self.stop = Event()
        """Set when the rest is of no use any more; work that waits should wait on it."""

    def run(
        self, label: str, batches: Batches, work: Callable[[Sequence[ChunkRequest]], None]
    ) -> None:
        """Do the work with every batch.

        Args:
            label: Of the progress.
            batches: Shared by the threads.
            work: Called with the chunks of a batch, and memory to put them into.

        Raises:
            Exception: what the work raised.
        """
        lock = Lock()

        def take() -> None:
            memory = batches.memory()
            for chunks in batches:
                if self.stop.is_set():
                    return
                work(batches.requests(chunks, memory))
                with lock:
                    bar.add(len(chunks))

        with (
            Progress(batches.n_chunks, "chunk", label, self._progress) as bar,
            ThreadPoolExecutor(self._n_threads, thread_name_prefix=self._name) as threads,
        ):
            futures = [threads.submit(take) for _ in range(self._n_threads)]
            try:
                for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                    future.result()
            except BaseException:
                self.stop.set()
                raise

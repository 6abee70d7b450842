"""Ways to read all samples of a made feed in batches: datafeed's loader, and torch's."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.utils.data

from datafeed.bench.harness.made_feed import FIELD, MadeFeed
from datafeed.errors import CacheError, DamagedError
from datafeed.loading.loader import DataLoader

__all__ = ["FeedEpochs", "TorchEpochs", "check"]

# A feed of real size is many times larger than the arena. These let a small one be so as well:
# 6 streams with windows of 4 chunks keep 30 chunks in use.
_STREAMS = 6
_MEMORY_CHUNKS = 48


class FeedEpochs:
    """Epochs of ``datafeed.DataLoader``, shuffled, in the middle of a run.

    Each measurement has a loader of its own, which has read one epoch before the one measured:
    so memory is touched and threads run ahead at its start just as far as at its end.

    Args:
        made: The feed.
        batch_size: Samples of a batch.
        servers: memcached servers that hold all of the feed; None reads the local parts.
    """

    def __init__(self, made: MadeFeed, batch_size: int, servers: list[str] | None = None) -> None:
        self._feed = made.open(servers)
        self._batch_size, self._from_cache = batch_size, servers is not None
        self._loader: DataLoader | None = None
        self.fetched: list[float] = []
        """Percent of the chunks that each measured epoch brought into the arena; the rest lay
        there from the epoch before."""

    def start(self) -> None:
        """Make a loader and read its first epoch."""
        manifest = self._feed.manifest
        chunk_bytes = sum(manifest.max_piece_bytes)
        self._loader = DataLoader(
            self._feed,
            batch_size=self._batch_size,
            streams=_STREAMS,
            memory_bytes=_MEMORY_CHUNKS * chunk_bytes,
        )
        self.run()
        self._before: int = self._loader.stats()["fetched"]

    def run(self) -> None:
        """Read an epoch."""
        assert self._loader is not None
        for _ in self._loader:
            pass

    def stop(self) -> None:
        """Note what was fetched, from where, and end the loader."""
        assert self._loader is not None
        stats = self._loader.stats()
        self._loader.close()
        n_fetched = stats["fetched"] - self._before
        self.fetched.append(100 * n_fetched / self._feed.manifest.n_chunks)
        if self._from_cache and stats["tiers"]["parts"]["hits"]:
            raise CacheError(
                "chunks came from the parts, not from memcached: see the servers' room"
            )

    def batches(self) -> Iterator[torch.Tensor]:
        """Read the first epoch, to be looked at."""
        self.start()
        assert self._loader is not None
        for batch in self._loader:
            yield batch[FIELD]
        self.stop()
        self.fetched.clear()

    def close(self) -> None:
        """End what runs."""
        if self._loader is not None:
            self._loader.close()
        self._feed.close()


class _Samples(torch.utils.data.Dataset[torch.Tensor]):
    """A plain map-style data set over a mapped array; goes to spawned workers by its path."""

    def __init__(self, array: Path) -> None:
        self._array = array
        self._samples = np.load(array, mmap_mode="c")

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, position: int) -> torch.Tensor:
        return torch.from_numpy(self._samples[position])

    def __reduce__(self) -> tuple[Any, ...]:
        return _Samples, (self._array,)


class TorchEpochs:
    """Epochs of ``torch.utils.data.DataLoader``, shuffled, at its best.

    Its workers live through all epochs. Batches are put together by one thread, also in this
    process: with two, a busy core makes each batch of 2 MiB wait (8 s an epoch instead of 0.4).

    Args:
        made: Whose samples.
        batch_size: Samples of a batch.
        n_workers: Worker processes, spawned; 0 reads in this one.
    """

    def __init__(self, made: MadeFeed, batch_size: int, n_workers: int) -> None:
        self._loader: torch.utils.data.DataLoader[torch.Tensor] | None
        self._loader = torch.utils.data.DataLoader(
            _Samples(made.array),
            batch_size=batch_size,
            shuffle=True,
            num_workers=n_workers,
            multiprocessing_context="spawn" if n_workers else None,
            persistent_workers=n_workers > 0,
            timeout=120 if n_workers else 0,
        )

    def run(self) -> None:
        """Read an epoch."""
        n_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            self._read()
        finally:
            torch.set_num_threads(n_threads)

    def _read(self) -> None:
        for _ in self.batches():
            pass

    def batches(self) -> Iterable[torch.Tensor]:
        """Read an epoch, to be looked at."""
        assert self._loader is not None
        return self._loader

    def close(self) -> None:
        """End the workers: torch does so when nobody holds the loader any more."""
        self._loader = None


def check(name: str, batches: Iterable[torch.Tensor], samples: npt.NDArray[np.uint8]) -> None:
    """See that an epoch holds as many samples as there are, and the sum of all their bytes.

    Raises:
        DamagedError: it does not; its rate would mean nothing.
    """
    n, total = 0, 0
    for batch in batches:
        n += len(batch)
        total += int(batch.sum(dtype=torch.int64))
    if n != len(samples) or total != int(samples.sum(dtype=np.int64)):
        raise DamagedError(f"{name} delivered wrong samples; its rates would mean nothing")

"""How many batches are made ready ahead of the user, and how many at once."""

from dataclasses import dataclass

__all__ = ["Depth"]

_LEAST = 3
# Threads hand over, and wait for the GIL, once a group: with groups of 8 MiB batches of 200 KB took
# 0.46 us a sample instead of 0.30, with 32 MiB buffers leave the cache. Two groups ahead of the one
# in work, because a thread may wait for a busy user's GIL 30 ms and more, twice a group: with one,
# a Python loop of 5 ms a step found no batch every hundredth time and took 1.05 x instead of 1.02.
_READY_BYTES = 48 << 20
_MOST = 384


@dataclass(frozen=True)
class Depth:
    """Batches ahead of the user."""

    batches: int
    """Ready at the same time, at most."""
    group: int
    """Gathered by one call into one buffer: small ones together, since every call of a thread may
    wait up to 5 ms for a busy user's GIL."""
    group_samples: int
    """Samples that such a buffer has room for."""

    @classmethod
    def of(cls, batch_samples: int, sample_bytes: int, n_threads: int = 0) -> "Depth":
        """Choose for batches of so many samples: 48 MiB of batches, 384 at most, 3 at least.

        Args:
            batch_samples: Of this rank.
            sample_bytes: Of a sample, about.
            n_threads: That transform samples, to what size nobody knows: few batches then, but
                enough for all threads.
        """
        n = min(_MOST, max(_LEAST, _READY_BYTES // max(1, batch_samples * sample_bytes)))
        if n_threads:
            return cls(_LEAST + min(n - _LEAST, n_threads), 1, batch_samples)
        group = max(1, n // 3)
        return cls(n, group, group * batch_samples)

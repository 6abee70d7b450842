"""How many batches are made ready ahead of the user, and how many at once."""

from dataclasses import dataclass

__all__ = ["Depth"]

_LEAST = 3
# Threads hand over, and wait for the GIL, once a group: with 16 MiB and 32 batches at most, batches
# of 200 KB took 0.46 us a sample instead of 0.30, those of 2 MiB 4 % longer. 64 MiB gain no more.
_READY_BYTES = 32 << 20
_MOST = 256


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
        """Choose for batches of so many samples: 32 MiB of batches, 256 at most, 3 at least.

        Args:
            batch_samples: Of this rank.
            sample_bytes: Of a sample, about.
            n_threads: That transform samples, to what size nobody knows: few batches then, but
                enough for all threads.
        """
        n = min(_MOST, max(_LEAST, _READY_BYTES // max(1, batch_samples * sample_bytes)))
        if n_threads:
            return cls(_LEAST + min(n - _LEAST, n_threads), 1, batch_samples)
        group = max(1, n // 2)
        return cls(n, group, group * batch_samples)

"""The user's function on samples: called the same way in threads and in other processes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import default_collate

from datafeed.errors import FeedError
from datafeed.feed.hashing import key64

__all__ = ["SampleError", "SampleTransform", "UserFunction", "generator_of"]

SampleTransform = Callable[[Any, np.random.Generator], Any]

_SAMPLE_KEY = 4


class SampleError(Exception):
    """The function failed on a sample; its cause is what it raised."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


@dataclass(frozen=True)
class UserFunction:
    """What becomes of samples.

    Both kinds of transform get a random generator that is keyed by what they work on and not by
    who works on it, so augmentation is the same for any number of ranks, threads and processes.
    """

    transform: SampleTransform | None
    collate_fn: Callable[[list[Any]], Any] | None
    seed: int
    names: Sequence[str] | None
    """Fields of a tuple view."""

    def run(self, arrays: Mapping[str, Any], i: int, position: int, epoch: int) -> Any:
        """Transform sample i of a batch.

        Raises:
            SampleError: the function failed.
        """
        names = self.names
        if names is None:
            return self.run_on({name: value[i] for name, value in arrays.items()}, position, epoch)
        return self.run_on(tuple(arrays[name][i] for name in names), position, epoch)

    def run_on(self, sample: Any, position: int, epoch: int) -> Any:
        """Transform one sample, a dict or a tuple; raises as ``run`` does."""
        if self.transform is None:
            return sample
        generator = generator_of(key64(self.seed, epoch, _SAMPLE_KEY), position)
        try:
            return self.transform(sample, generator)
        except Exception as error:
            raise SampleError(position) from error

    def collate(self, samples: list[Any]) -> Any:
        """Make a batch of transformed samples, as torch does.

        Raises:
            FeedError: they do not fit together.
        """
        if self.collate_fn is not None:
            try:
                return self.collate_fn(samples)
            except Exception as error:
                raise FeedError(f"collate_fn failed: {error!r}") from error
        try:
            return default_collate(samples)
        except (TypeError, RuntimeError, ValueError) as error:
            raise FeedError(
                f"results of sample_transform cannot be stacked: {error}; let it give arrays, "
                "tensors or numbers of one shape and type"
            ) from error


def generator_of(key: int, number: int) -> np.random.Generator:
    """Make the generator of a key and a number.

    Philox is counter based: any key gives an independent stream (Salmon et al., "Parallel random
    numbers: as easy as 1, 2, 3", SC 2011).
    """
    return np.random.Generator(np.random.Philox(key=np.array([key, number], np.uint64)))

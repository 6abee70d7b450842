"""Ready-made batch transforms for images: whole batches at once, no Python for single samples.

::

    datafeed.DataLoader(
        feed,
        batch_size=256,
        with_index=True,
        batch_transform=Chain(RandomCrop(28, padding=2), RandomFlip(), Normalise(0.5, 0.25)),
    )

Images are a field of the batch of shape (n, height, width, channels) or (n, height, width), as
staging stores them; ``Normalise`` gives (n, channels, height, width).

A batch transform's generator is the same on all ranks. With ``with_index=True`` draws also go by
each sample's feed position, so that they are the same for any number of ranks; without it, and in
batches of tuple views, they go by its place in the rank's batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from datafeed.arguments import checked_count, checked_share
from datafeed.errors import ConfigError
from datafeed.feed.hashing import mix64

__all__ = ["Chain", "Normalise", "RandomCrop", "RandomFlip"]

_F64Array = npt.NDArray[np.float64]
_TO_UNIT = 2.0**-53


class Chain:
    """Transforms one after the other.

    Args:
        transforms: Each is called with a batch and a generator.
    """

    def __init__(self, *transforms: Any) -> None:
        for transform in transforms:
            if not callable(transform):
                raise ConfigError(f"Chain({transform!r}): give transforms, not a list of them")
        self._transforms = transforms

    def __call__(self, batch: Any, generator: np.random.Generator) -> Any:
        for transform in self._transforms:
            batch = transform(batch, generator)
        return batch


class _OnImages(ABC):
    """A transform of one field of a batch.

    Args:
        field: Its name; of a tuple view its place.
    """

    def __init__(self, field: str | int = "image") -> None:
        self._field = field

    def __call__(self, batch: Any, generator: np.random.Generator) -> Any:
        try:
            images = batch[self._field]
        except (KeyError, IndexError, TypeError) as error:
            raise ConfigError(f"the batch has no field {self._field!r}; give field=") from error
        made = self._transform(images, _Draws(batch, len(images), generator))
        if isinstance(batch, Mapping):
            return {**batch, self._field: made}
        position = range(len(batch))[int(self._field)]
        return [made if i == position else one for i, one in enumerate(batch)]

    @abstractmethod
    def _transform(self, images: torch.Tensor, draws: "_Draws") -> torch.Tensor:
        """Return other images."""


class _Draws:
    """Random numbers in [0, 1) for each sample of a batch."""

    def __init__(self, batch: Any, n: int, generator: np.random.Generator) -> None:
        index = batch.get("index") if isinstance(batch, Mapping) else None
        self._index = None if index is None else index.numpy().astype(np.uint64)
        self._n, self._generator = n, generator

    def next(self) -> _F64Array:
        """Draw one for each sample."""
        if self._index is None:
            return self._generator.random(self._n)
        key = self._generator.integers(0, 2**64, dtype=np.uint64)
        mixed = mix64(mix64(self._index ^ key))
        return (mixed >> np.uint64(11)).astype(np.float64) * _TO_UNIT


class RandomCrop(_OnImages):
    """Cuts a window out of each image, at a place of its own.

    Args:
        size: Height and width of the window, or one number for both.
        padding: Pixels of zeros put around the images before. Default: 0.
        field: As for all transforms here.
    """

    def __init__(
        self, size: int | tuple[int, int], padding: int = 0, field: str | int = "image"
    ) -> None:
        super().__init__(field)
        sizes = size if isinstance(size, (tuple, list)) else (size, size)
        if len(sizes) != 2:
            raise ConfigError(f"RandomCrop(size={size!r}): give height and width, or one number")
        height, width = (checked_count("RandomCrop's size", one) for one in sizes)
        self._size = height, width
        self._padding = checked_count("RandomCrop's padding", padding, least=0)

    def _transform(self, images: torch.Tensor, draws: _Draws) -> torch.Tensor:
        around = [(0, 0), *[(self._padding, self._padding)] * 2, *[(0, 0)] * (images.ndim - 3)]
        padded = np.pad(images.numpy(), around) if self._padding else images.numpy()
        free = [have - want for have, want in zip(padded.shape[1:3], self._size, strict=True)]
        if min(free) < 0:
            raise ConfigError(
                f"RandomCrop({self._size}): the images have {tuple(padded.shape[1:3])} pixels"
            )
        tops, lefts = ((draws.next() * (n + 1)).astype(np.int64) for n in free)
        windows = np.lib.stride_tricks.sliding_window_view(padded, self._size, axis=(1, 2))
        cut = windows[np.arange(len(padded)), tops, lefts]
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(cut, (-2, -1), (1, 2))))


class RandomFlip(_OnImages):
    """Turns left and right of some images.

    Args:
        probability: Of each image. Default: 0.5.
        field: As for all transforms here.
    """

    def __init__(self, probability: float = 0.5, field: str | int = "image") -> None:
        super().__init__(field)
        self._probability = checked_share("RandomFlip's probability", probability)

    def _transform(self, images: torch.Tensor, draws: _Draws) -> torch.Tensor:
        chosen = torch.from_numpy(np.flatnonzero(draws.next() < self._probability))
        flipped = images.clone()
        flipped[chosen] = images[chosen].flip(2)
        return flipped


class Normalise(_OnImages):
    """Makes float32 of images: ``(image / 255 - mean) / std``, channels before pixels.

    Integers are divided by 255, floats are not.

    Args:
        mean, std: One number, or one for each channel.
        field: As for all transforms here.
    """

    def __init__(
        self,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        field: str | int = "image",
    ) -> None:
        super().__init__(field)
        self._mean, self._std = _of_channels("mean", mean), _of_channels("std", std)
        if not bool((self._std > 0).all()):
            raise ConfigError(f"Normalise(std={std}): give more than 0")

    def _transform(self, images: torch.Tensor, draws: _Draws) -> torch.Tensor:
        pixels = images[..., None] if images.ndim == 3 else images
        scale = (1.0 if pixels.is_floating_point() else 255.0) * self._std
        shift = self._mean / self._std
        made = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        return made.div_(scale).sub_(shift)


def _of_channels(name: str, numbers: float | Sequence[float]) -> torch.Tensor:
    try:
        found = torch.as_tensor(numbers, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"Normalise({name}={numbers!r}): give a number, or one for each channel"
        ) from error
    return found.reshape(-1, 1, 1)

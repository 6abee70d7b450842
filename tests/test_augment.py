"""Image transforms on whole batches, and the same draws for any number of ranks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datafeed import DataLoader
from datafeed.augment import Chain, Normalise, RandomCrop, RandomFlip
from datafeed.errors import ConfigError
from tests.loading.loader_feeds import write_feed


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def images(n: int, *shape: int) -> torch.Tensor:
    size = int(np.prod(shape))
    return torch.arange(n * size, dtype=torch.int32).reshape(n, *shape)


@pytest.mark.parametrize("shape", [(7, 9), (7, 9, 3)])
def test_crops_are_windows_of_their_images(shape: tuple[int, ...]) -> None:
    batch = {"image": images(200, *shape), "label": torch.arange(200)}
    made = RandomCrop((4, 5))(batch, generator())
    assert made["label"] is batch["label"]
    assert made["image"].shape == (200, 4, 5, *shape[2:])
    places = set()
    for before, after in zip(batch["image"], made["image"], strict=True):
        offset = int((after.flatten()[0] - before.flatten()[0]) // int(np.prod(shape[2:])))
        top, left = divmod(offset, 9)
        assert torch.equal(after, before[top : top + 4, left : left + 5])
        places.add((top, left))
    assert places == {(top, left) for top in range(4) for left in range(5)}


def test_padding_is_zeros_around_the_image() -> None:
    made = RandomCrop(6, padding=2)({"image": images(300, 6, 6) + 1}, generator())["image"]
    assert made.shape == (300, 6, 6)
    assert (made[:, 2:4, 2:4] > 0).all()
    assert 0 < (made == 0).sum() < made.numel() / 2


def test_some_images_are_flipped() -> None:
    batch: list[Any] = [images(400, 3, 4, 2), "label"]
    made, label = RandomFlip(0.25, field=0)(batch, generator())
    assert label == "label"
    flipped = [torch.equal(a, b.flip(1)) for a, b in zip(made, batch[0], strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(made, batch[0], strict=True)]
    assert all(a != b for a, b in zip(flipped, kept, strict=True))
    assert 60 < sum(flipped) < 140
    assert torch.equal(batch[0], images(400, 3, 4, 2))


def test_normalised_images_are_as_the_formula_says() -> None:
    batch = {"image": torch.arange(24, dtype=torch.uint8).reshape(2, 2, 2, 3)}
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.25, 1.0]
    made = Normalise(mean, std)(batch, generator())["image"]
    assert made.dtype == torch.float32
    assert made.is_contiguous()
    expected = (batch["image"] / 255 - torch.tensor(mean)) / torch.tensor(std)
    assert torch.allclose(made, expected.permute(0, 3, 1, 2), atol=1e-6)
    floats = Normalise(1.0, 2.0)({"image": torch.ones(3, 4, 5)}, generator())["image"]
    assert torch.equal(floats, torch.zeros(3, 1, 4, 5))


def test_draws_are_the_same_for_any_number_of_ranks(tmp_path: Path) -> None:
    def augmented(world_size: int) -> dict[int, torch.Tensor]:
        found: dict[int, torch.Tensor] = {}
        for rank in range(world_size):
            chain = Chain(RandomCrop(3), RandomFlip(), Normalise())
            options: dict[str, Any] = {"rank": rank, "world_size": world_size, "streams": 2}
            with DataLoader(
                feed, global_batch_size=16, with_index=True, batch_transform=chain, **options
            ) as loader:
                for batch in loader:
                    found |= dict(zip(batch["index"].tolist(), batch["image"], strict=True))
        return found

    with write_feed(tmp_path / "f", [90], 6) as feed:
        one, two = augmented(1), augmented(2)
    assert sorted(one) == sorted(two) == list(range(90))
    assert all(torch.equal(one[i], two[i]) for i in one)


def test_what_cannot_be_done_is_said() -> None:
    with pytest.raises(ConfigError, match="'picture'"):
        RandomFlip(field="picture")({"image": images(1, 2, 2)}, generator())
    with pytest.raises(ConfigError, match=r"\(2, 2\) pixels"):
        RandomCrop(3)({"image": images(1, 2, 2)}, generator())
    with pytest.raises(ConfigError, match="std"):
        Normalise(0.5, 0.0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RandomCrop(0), "RandomCrop's size=0: give 1 or more"),
        (lambda: RandomCrop("28"), "RandomCrop's size='28': give an integer"),  # type: ignore[arg-type]
        (lambda: RandomCrop((1, 2, 3)), "give height and width"),  # type: ignore[arg-type]
        (lambda: RandomCrop(3, padding=-1), "RandomCrop's padding=-1: give 0 or more"),
        (lambda: RandomFlip(2), "probability=2: give 0 to 1"),
        (lambda: RandomFlip("a"), "probability='a'"),  # type: ignore[arg-type]
        (lambda: Normalise("image"), r"Normalise\(mean='image'\): give a number"),  # type: ignore[arg-type]
        (lambda: Chain([RandomFlip()]), "not a list of them"),
    ],
)
def test_wrong_arguments_are_named_at_once(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


def test_a_place_in_a_tuple_counts_from_both_ends() -> None:
    images = torch.arange(2 * 3 * 3 * 1, dtype=torch.uint8).reshape(2, 3, 3, 1)
    for place in (1, -1):
        batch = RandomCrop(2, field=place)([torch.arange(2), images], np.random.default_rng(1))
        assert [tuple(one.shape) for one in batch] == [(2,), (2, 2, 2, 1)]

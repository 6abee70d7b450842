"""How well does the windowed shuffle shuffle? Distances, batches, and the accuracy of a training.

    python -m benchmarks.shuffle_quality [--seeds 5] [--epochs 4] [--picture docs/shuffle.png]

Takes Fashion-MNIST sorted by class, the worst case for a shuffle in windows, in chunks as staging
would cut them. Prints a JSON line for each order; needs Debian's dataset-fashion-mnist.
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch

from datafeed import Order
from datafeed.staging.plan.sizing import samples_per_chunk

FOLDER = Path("/usr/share/datasets/fashion-mnist")
N_CLASSES, BATCH = 10, 256
N_PARTS = 10


@dataclass(frozen=True)
class Data:
    """Samples sorted by class."""

    images: torch.Tensor
    labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor

    @classmethod
    def load(cls) -> "Data":
        """Read and sort Fashion-MNIST."""
        images, labels = _read("train", 16), _read("train", 8)
        order = np.argsort(labels, kind="stable")
        arrays = (images[order], labels[order], _read("t10k", 16), _read("t10k", 8))
        return cls(*(torch.from_numpy(array.copy()) for array in arrays))

    def orders(self, seed: int) -> dict[str, Order]:
        """Orders by name; their parts hold one class each.

        In chunks of 16 samples there are 3,750 of them: 96 streams, as in a large feed.
        """
        n = len(self.labels)
        parts, per_chunk = [n // N_PARTS] * N_PARTS, samples_per_chunk(784, 784 * n)
        make: Any = lambda **options: Order(parts, per_chunk, BATCH, seed=seed, **options)  # noqa: E731
        return {
            "uniform": make(shuffle="global"),
            "windowed": make(),
            "windowed, as a large feed": Order(parts, 16, BATCH, seed=seed),
            "windowed, 1 stream of 4 chunks": make(streams=1),
        }


def _read(name: str, head: int) -> npt.NDArray[np.uint8]:
    kind = "images-idx3" if head == 16 else "labels-idx1"
    data = gzip.decompress((FOLDER / f"{name}-{kind}-ubyte.gz").read_bytes())
    array = np.frombuffer(data, np.uint8, offset=head)
    return array.reshape(-1, 784) if head == 16 else array


def distances(order: Order, labels: npt.NDArray[np.uint8], epoch: int) -> dict[str, float]:
    """Compare an epoch with what a uniform permutation gives on average.

    Returns:
        ``displacement``: mean distance of a sample from its place in the feed, as a share of the
        feed (uniform: 1/3); ``neighbours``: the same between neighbours in the epoch (1/3);
        ``displacement_ks``: Kolmogorov-Smirnov distance of the displacements from the uniform
        ones; ``class_chi2``: mean chi-square over the batches' class counts and degree of freedom
        (1; a little less, as samples are not put back).
    """
    n = order.n_samples
    feed = order.positions(epoch, 0, n)
    moved = np.sort(np.abs(feed - np.arange(n)) / n)
    counts = [np.bincount(labels[batch], minlength=N_CLASSES) for batch in _batches(feed)]
    expected = BATCH / N_CLASSES
    chi2 = ((np.array(counts) - expected) ** 2 / expected).sum(axis=1) / (N_CLASSES - 1)
    return {
        "displacement": float(moved.mean()),
        "neighbours": float((np.abs(np.diff(feed)) / n).mean()),
        # A distance d between two uniform points has the distribution function 2 d - d^2.
        "displacement_ks": float(np.abs(np.arange(1, n + 1) / n - (2 * moved - moved**2)).max()),
        "class_chi2": float(chi2.mean()),
    }


def _batches(feed: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    for start in range(0, len(feed) - BATCH + 1, BATCH):
        yield feed[start : start + BATCH]


def accuracy(data: Data, order: Order, epochs: int, seed: int) -> float:
    """Train a small network in an order; gives its share of right answers on the test set."""
    torch.manual_seed(seed)
    network = torch.nn.Sequential(
        torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, N_CLASSES)
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(epochs):
        for step in range(order.steps):
            batch = torch.from_numpy(order.batch(epoch, step))
            scores = network(_scaled(data.images[batch]))
            loss = torch.nn.functional.cross_entropy(scores, data.labels[batch].long())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        found = network(_scaled(data.test_images)).argmax(dim=1)
    return float((found == data.test_labels).float().mean())


def _scaled(images: torch.Tensor) -> torch.Tensor:
    return images.float() / 127.5 - 1


def draw(path: Path, data: Data) -> None:
    """Draw where the samples of an epoch come from, and the classes in its batches."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(9, 5), sharex="row", layout="constrained")
    labels, n = data.labels.numpy(), len(data.labels)
    for column, name in enumerate(("uniform", "windowed", "windowed, 1 stream of 4 chunks")):
        feed = data.orders(0)[name].positions(0, 0, n)
        some = np.random.default_rng(0).choice(n, 3000, replace=False)
        axes[0, column].plot(some, feed[some], ",", color="tab:blue")
        axes[0, column].set_title(name.removeprefix("windowed, "))
        counts = [np.bincount(labels[batch], minlength=N_CLASSES) for batch in _batches(feed)]
        axes[1, column].hist(np.ravel(counts), bins=np.arange(0, 70, 2), density=True)
    axes[0, 0].set(ylabel="place in the feed")
    axes[0, 1].set(xlabel="place in the epoch")
    axes[1, 0].set(ylabel="share of batches")
    axes[1, 1].set(xlabel="samples of one class in a batch of 256")
    figure.savefig(path, dpi=80)


@click.command()
@click.option("--seeds", type=click.IntRange(1), default=5)
@click.option("--epochs", type=click.IntRange(1), default=4)
@click.option("--picture", type=click.Path(path_type=Path))
def main(seeds: int, epochs: int, picture: Path | None) -> None:
    """Measure, and print a JSON line for each order."""
    data = Data.load()
    for name in data.orders(0):
        found = [distances(data.orders(s)[name], data.labels.numpy(), 1) for s in range(seeds)]
        row = {key: round(float(np.mean([one[key] for one in found])), 4) for key in found[0]}
        reached = [accuracy(data, data.orders(s)[name], epochs, s) for s in range(seeds)]
        spread = float(np.std(reached, ddof=1)) if seeds > 1 else 0.0
        trained = {"accuracy": round(float(np.mean(reached)), 4), "accuracy_std": round(spread, 4)}
        print(json.dumps({"order": name, **row, **trained, "seeds": seeds}), flush=True)
    if picture is not None:
        draw(picture, data)


if __name__ == "__main__":
    main()

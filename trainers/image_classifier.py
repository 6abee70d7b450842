"""Train a convolutional network on a feed of images.

::

    mpirun -n 2 python -m trainers.image_classifier --feed FEED --test-feed FEED --cache SERVERS
"""

from typing import Any

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import datafeed
from datafeed.console import emit
from datafeed.errors import ConfigError, TrainerError
from trainers.models.resnet import resnet18, resnet50
from trainers.models.small_cnn import SmallConvNet
from trainers.models.sync_batch_norm import synchronise
from trainers.reporting.report import Report
from trainers.run.command_line import run_options
from trainers.run.launch import RankCommand
from trainers.run.loop import Batch
from trainers.run.options import TrainOptions
from trainers.run.session import autocast, train
from trainers.world.world import World

__all__ = ["ImageTask", "command"]


class ImageTask:
    """Classification of ``image`` by ``label``, with the cross entropy as loss.

    Args:
        feed: Its images give the network's shape.
        n_classes: Labels are 0 to n_classes - 1.
        device: Where the network lives.
        precision: ``fp32`` or ``bf16``.
        network: ``small``, ``resnet18`` or ``resnet50``.
        world: Batch norms are over the samples of all its ranks; None: of each its own.

    Raises:
        ConfigError: the feed holds no such images and labels.
    """

    def __init__(
        self,
        feed: datafeed.Feed,
        n_classes: int,
        device: torch.device,
        precision: str,
        network: str = "small",
        world: World | None = None,
    ) -> None:
        self._device, self._precision, self._n_classes = device, precision, n_classes
        self.model = _network(network, _image_shape(feed), n_classes).to(device)
        if world is not None and world.size > 1:
            synchronise(self.model, world)

    def optimizer(self, lr: float) -> torch.optim.Optimizer:
        """Make SGD with Nesterov's momentum."""
        parameters = self.model.parameters()
        return torch.optim.SGD(parameters, lr, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross entropy of a batch; 0 of an empty one."""
        logits, labels = self._logits(batch)
        return F.cross_entropy(logits, labels, reduction="sum") / max(1, len(labels))

    def score(self, batch: Batch) -> tuple[int, float]:
        """Count the right answers of a batch, and add up its samples' losses."""
        logits, labels = self._logits(batch)
        n_right = int((logits.argmax(1) == labels).sum())
        return n_right, float(F.cross_entropy(logits, labels, reduction="sum"))

    def _logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        labels = batch["label"].to(self._device, torch.int64, non_blocking=True)
        if labels.device.type == "cpu" and len(labels):  # on a GPU the look would wait for it
            self._check(labels)
        with autocast(self._device, self._precision):
            logits = self.model(batch["image"].to(self._device, non_blocking=True))
        return logits.float(), labels

    def _check(self, labels: Tensor) -> None:
        low, high = (int(bound) for bound in labels.aminmax())
        if low < 0 or high >= self._n_classes:
            raise TrainerError(
                f"a label is {low if low < 0 else high}, but there are {self._n_classes} classes "
                "from 0; give the feed's number with --classes"
            )


def _image_shape(feed: datafeed.Feed) -> tuple[int, int, int]:
    """Find height, width and channels of a feed's images."""
    image, label = feed.fields.get("image"), feed.fields.get("label")
    if image is None or label is None:
        raise ConfigError(f"{feed.url}: has the fields {list(feed.fields)}; needs image and label")
    shape = image.shape if len(image.shape) == 3 else (*image.shape, 1)
    if image.dtype != "uint8" or len(shape) != 3 or image.is_ragged or min(shape[:2]) < 4:
        raise ConfigError(
            f"{feed.url}: image is {image.dtype}{list(image.shape)}; needs uint8 of one shape, "
            "height x width or height x width x channels, 4 pixels or more"
        )
    if label.shape or label.is_ragged:
        raise ConfigError(f"{feed.url}: label is {list(label.shape)}; needs one integer a sample")
    return shape[0], shape[1], shape[2]


def _network(name: str, shape: tuple[int, int, int], n_classes: int) -> nn.Module:
    """Make a network by its name."""
    if name == "small":
        return SmallConvNet(*shape, n_classes)
    if min(shape[:2]) < 32:
        raise ConfigError(f"images of {shape[0]} x {shape[1]} are too small for {name}; 32 or more")
    return {"resnet18": resnet18, "resnet50": resnet50}[name](shape[2], n_classes)


@click.command(cls=RankCommand, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--classes", type=click.IntRange(min=2), default=10, show_default=True)
@click.option(
    "--network",
    type=click.Choice(["small", "resnet18", "resnet50"]),
    default="small",
    show_default=True,
    help="The ResNets take images of 32 x 32 or more, as 224 x 224.",
)
@click.option(
    "--batch-norm",
    type=click.Choice(["global", "own"]),
    default="global",
    show_default=True,
    help="Over the samples of all ranks, as one process would, or of each rank its own.",
)
@run_options
def command(
    world: World, classes: int, network: str, batch_norm: str, as_json: bool, **values: Any
) -> None:
    """Train a convolutional network on a feed of images, on all ranks of mpirun."""
    report, options = Report(world.rank == 0, as_json), TrainOptions(**values)

    def make(feed: datafeed.Feed, device: torch.device, world: World) -> ImageTask:
        norms = world if batch_norm == "global" else None
        return ImageTask(feed, classes, device, options.precision, network, norms)

    lines = [f"--classes {classes}", f"--network {network}", f"--batch-norm {batch_norm}"]
    summary = train(world, options, report, lines, make)
    if world.rank == 0 and not as_json:
        emit(summary, as_json=False)


if __name__ == "__main__":
    command()

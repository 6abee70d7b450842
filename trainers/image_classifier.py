"""Train a small convolutional network on a feed of images.

::

    mpirun -n 2 python -m trainers.image_classifier --feed FEED --test-feed FEED --cache SERVERS
"""

import contextlib
from typing import Any

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import datafeed
from datafeed.cli.options import emit
from datafeed.errors import ConfigError, TrainerError
from trainers.agreement import require_same
from trainers.command_line import run_options
from trainers.launch import RankCommand
from trainers.loop import Batch, Trainer
from trainers.network import SmallConvNet
from trainers.options import TrainOptions
from trainers.report import Report
from trainers.world import World, local_rank, n_cores

__all__ = ["ImageTask", "command", "train"]

_TEST_BATCH = 512


class ImageTask:
    """Classification of ``image`` by ``label``, with the cross entropy as loss.

    Args:
        feed: Its images give the network's shape.
        n_classes: Labels are 0 to n_classes - 1.
        device: Where the network lives.
        precision: ``fp32`` or ``bf16``.

    Raises:
        ConfigError: the feed holds no such images and labels.
    """

    def __init__(
        self, feed: datafeed.Feed, n_classes: int, device: torch.device, precision: str
    ) -> None:
        self._device, self._precision, self._n_classes = device, precision, n_classes
        self.model: nn.Module = SmallConvNet(*_image_shape(feed), n_classes).to(device)

    def loss(self, batch: Batch) -> Tensor:
        """Give the mean cross entropy of a batch."""
        logits, labels = self._logits(batch)
        return F.cross_entropy(logits, labels)

    def score(self, batch: Batch) -> tuple[int, float]:
        """Count the right answers of a batch, and add up its samples' losses."""
        logits, labels = self._logits(batch)
        n_right = int((logits.argmax(1) == labels).sum())
        return n_right, float(F.cross_entropy(logits, labels, reduction="sum"))

    def _logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        labels = batch["label"].to(self._device, torch.int64, non_blocking=True)
        if labels.device.type == "cpu":  # on a GPU the look would wait for it
            self._check(labels)
        with self._autocast():
            logits = self.model(batch["image"].to(self._device, non_blocking=True))
        return logits.float(), labels

    def _check(self, labels: Tensor) -> None:
        low, high = (int(bound) for bound in labels.aminmax())
        if low < 0 or high >= self._n_classes:
            raise TrainerError(
                f"a label is {low if low < 0 else high}, but there are {self._n_classes} classes "
                "from 0; give the feed's number with --classes"
            )

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self._precision == "bf16":
            return torch.autocast(self._device.type, torch.bfloat16)
        return contextlib.nullcontext()


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


def train(world: World, options: TrainOptions, n_classes: int, report: Report) -> dict[str, Any]:
    """Train from start to end. Collective.

    Returns:
        The summary: see ``trainers.summary``.
    """
    torch.set_num_threads(n_cores(world))
    torch.manual_seed(options.seed)
    with contextlib.ExitStack() as stack:
        feed = stack.enter_context(datafeed.open(options.feed, cache=options.cache))
        lines = [*options.shared(), f"--classes {n_classes}", f"feed {feed.manifest.feed_id}"]
        require_same(world, "options", lines, "start all ranks with the same options and feed")
        task = ImageTask(feed, n_classes, _device(world, options.device), options.precision)
        trainer = Trainer(
            task=task,
            loader=stack.enter_context(_loader(feed, world, options, is_test=False)),
            test_loader=_test_loader(stack, world, options),
            feed_id=feed.manifest.feed_id,
            n_samples=len(feed),
            world=world,
            options=options,
            report=report,
        )
        summary = trainer.run()
        trainer.close()
        return summary


def _test_loader(stack: contextlib.ExitStack, world: World, options: TrainOptions) -> Any | None:
    if options.test_feed is None:
        return None
    feed = stack.enter_context(datafeed.open(options.test_feed, cache=options.cache))
    return stack.enter_context(_loader(feed, world, options, is_test=True))


def _loader(feed: datafeed.Feed, world: World, options: TrainOptions, is_test: bool) -> Any:
    return datafeed.DataLoader(
        feed,
        global_batch_size=_TEST_BATCH * world.size if is_test else options.global_batch,
        shuffle=not is_test,
        seed=options.seed,
        comm=world.comm,
        streams=options.streams,
        memory_bytes=options.memory_bytes,
        pin_memory=options.device == "cuda",
        with_index=True,
    )


def _device(world: World, name: str) -> torch.device:
    """Give each of a node's ranks a device of its own. Not yet run on a GPU."""
    if name == "cpu":
        return torch.device("cpu")
    device = torch.device("cuda", local_rank(world) % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


@click.command(cls=RankCommand, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--classes", type=click.IntRange(min=2), default=10, show_default=True)
@run_options
def command(world: World, classes: int, as_json: bool, **values: Any) -> None:
    """Train a small convolutional network on a feed of images, on all ranks of mpirun."""
    report = Report(world.rank == 0, as_json)
    summary = train(world, TrainOptions(**values), classes, report)
    if world.rank == 0 and not as_json:
        emit(summary, as_json=False)


if __name__ == "__main__":
    command()

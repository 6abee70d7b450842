"""Steps that start a checkpoint, beside ordinary ones and those during which it is written."""

from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import torch
from torch import nn, optim
from torch.nn.functional import cross_entropy

from trainers import GradientAverager
from trainers.models.resnet import resnet18
from trainers.run.checkpoint_writer import CheckpointWriter
from trainers.run.random_state import gather_states
from trainers.world.world import World

__all__ = ["checkpoint_steps"]


class _Run:
    """ResNet-18 under SGD with momentum: the checkpoint holds twice its parameters."""

    def __init__(self, world: World, n_images: int, side: int) -> None:
        self._world = world
        self._images = torch.randint(256, (n_images, side, side, 3), dtype=torch.uint8)
        self._labels = torch.randint(1000, (n_images,))
        self._model: nn.Module = resnet18(3, 1000)
        self._averager = GradientAverager(self._model, world, buffers="broadcast")
        self._optimizer = optim.SGD(self._model.parameters(), 0.01, momentum=0.9)
        self._folder = Path(mkdtemp(prefix="datafeed-bench-"))
        self._writer = CheckpointWriter(self._folder, keep=1)
        self._n_saved = 0

    def step(self) -> None:
        """Train one step."""
        self._optimizer.zero_grad()
        torch.autograd.backward(cross_entropy(self._model(self._images), self._labels))
        self._averager.finish()
        self._optimizer.step()

    def step_and_save(self) -> None:
        """Train one step and start a checkpoint, as ``trainers.run.recovery`` does."""
        self.step()
        random = gather_states(self._world)
        self._n_saved += 1
        if not self._world.rank:
            model, optimizer = self._model.state_dict(), self._optimizer.state_dict()
            content = {"model": model, "optimizer": optimizer, "random": random}
            self._writer.put(self._n_saved, content)

    def flush(self) -> None:
        """Wait until the last checkpoint is on the disk."""
        self._writer.wait()

    def close(self) -> None:
        """Remove what was written. Collective."""
        self._writer.wait()
        rmtree(self._folder)
        self._averager.close()


def checkpoint_steps(
    world: World, is_quick: bool, closing: list[Callable[[], None]]
) -> Iterator[tuple[str, Callable[[], None], Callable[[], None]]]:
    """Return the ways: name, job and what comes before it. Collective."""
    run = _Run(world, *((2, 32) if is_quick else (16, 64)))
    closing.append(run.close)

    def save_before() -> None:
        run.flush()
        run.step_and_save()

    yield "the step that starts a checkpoint", run.step_and_save, run.flush
    yield "an ordinary step", run.step, run.flush
    yield "the step while it is written", run.step, save_before

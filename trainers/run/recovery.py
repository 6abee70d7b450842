"""A run's state on disk: saved by rank 0, restored on any number of ranks."""

from collections.abc import Mapping
from typing import Any

from torch import nn, optim

from datafeed.errors import ConfigError
from trainers.run import checkpoint
from trainers.run.checkpoint_writer import CheckpointWriter
from trainers.run.options import TrainOptions
from trainers.run.random_state import gather_states, restore_states
from trainers.world.world import World

__all__ = ["Recovery"]


class Recovery:
    """Saves and restores all that training goes on from. Collective.

    Args:
        world: The ranks.
        options: Where checkpoints are, and whether to go on from them.
        order: What fixes the global batches: ``feed_id``, ``seed``, ``global_batch``.
        model: Its parameters and buffers are saved.
        optimizer: Its state is saved.
        loader: Its position is saved.
        n_steps: Steps of an epoch.
    """

    def __init__(
        self,
        *,
        world: World,
        options: TrainOptions,
        order: Mapping[str, Any],
        model: nn.Module,
        optimizer: optim.Optimizer,
        loader: Any,
        n_steps: int,
    ) -> None:
        self._world, self._order, self._n_steps = world, dict(order), n_steps
        self._model, self._optimizer, self._loader = model, optimizer, loader
        self._directory, self._resume = options.checkpoint, options.resume
        self._writer: CheckpointWriter | None = None
        if options.checkpoint is not None and not world.rank:
            self._writer = CheckpointWriter(options.checkpoint, options.keep_checkpoints)

    def save(self, epoch: int, step: int) -> None:
        """Start to write a checkpoint from which training goes on at this step.

        Nothing is done without a folder. Training may go on at once: rank 0 has copied all.

        Raises:
            TrainerError: the checkpoint before could not be written.
        """
        if self._directory is None:
            return
        random = gather_states(self._world)
        if self._writer is None:
            return
        content = {
            "order": self._order,
            "epoch": epoch,
            "step": step,
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "loader": self._loader.state_dict(),
            "random": random,
        }
        self._writer.put(epoch * self._n_steps + step, content)

    def wait(self) -> None:
        """Wait until the last checkpoint is on the disk. Collective.

        Raises:
            TrainerError: it could not be written.
        """
        if self._writer is not None:
            self._writer.wait()
        self._world.barrier()

    def restore(self) -> tuple[int, int]:
        """Go on from the newest checkpoint, if asked to.

        Returns:
            The epoch and step to start at; (0, 0) where there is no checkpoint.

        Raises:
            ConfigError: the folder holds another run, or this one without ``--resume``.
            TrainerError: all checkpoints are damaged.
        """
        content = self._read()
        if content is None:
            return 0, 0
        self._check(content)
        self._optimizer.load_state_dict(content["optimizer"])
        self._loader.load_state_dict(content["loader"])
        epoch, step = int(content["epoch"]), int(content["step"])
        restore_states(
            content["random"],
            self._world.rank,
            self._world.size,
            seed=self._order["seed"],
            step=epoch * self._n_steps + step,
        )
        return epoch, step

    def _read(self) -> dict[str, Any] | None:
        """Read the newest checkpoint on rank 0, for all ranks."""
        if self._directory is None:
            return None
        data = b""
        if not self._world.rank:
            if self._resume:
                data = checkpoint.latest(self._directory) or b""
            elif checkpoint.newest_first(self._directory):
                raise ConfigError(
                    f"{self._directory}: holds checkpoints of an earlier run; go on from them "
                    "with --resume, or give another --checkpoint"
                )
        data = self._world.gather(data)[0]
        return checkpoint.parse(data) if data else None

    def _check(self, content: Mapping[str, Any]) -> None:
        """Load the parameters, if they are of the same model, feed and order."""
        cure = "resume with the same, or give another --checkpoint"
        for name, value in self._order.items():
            saved = content["order"][name]
            if saved != value:
                raise ConfigError(
                    f"{self._directory}: was trained with {name} {saved}, not {value}; {cure}"
                )
        try:
            self._model.load_state_dict(content["model"])
        except RuntimeError as error:
            what = " ".join(str(error).split())
            raise ConfigError(
                f"{self._directory}: was trained with another network ({what}); {cure}"
            ) from error

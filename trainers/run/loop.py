"""The training loop: epochs of steps, evaluation, checkpoints; the same on every rank."""

import math
import os
import time
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from datafeed.errors import TrainerError
from trainers.gradients.averaging import GradientAverager
from trainers.models.sync_batch_norm import is_synchronised
from trainers.reporting.meter import EpochMeter
from trainers.reporting.metrics import Metrics
from trainers.reporting.report import Report
from trainers.reporting.sample_log import SampleLog
from trainers.reporting.summary import describe, epoch_event, summarise
from trainers.run.lr_schedule import learning_rate, scaled
from trainers.run.options import TrainOptions
from trainers.run.random_state import seed_rank
from trainers.run.recovery import Recovery
from trainers.run.stop_signal import Stopped, StopSignal
from trainers.world.world import World, gather_numbers, n_hosts

__all__ = ["Batch", "Task", "Trainer"]

Batch = Mapping[str, Tensor]


class Task(Protocol):
    """What is trained, and how well it does."""

    model: nn.Module

    def optimizer(self, lr: float) -> torch.optim.Optimizer:
        """Make the optimizer of the model's parameters."""

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean loss of a batch, to be differentiated; 0 of an empty one."""

    def score(self, batch: Batch) -> tuple[float, float]:
        """Count the right answers of a batch, and add up its samples' losses."""


class Trainer:
    """Trains a task from a loader on all ranks. Collective.

    Args:
        task: Model and loss; its parameters become those of rank 0.
        loader: ``datafeed.DataLoader`` over the training feed, with ``with_index=True``.
        test_loader: The same over the held-out feed in feed order, or None.
        feed_id: Of the training feed: a checkpoint of another feed is refused.
        n_samples: Of the training feed.
        world: The ranks.
        options: Of the run.
        report: Speaks on rank 0.
    """

    def __init__(
        self,
        *,
        task: Task,
        loader: Any,
        test_loader: Any | None,
        feed_id: str,
        n_samples: int,
        world: World,
        options: TrainOptions,
        report: Report,
    ) -> None:
        self._task, self._loader, self._test_loader = task, loader, test_loader
        self._world, self._options, self._report = world, options, report
        self._feed_id = feed_id
        self._order = {
            "feed_id": feed_id,
            "seed": options.seed,
            "global_batch": options.global_batch,
        }
        self._n_samples, self._n_steps = n_samples, len(loader)
        seed_rank(options.seed, world.rank)
        self._averager = GradientAverager(task.model, world, buffers="broadcast")
        self._peak = scaled(options.lr, options.global_batch, options.lr_batch)
        self._optimizer = task.optimizer(self._peak)
        self._stop = StopSignal()
        # Ranks with an empty share take part in the passes of norms over all ranks.
        self._is_synchronised = is_synchronised(task.model)
        self._recovery = Recovery(
            world=world,
            options=options,
            order=self._order,
            model=task.model,
            optimizer=self._optimizer,
            loader=loader,
            n_steps=self._n_steps,
        )
        log = options.sample_log
        self._sample_log = SampleLog(log, world.rank) if log is not None else None
        has_metrics = options.metrics is not None and not world.rank
        self._metrics = Metrics(options.metrics) if has_metrics and options.metrics else None

    def run(self) -> dict[str, Any]:
        """Train all epochs that are left. Collective.

        Returns:
            The summary: see ``trainers.reporting.summary``.

        Raises:
            Stopped: on all ranks: SIGTERM came to one of them, and a checkpoint was written.
        """
        with self._stop.listening() if self._options.checkpoint else nullcontext():
            return self._run()

    def _run(self) -> dict[str, Any]:
        first_epoch, first_step = self._recovery.restore()
        self._announce(first_epoch, first_step)
        epochs = []
        for epoch in range(first_epoch, self._options.epochs):
            epochs.append(self._run_epoch(epoch, first_step))
            first_step = 0
        self._recovery.wait()
        summary = summarise(
            epochs,
            feed_id=self._feed_id,
            feed_samples=self._n_samples,
            n_ranks=self._world.size,
            n_hosts=n_hosts(self._world),
        )
        self._report.event("summary", summary)
        return summary

    def close(self) -> None:
        """Close the log and free the communicator; twice is fine. Collective.

        For a run that succeeded: after an error on one rank the others never come here.
        """
        if self._sample_log is not None:
            self._sample_log.close()
        if self._metrics is not None:
            self._metrics.close()
        self._averager.close()

    def _run_epoch(self, epoch: int, first_step: int) -> dict[str, Any]:
        totals = self._train(epoch, first_step)
        if not math.isfinite(totals["loss"]):
            raise TrainerError(
                f"epoch {epoch}: the loss is {totals['loss']}; train with a lower --lr"
            )
        self._loader.set_epoch(epoch + 1)
        self._recovery.save(epoch + 1, 0)
        event = epoch_event(epoch, totals, self._evaluate())
        self._report.event("epoch", event)
        self._report.line(describe(event))
        if self._metrics is not None:
            self._metrics.epoch(event)
        return event

    def _train(self, epoch: int, first_step: int) -> dict[str, Any]:
        """Train the steps of an epoch; give what they cost."""
        meter = EpochMeter(self._loader.stats()["tiers"])
        left = self._n_steps - first_step
        with self._report.progress(left, "step", f"epoch {epoch}") as progress:
            for step, batch in enumerate(meter.timed(self._loader), first_step):
                if self._sample_log is not None:
                    self._sample_log.add(epoch, step, batch["index"].tolist())
                started_s = time.perf_counter()
                n, loss = self._step(epoch * self._n_steps + step, batch)
                meter.add(n, loss)
                self._save_between(epoch, step + 1)
                self._note(epoch, step, loss, time.perf_counter() - started_s, meter.last_wait_s)
                progress.add(1, f"loss {loss:.3f}")
        return meter.total(self._world, self._loader.stats()["tiers"])

    def _save_between(self, epoch: int, step: int) -> None:
        """Save if it is time, or if a rank was told to stop."""
        every, is_last = self._options.checkpoint_every, step == self._n_steps
        if self._averager.flagged:
            if is_last:
                self._loader.set_epoch(epoch + 1)
            self._recovery.save(epoch + is_last, 0 if is_last else step)
            self._recovery.wait()
            raise Stopped(f"stopped by SIGTERM after step {step} of epoch {epoch}")
        if every and step % every == 0 and not is_last:
            self._recovery.save(epoch, step)

    def _note(self, epoch: int, step: int, loss: float, step_s: float, wait_s: float) -> None:
        if self._metrics is None:
            return
        line = {"epoch": epoch, "step": step, "loss": loss, "step_s": round(step_s + wait_s, 6)}
        rate = self._optimizer.param_groups[0]["lr"]
        self._metrics.step({**line, "wait_s": round(wait_s, 6), "lr": rate})

    def _step(self, global_step: int, batch: Batch) -> tuple[int, float]:
        """Train one step; give this rank's samples and their mean loss."""
        options = self._options
        n_steps = options.epochs * self._n_steps
        rate = learning_rate(global_step, n_steps, self._peak, options.warm_up)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        n, loss = len(batch["index"]), 0.0
        self._averager.zero_grad()
        self._averager.begin(n)
        if n or self._is_synchronised:
            value = self._task.loss(batch)
            torch.autograd.backward(value)
            loss = value.item()
        self._averager.finish(flag=self._stop.came)
        if options.clip is not None:
            self._averager.clip(options.clip)
        self._optimizer.step()
        return n, loss

    def _evaluate(self) -> dict[str, float] | None:
        """Measure the model on the held-out feed, each sample once over all ranks."""
        if self._test_loader is None:
            return None
        started_s = time.perf_counter()
        totals = np.zeros(3, np.float64)
        self._task.model.eval()
        with torch.no_grad():
            for batch in self._test_loader:
                n = len(batch["index"])
                if n:
                    totals += (n, *self._task.score(batch))
        self._task.model.train()
        self._world.sum(totals)
        n_samples, n_right, loss_sum = totals.tolist()
        return {
            "accuracy": n_right / max(1.0, n_samples),
            "loss": loss_sum / max(1.0, n_samples),
            "seconds": time.perf_counter() - started_s,
        }

    def _announce(self, epoch: int, step: int) -> None:
        pids = gather_numbers(self._world, [os.getpid()])[:, 0]
        start = {
            **self._order,
            "ranks": self._world.size,
            "pids": [int(pid) for pid in pids],
            "steps_per_epoch": self._n_steps,
            "epochs": self._options.epochs,
            "epoch": epoch,
            "step": step,
        }
        self._report.event("start", start)
        if epoch or step:
            self._report.line(f"resumed at epoch {epoch}, step {step}")

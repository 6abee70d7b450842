"""Train a small GPT on a feed of token sequences.

::

    datafeed stage text.jsonl --to FEED --transform 'datafeed.transforms:pack(129, "text")'
    mpirun -n 2 python -m trainers.language_model --feed FEED --lr 0.003
"""

from typing import Any

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import datafeed
from datafeed.console import emit
from datafeed.errors import ConfigError, TrainerError
from trainers.models.gpt import GPT
from trainers.reporting.report import Report
from trainers.run.command_line import run_options
from trainers.run.launch import RankCommand
from trainers.run.loop import Batch
from trainers.run.options import TrainOptions
from trainers.run.session import autocast, train
from trainers.world.world import World

__all__ = ["LanguageTask", "command"]


class LanguageTask:
    """Prediction of each token of ``tokens`` from those before it.

    Where the feed has ``segments``, as ``pack`` makes them, what fills up the last sequence
    (segment 0) is not predicted. All samples of a batch weigh alike.

    Args:
        feed: Its sequences give the context: their length less one.
        vocabulary: Tokens are 0 to vocabulary - 1.
        device: Where the network lives.
        precision: ``fp32`` or ``bf16``.
        width, depth, heads: Of the network.

    Raises:
        ConfigError: the feed holds no sequences of one length, or the sizes do not fit.
    """

    def __init__(
        self,
        feed: datafeed.Feed,
        vocabulary: int,
        device: torch.device,
        precision: str,
        *,
        width: int,
        depth: int,
        heads: int,
    ) -> None:
        if width % heads:
            raise ConfigError(f"--width {width}: give a multiple of --heads {heads}")
        self._device, self._precision, self._vocabulary = device, precision, vocabulary
        context = _sequence_length(feed) - 1
        self.model: nn.Module = GPT(vocabulary, context, width, depth, heads).to(device)

    def optimizer(self, lr: float) -> torch.optim.Optimizer:
        """Make AdamW (Loshchilov & Hutter, ICLR 2019)."""
        return torch.optim.AdamW(self.model.parameters(), lr, betas=(0.9, 0.95), weight_decay=0.1)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross entropy of a batch; 0 of an empty one."""
        return self._losses(batch)[0].sum() / max(1, len(batch["tokens"]))

    def score(self, batch: Batch) -> tuple[float, float]:
        """Add up each sample's part of tokens predicted rightly, and its loss."""
        losses, right = self._losses(batch)
        return float(right.sum()), float(losses.sum())

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return each sample's mean loss, and the part of its tokens that were predicted."""
        tokens = batch["tokens"].to(self._device, torch.int64, non_blocking=True)
        if tokens.device.type == "cpu" and tokens.numel():  # on a GPU the look would wait for it
            self._check(tokens)
        with autocast(self._device, self._precision):
            logits = self.model(tokens[:, :-1])
        wanted = tokens[:, 1:]
        counts = torch.ones_like(wanted, dtype=torch.float32)
        if "segments" in batch:
            counts = (batch["segments"][:, 1:].to(self._device) > 0).float()
        n = counts.sum(1).clamp(min=1)
        losses = F.cross_entropy(logits.float().transpose(1, 2), wanted, reduction="none")
        right = (logits.argmax(-1) == wanted).float()
        return (losses * counts).sum(1) / n, (right * counts).sum(1) / n

    def _check(self, tokens: Tensor) -> None:
        low, high = (int(bound) for bound in tokens.aminmax())
        if low < 0 or high >= self._vocabulary:
            raise TrainerError(
                f"a token is {low if low < 0 else high}, but the vocabulary is {self._vocabulary} "
                "from 0; give the feed's number with --vocabulary"
            )


def _sequence_length(feed: datafeed.Feed) -> int:
    field = feed.fields.get("tokens")
    if field is None:
        raise ConfigError(f"{feed.url}: has the fields {list(feed.fields)}; needs tokens")
    if field.is_ragged or len(field.shape) != 1 or field.shape[0] < 2 or field.dtype[0] in "fcb":
        raise ConfigError(
            f"{feed.url}: tokens is {field.dtype}{list(field.shape)}; needs whole numbers, 2 or "
            "more of one length; stage with datafeed.transforms:pack"
        )
    return int(field.shape[0])


@click.command(cls=RankCommand, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--vocabulary", type=click.IntRange(min=2), default=257, show_default=True)
@click.option("--width", type=click.IntRange(min=1), default=128, show_default=True)
@click.option("--depth", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--heads", type=click.IntRange(min=1), default=4, show_default=True)
@run_options
def command(
    world: World,
    vocabulary: int,
    width: int,
    depth: int,
    heads: int,
    as_json: bool,
    **values: Any,
) -> None:
    """Train a small GPT on a feed of token sequences, on all ranks of mpirun."""
    report, options = Report(world.rank == 0, as_json), TrainOptions(**values)
    sizes = {"width": width, "depth": depth, "heads": heads}

    def make(feed: datafeed.Feed, device: torch.device, world: World) -> LanguageTask:
        return LanguageTask(feed, vocabulary, device, options.precision, **sizes)

    lines = [f"--vocabulary {vocabulary}", *(f"--{name} {size}" for name, size in sizes.items())]
    summary = train(world, options, report, lines, make)
    if world.rank == 0 and not as_json:
        emit(summary, as_json=False)


if __name__ == "__main__":
    command()

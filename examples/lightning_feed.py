"""A LightningModule, fed by datafeed: the loader is handed over like any other.

::

    python examples/lightning_feed.py --feed FEED --devices 2

``use_distributed_sampler=False``: the loader deals samples out to ranks itself.
"""

import argparse
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor

import datafeed
from trainers.models.small_cnn import SmallConvNet


class Classifier(lightning.LightningModule):
    """SmallConvNet with its loss and optimizer."""

    def __init__(self, height: int, width: int, n_classes: int) -> None:
        super().__init__()
        self.network = SmallConvNet(height, width, 1, n_classes)
        self.n_samples = 0

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        """Return the loss of a batch."""
        self.n_samples += len(batch["label"])
        loss = F.cross_entropy(self.network(batch["image"]), batch["label"])
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        """Make the optimizer."""
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def main() -> None:
    """Train two epochs; rank 0 prints its samples and the last loss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--feed", required=True)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--devices", type=int, default=1)
    options = parser.parse_args()
    lightning.seed_everything(0)
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=options.devices,
        strategy="ddp" if options.devices > 1 else "auto",
        max_epochs=2,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with datafeed.open(options.feed) as feed:
        height, width = feed.fields["image"].shape
        model = Classifier(height, width, options.classes)
        rank, size = trainer.global_rank, trainer.world_size
        with datafeed.DataLoader(
            feed, global_batch_size=16, seed=0, drop_last=True, rank=rank, world_size=size
        ) as loader:
            trainer.fit(model, loader)
    if trainer.is_global_zero:
        loss = float(trainer.callback_metrics["loss"])
        print(f"rank 0 of {size}: {model.n_samples} samples, loss {loss:.4f}")


if __name__ == "__main__":
    main()

"""Inside Lightning, accelerate and torchdata: they get the loader's own batches."""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from datafeed import DataLoader, Feed
from tests.loading.small_feed import BATCH, PARTS, loader_of, order_of

pytestmark = [
    # What Lightning and accelerate say of CPUs and of their own dependencies is not at issue.
    pytest.mark.filterwarnings("ignore"),
]
N = sum(PARTS)


@pytest.fixture
def feed(written: Feed) -> Feed:
    """The small feed, mapped: how its chunks are resident is no matter here."""
    return written


def lightning_module() -> Any:
    import lightning

    class Seen(lightning.LightningModule):
        """Notes the samples of every epoch."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(16, 1)
            self.train_ids: list[list[int]] = []
            self.val_ids: list[int] = []

        def on_train_epoch_start(self) -> None:
            self.train_ids.append([])

        def training_step(self, batch: dict[str, Any], step: int) -> Any:
            self.train_ids[-1] += batch["id"].tolist()
            return self.layer(batch["image"].float().flatten(1)).mean()

        def validation_step(self, batch: dict[str, Any], step: int) -> None:
            self.val_ids += batch["id"].tolist()

        def predict_step(self, batch: dict[str, Any], step: int) -> Any:
            return batch["id"]

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    return Seen()


def trainer_of(folder: Path, **options: Any) -> Any:
    import lightning
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment

    options |= {"plugins": [LightningEnvironment()]}  # else it starts MPI to see if there is one
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return lightning.Trainer(accelerator="cpu", default_root_dir=folder, **{**quiet, **options})


def epoch_of(epoch: int, **options: Any) -> list[int]:
    positions: list[int] = order_of(**options).positions(epoch, 0, N).tolist()
    return positions


def test_lightning_trains_validates_and_resumes(feed: Feed, tmp_path: Path) -> None:
    module = lightning_module()
    with loader_of(feed, seed=4) as train, loader_of(feed, shuffle=False) as val:
        trainer = trainer_of(tmp_path, max_epochs=2, num_sanity_val_steps=0)
        trainer.fit(module, train, val)
        assert module.train_ids == [epoch_of(0, seed=4), epoch_of(1, seed=4)]
        assert module.val_ids == 2 * list(range(N))
        trainer.save_checkpoint(tmp_path / "two.ckpt")
    later = lightning_module()
    with loader_of(feed, seed=4) as train:
        trainer = trainer_of(tmp_path, max_epochs=3, enable_checkpointing=False)
        trainer.fit(later, train, ckpt_path=tmp_path / "two.ckpt", weights_only=False)
        assert later.train_ids == [epoch_of(2, seed=4)]


def test_lightning_predicts_and_overfits(feed: Feed, tmp_path: Path) -> None:
    module = lightning_module()
    with loader_of(feed, shuffle=False, with_index=True) as loader:
        found = trainer_of(tmp_path, enable_checkpointing=False).predict(module, loader)
        assert torch.cat(found).tolist() == list(range(N))
    with loader_of(feed, seed=4, with_index=True) as loader:
        trainer = trainer_of(tmp_path, max_epochs=2, overfit_batches=2, enable_checkpointing=False)
        trainer.fit(module, loader)
        assert module.train_ids == 2 * [list(range(2 * BATCH))]


RANKS = """
import sys, warnings
warnings.simplefilter("ignore")
import torch, lightning, datafeed
from tests.loading.test_frameworks import lightning_module, trainer_of

if __name__ == "__main__":
    loader = datafeed.DataLoader(datafeed.open(sys.argv[1]), 12, streams=4)  # ranks: not yet known
    module = lightning_module()
    trainer = trainer_of(sys.argv[2], max_epochs=1, devices=2, strategy="ddp",
                         enable_checkpointing=False)
    trainer.fit(module, loader)
    with open(f"{sys.argv[2]}/{trainer.global_rank}", "w") as file:
        print(module.train_ids[0], file=file)
    loader.close()
"""


@pytest.mark.slow
def test_lightning_leaves_the_shares_of_ranks_alone(feed: Feed, tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    command = [sys.executable, str(script), feed.url, str(tmp_path)]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-2000:]
    shares = [json.loads((tmp_path / str(rank)).read_text()) for rank in range(2)]
    order = order_of()
    for rank in range(2):
        own = [order.rank_batch(0, step, rank, 2).tolist() for step in range(order.steps)]
        assert shares[rank] == [i for share in own for i in share]


@pytest.fixture
def accelerator() -> Iterator[Any]:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState, PartialState

    yield Accelerator(cpu=True, gradient_accumulation_steps=5)
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


def test_accelerate_leaves_the_loader_as_it_is(feed: Feed, accelerator: Any) -> None:
    model = torch.nn.Linear(16, 1)
    with loader_of(feed) as mine:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model, optimizer, loader = accelerator.prepare(model, optimizer, mine)
        assert loader is mine
        synchronised = []
        seen: list[int] = []
        for batch in loader:
            with accelerator.accumulate(model):
                loss = model(batch["image"].float().flatten(1)).mean()
                accelerator.backward(loss)
                synchronised.append(accelerator.sync_gradients)
            seen += accelerator.gather_for_metrics(batch["id"]).tolist()
        assert seen == epoch_of(0)
        # Every fifth step, and the last one, though it is no fifth.
        steps = range(1, len(loader) + 1)
        assert synchronised == [step % 5 == 0 or step == len(loader) for step in steps]


def test_accelerate_saves_and_loads_the_place(feed: Feed, accelerator: Any, tmp_path: Path) -> None:
    with loader_of(feed) as mine:
        loader = accelerator.prepare(mine)
        batches = iter(loader)
        for _ in range(3):
            next(batches)
        accelerator.save_state(str(tmp_path))
        rest = [batch["id"].tolist() for batch in batches]
        accelerator.load_state(str(tmp_path))
        assert [batch["id"].tolist() for batch in loader] == rest


def test_torchdata_saves_and_loads_the_place(feed: Feed) -> None:
    from torchdata.nodes import IterableWrapper, Loader
    from torchdata.nodes.types import Stateful

    with loader_of(feed) as mine, loader_of(feed) as other:
        assert isinstance(mine, Stateful)
        assert not isinstance(DataLoader([1, 2, 3]), Stateful)
        node = IterableWrapper(mine)
        nodes: Any = Loader(node)
        batches = iter(nodes)
        for _ in range(3):
            next(batches)
        state = copy.deepcopy(nodes.state_dict())
        rest = [batch["id"].tolist() for batch in batches]
        again: Any = Loader(IterableWrapper(other))
        again.load_state_dict(state)
        assert [batch["id"].tolist() for batch in again] == rest


def test_a_stateful_loader_of_torchdata_reads_feeds(feed: Feed) -> None:
    """A feed is a map-style data set, for those who have their own loader."""
    from torchdata.stateful_dataloader import StatefulDataLoader

    loader: Any = StatefulDataLoader(feed, batch_size=50)  # type: ignore[arg-type,unused-ignore]
    assert [i for batch in loader for i in batch["id"].tolist()] == list(range(N))

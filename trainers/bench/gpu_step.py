"""Times steps of ResNet-50 in bf16 on a GPU, from a feed and from one batch that stays there.

::

    python -m trainers.bench.gpu_step [--quick]

Prints one JSON object: ``seconds`` and ``waits`` of each step of each way. Not yet run on a GPU.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn, optim
from torch.nn.functional import cross_entropy

import datafeed
from datafeed.bench.harness.made_feed import FIELD, MadeFeed
from trainers.models.resnet import resnet18, resnet50

__all__ = ["main"]

_SIDE, _N_CLASSES = 224, 1000
_N_WARM = 5


class _Step:
    """Forward, backward and SGD of one batch; its end is waited for."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model.cuda().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimizer = optim.SGD(self._model.parameters(), 0.01, momentum=0.9)

    def run(self, images: Tensor) -> None:
        """Train one step on samples of flat images."""
        labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        self._optimizer.zero_grad()
        with torch.autocast("cuda", torch.bfloat16):
            logits = self._model(images.view(-1, _SIDE, _SIDE, 3))
        torch.autograd.backward(cross_entropy(logits.float(), labels))
        self._optimizer.step()
        torch.cuda.synchronize()


def main() -> None:
    """Measure both ways, in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    is_quick = parser.parse_args().quick
    n_steps, batch = (3, 16) if is_quick else (40, 256)
    step = _Step((resnet18 if is_quick else resnet50)(3, _N_CLASSES))
    with TemporaryDirectory(prefix="datafeed-bench-") as folder:
        n_bytes = (n_steps + _N_WARM) * batch * _SIDE * _SIDE * 3
        made = MadeFeed.write(Path(folder) / "made", n_bytes, _SIDE * _SIDE * 3)
        with (
            made.open() as feed,
            datafeed.DataLoader(feed, batch_size=batch, device="cuda", drop_last=True) as loader,
        ):
            print(json.dumps(_measure(step, loader, n_steps)), flush=True)


def _measure(
    step: _Step, loader: datafeed.DataLoader, n_steps: int
) -> dict[str, dict[str, list[float]]]:
    """Take turns: a batch of the feed, then one that is there, of the same size."""
    ways: dict[str, dict[str, list[float]]] = {
        name: {"seconds": [], "waits": []} for name in ("feed", "synthetic")
    }
    batches = _endless(loader)
    still = next(batches)
    for i in range(n_steps + _N_WARM):
        for name, times in ways.items():
            started = time.perf_counter()
            images = next(batches) if name == "feed" else still
            arrived = time.perf_counter()
            step.run(images)
            if i >= _N_WARM:
                times["seconds"].append(time.perf_counter() - started)
                times["waits"].append(arrived - started)
    return ways


def _endless(loader: datafeed.DataLoader) -> Iterator[Tensor]:
    epoch = 0
    while True:
        loader.set_epoch(epoch)
        for batch in loader:
            yield batch[FIELD]
        epoch += 1


if __name__ == "__main__":
    main()

"""``datafeed bench gpu``: how long a GPU waits for batches of a feed; nothing without a GPU.

A process measures; this one makes rows of its times. The trainers are not imported.
"""

import json
import sys
from collections.abc import Callable, Iterator

import numpy as np

from datafeed.bench.harness.measure import Goal, Row, make_row
from datafeed.bench.harness.process import output_of

__all__ = ["run"]

_CASE = "ResNet-50, bf16, 256 images of 224 x 224 a step"
_IMAGES, _QUICK_IMAGES = 256, 16
_LIMIT_S = 1200


def run(log: Callable[[str], None], quick: bool = False) -> Iterator[Row]:
    """Measure, and give rows.

    Args:
        log: Takes lines about progress, or why there are no rows.
        quick: A small network and three steps, to see that it runs.

    Raises:
        TrainerError: the measuring process failed.
    """
    import torch

    if not torch.cuda.is_available():
        log("gpu: torch sees no CUDA device here; not measured")
        return
    log(f"gpu: {torch.cuda.get_device_name()}")
    found = json.loads(_measured(quick))
    n_images = _QUICK_IMAGES if quick else _IMAGES
    more = {"gpu": torch.cuda.get_device_name()}
    seconds = {name: np.array(times["seconds"]) for name, times in found.items()}
    stalls = 100 * np.array(found["feed"]["waits"]) / seconds["feed"]
    yield make_row(
        *("gpu", _CASE, "stall, part of the step", stalls.tolist(), "%"),
        *(Goal(1.0, "lower"), more),
    )
    for name, way in (("feed", "from a feed"), ("synthetic", "one batch that stays on the GPU")):
        yield make_row(
            "gpu", _CASE, way, (n_images / seconds[name]).tolist(), "images/s", None, more
        )


def _measured(quick: bool) -> str:
    command = [sys.executable, "-m", "trainers.bench.gpu_step", *["--quick"] * quick]
    return output_of(command, command[2], _LIMIT_S)

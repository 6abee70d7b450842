"""Options: checked when made."""

from pathlib import Path
from typing import Any

import pytest
import torch

from datafeed.errors import ConfigError
from trainers.run.options import TrainOptions


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "--epochs 0: give a number above 0"),
        ({"global_batch": -1}, "--global-batch -1"),
        ({"lr": 0.0}, "--lr 0.0"),
        ({"checkpoint_every": -1}, "--checkpoint-every"),
        ({"resume": True}, "--resume and --checkpoint-every need --checkpoint DIR"),
        ({"checkpoint_every": 3}, "need --checkpoint DIR"),
        ({"device": "tpu"}, "--device is cpu or cuda"),
        ({"precision": "fp16"}, "--precision is fp32 or bf16"),
    ],
)
def test_what_cannot_be_used_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainOptions(feed="f", **values)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_cuda_without_a_device_is_one_clear_line() -> None:
    with pytest.raises(ConfigError, match="torch sees no CUDA device here; use --device cpu"):
        TrainOptions(feed="f", device="cuda")


def test_only_what_changes_results_must_agree() -> None:
    one = TrainOptions(feed="f", checkpoint=Path("a"), cache="x:1")
    other = TrainOptions(feed="f", checkpoint=Path("b"), cache="y:1")
    assert one.shared() == other.shared()
    assert one.shared() != TrainOptions(feed="f", lr=0.5).shared()

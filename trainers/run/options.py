"""What a training run can be told, checked when made."""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from datafeed.errors import ConfigError

__all__ = ["TrainOptions"]

_EACH_RANKS_OWN = (
    "checkpoint",
    "keep_checkpoints",
    "metrics",
    "sample_log",
    "cache",
    "memory_bytes",
)
"""Options that need not agree: they change no result."""

_POSITIVE = (
    *("epochs", "global_batch", "lr", "lr_batch", "clip", "keep_checkpoints", "streams"),
    *("memory_bytes", "window_bytes"),
)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of a training run.

    Raises:
        ConfigError: a value, or a combination of them, cannot be used.
    """

    feed: str
    """Feed to train on."""
    test_feed: str | None = None
    """Feed to measure accuracy on, after every epoch."""
    cache: str | None = None
    """memcached servers that hold blocks of the feeds."""
    epochs: int = 3
    """Passes over the feed, in all: a resumed run does what is left of them."""
    global_batch: int = 128
    """Samples of a step over all ranks."""
    lr: float = 0.1
    """Highest learning rate."""
    lr_batch: int | None = None
    """Global batch for which the rate was found: it is scaled linearly to this run's."""
    warm_up: float = 0.2
    """Part of the run in which the rate rises."""
    clip: float | None = None
    """Highest global norm of the gradients."""
    seed: int = 0
    """Of the order of samples and of the first parameters."""
    checkpoint: Path | None = None
    """Folder of checkpoints, which rank 0 alone reads and writes."""
    checkpoint_every: int = 0
    """Steps between checkpoints, besides one after every epoch."""
    keep_checkpoints: int = 2
    """Newest checkpoints that stay."""
    resume: bool = False
    """Go on from the newest checkpoint, where there is one."""
    device: str = "cpu"
    """``cpu``, or ``cuda``: the node's devices are dealt out to its ranks."""
    precision: str = "fp32"
    """``fp32``, or ``bf16`` for the layers' arithmetic; parameters stay in float32."""
    metrics: Path | None = None
    """Folder for the numbers of steps and epochs, as JSON lines and as a picture."""
    sample_log: Path | None = None
    """Folder for lists of the samples that each rank trained on."""
    streams: int | None = None
    """Streams of the order, at least one for each rank; None: as many as suit the feed."""
    memory_bytes: int = 512 << 20
    """Memory of each rank's loader."""
    window_bytes: int | None = None
    """Memory of each node in which its ranks share the training feed; needs MPI."""

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ConfigError(f"{_flag(name)} {getattr(self, name)}: give a number above 0")
        if not 0 <= self.warm_up < 1:
            raise ConfigError(f"--warm-up {self.warm_up}: give a part of the run, 0 to below 1")
        if self.checkpoint_every < 0:
            raise ConfigError("--checkpoint-every: give a number of steps, 0 for none")
        if self.checkpoint is None and (self.resume or self.checkpoint_every):
            raise ConfigError("--resume and --checkpoint-every need --checkpoint DIR")
        if self.device not in ("cpu", "cuda") or self.precision not in ("fp32", "bf16"):
            raise ConfigError("--device is cpu or cuda, --precision is fp32 or bf16")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError(
                "--device cuda: torch sees no CUDA device here; use --device cpu, or install the "
                "CUDA build of torch"
            )

    def shared(self) -> list[str]:
        """Describe the options that must be the same on all ranks, one line for each."""
        shown = asdict(self).items()
        return [f"{_flag(name)} {value}" for name, value in shown if name not in _EACH_RANKS_OWN]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")

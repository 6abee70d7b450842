"""One run of a trainer, from opening the feeds to the summary."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch

import datafeed
from datafeed.errors import ConfigError
from trainers.reporting.report import Report
from trainers.run.loop import Task, Trainer
from trainers.run.options import TrainOptions
from trainers.run.stop_signal import Stopped
from trainers.world.agreement import require_same
from trainers.world.world import World, local_rank, n_cores

__all__ = ["autocast", "train"]

MakeTask = Callable[[datafeed.Feed, torch.device, World], Task]
_TEST_BATCH = 512


def train(
    world: World, options: TrainOptions, report: Report, lines: Sequence[str], make: MakeTask
) -> dict[str, Any]:
    """Train from start to end. Collective.

    Args:
        world: The ranks.
        options: Of the run.
        report: Speaks on rank 0.
        lines: The trainer's own options, which must be the same on all ranks.
        make: Makes the task for the training feed.

    Returns:
        The summary: see ``trainers.reporting.summary``.
    """
    torch.set_num_threads(n_cores(world))
    torch.manual_seed(options.seed)
    with contextlib.ExitStack() as stack:
        feed = stack.enter_context(datafeed.open(options.feed, cache=options.cache))
        mine = [*options.shared(), *lines, f"feed {feed.manifest.feed_id}"]
        require_same(world, "options", mine, "start all ranks with the same options and feed")
        if options.window_bytes is not None:
            _share(feed, world, options.window_bytes)
        try:
            trainer = Trainer(
                task=make(feed, _device(world, options.device), world),
                loader=stack.enter_context(_loader(feed, world, options, is_test=False)),
                test_loader=_test_loader(stack, world, options),
                feed_id=feed.manifest.feed_id,
                n_samples=len(feed),
                world=world,
                options=options,
                report=report,
            )
            summary = trainer.run()
        except Stopped:  # on all ranks
            raise
        except BaseException:
            if world.size > 1:  # to close a window is collective, and the others do not come
                stack.pop_all()
            raise
        trainer.close()
        return summary


def _share(feed: datafeed.Feed, world: World, n_bytes: int) -> None:
    """Load as much of the feed as fits into memory that the ranks of each node share."""
    if world.comm is None:
        raise ConfigError("--window-bytes: one process without MPI has nobody to share with")
    feed.load_window(world.comm, n_bytes)


def _test_loader(stack: contextlib.ExitStack, world: World, options: TrainOptions) -> Any | None:
    if options.test_feed is None:
        return None
    feed = stack.enter_context(datafeed.open(options.test_feed, cache=options.cache))
    return stack.enter_context(_loader(feed, world, options, is_test=True))


def _loader(feed: datafeed.Feed, world: World, options: TrainOptions, is_test: bool) -> Any:
    return datafeed.DataLoader(
        feed,
        global_batch_size=_TEST_BATCH * world.size if is_test else options.global_batch,
        shuffle=not is_test,
        seed=options.seed,
        comm=world.comm,
        streams=options.streams,
        memory_bytes=options.memory_bytes,
        pin_memory=options.device == "cuda",
        with_index=True,
    )


def _device(world: World, name: str) -> torch.device:
    """Return each of a node's ranks a device of its own. Not yet run on a GPU."""
    if name == "cpu":
        return torch.device("cpu")
    device = torch.device("cuda", local_rank(world) % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """Let a network compute in ``bf16``, or leave it at ``fp32``."""
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()

"""What the arguments of torch's loader become in a loader over a feed."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    default_collate,
    default_convert,
)

from datafeed.errors import ConfigError
from datafeed.loading.sampler import FeedSampler

__all__ = ["translate"]

_POSITIONAL = (
    "batch_size", "shuffle", "sampler", "batch_sampler", "num_workers", "collate_fn",
    "pin_memory", "drop_last", "timeout", "worker_init_fn", "multiprocessing_context",
    "generator",
)  # fmt: skip
# They tune torch's worker processes, of which there are none: nothing is lost without them.
_NEEDLESS = {
    "multiprocessing_context", "prefetch_factor", "persistent_workers", "pin_memory_device",
    "in_order",
}  # fmt: skip


def translate(args: Sequence[Any], options: Mapping[str, Any], n_samples: int) -> dict[str, Any]:
    """Turn the arguments of ``DataLoader(feed, *args, **options)`` into options of its own.

    Args:
        args, options: As given.
        n_samples: Of the feed; a sampler of another number is of something else.

    Returns:
        Options by name; those of a loader over a feed stay as they are.

    Raises:
        ConfigError: an argument means nothing for a feed, or contradicts another.
    """
    if len(args) > len(_POSITIONAL):
        raise ConfigError(f"give all arguments behind {_POSITIONAL[-1]} by name")
    found = dict(zip(_POSITIONAL, args, strict=False))
    twice = sorted(found.keys() & options.keys())
    if twice:
        raise ConfigError(f"{twice[0]}= is given twice, by place and by name")
    found |= options
    for name in _NEEDLESS:
        found.pop(name, None)
    _translate_samplers(found, n_samples)
    _translate_rest(found)
    if found.get("batch_size", 1) is None and found.get("global_batch_size") is None:
        raise ConfigError("batch_size=None: give a number; for single samples iterate the feed")
    return found


def _translate_samplers(found: dict[str, Any], n_samples: int) -> None:
    """Take from samplers what they say about order, ranks and batches."""
    batches = found.pop("batch_sampler", None)
    sampler = found.pop("sampler", None)
    if batches is not None:
        others = sampler is not None or found.get("shuffle") or found.get("drop_last")
        if others or found.get("batch_size", 1) != 1:
            raise ConfigError("batch_sampler= excludes batch_size, shuffle, sampler and drop_last")
        if not isinstance(getattr(batches, "_batch_sampler", batches), BatchSampler):
            raise ConfigError(
                f"batch_sampler={type(batches).__name__} means nothing for a feed; use batch_size= "
                "and shuffle="
            )
        sampler = batches.sampler
        found |= {"batch_size": batches.batch_size, "drop_last": batches.drop_last}
    if sampler is not None:
        if found.pop("shuffle", None):
            raise ConfigError("sampler= and shuffle=: give one of them")
        _translate_sampler(sampler, found, n_samples)
        # Lightning makes a loader anew from what its attributes tell, batch_size among them.
        if found.get("global_batch_size") is not None:
            found.pop("batch_size", None)


def _translate_sampler(sampler: Any, found: dict[str, Any], n_samples: int) -> None:
    if isinstance(sampler, FeedSampler):  # of another loader that this one shall be like
        found |= {**sampler.options, **found}
    elif type(sampler) is DistributedSampler:
        _check_source(sampler, sampler.dataset, n_samples)
        own = {"rank": sampler.rank, "world_size": sampler.num_replicas, "seed": sampler.seed}
        # What is said outright counts.
        found |= {**own, "shuffle": sampler.shuffle, **found, "epoch_from": sampler}
    elif type(sampler) is RandomSampler and not sampler.replacement:
        _check_source(sampler, sampler.data_source, n_samples)
        if sampler.num_samples != n_samples:
            raise ConfigError(
                f"sampler=RandomSampler(num_samples={sampler.num_samples}) of {n_samples} samples "
                "means nothing for a feed; use feed.select(), or leave the loop early"
            )
        found["shuffle"] = True
        if sampler.generator is not None:
            found.setdefault("seed", sampler.generator.initial_seed())
    elif type(sampler) is SequentialSampler:
        _check_source(sampler, sampler.data_source, n_samples)
        found["shuffle"] = False
    else:
        raise ConfigError(
            f"sampler={type(sampler).__name__} means nothing for a feed; use shuffle=, for some of "
            "the samples feed.select(), for weights datafeed.blend()"
        )


def _check_source(sampler: Any, source: Any, n_samples: int) -> None:
    if len(source) != n_samples:
        raise ConfigError(
            f"sampler={type(sampler).__name__} is of {len(source)} samples, the feed has "
            f"{n_samples}; make it of the feed, or use shuffle="
        )


def _translate_rest(found: dict[str, Any]) -> None:
    timeout = found.pop("timeout", 0)
    if timeout:
        found.setdefault("timeout_s", timeout)
    if found.get("collate_fn") in (default_collate, default_convert):
        del found["collate_fn"]
    generator = found.pop("generator", None)
    if isinstance(generator, torch.Generator):
        found.setdefault("seed", generator.initial_seed())
    elif generator is not None:
        raise ConfigError(f"generator={generator!r}: give a torch.Generator, or seed=")
    if found.pop("worker_init_fn", None) is not None:
        raise ConfigError(
            "worker_init_fn= would never be called, as there are no worker processes; transforms "
            "get their random generator as an argument"
        )

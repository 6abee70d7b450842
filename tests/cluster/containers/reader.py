"""What the drills watch: read a feed of closed-form samples and tell every step.

Run under mpirun on the training hosts. Each rank writes one JSON line for each of its steps, and
one at the end. A sample that is not what its position says ends the run.
"""

import argparse
import hashlib
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

SAMPLE_BYTES = 16 << 10


def closed_form(number: int) -> np.ndarray[Any, Any]:
    """Return the sample of this number: it proves where it is from."""
    return ((np.arange(SAMPLE_BYTES, dtype=np.int64) * 7 + number * 31) % 251).astype(np.uint8)


def main() -> None:
    """Read all epochs."""
    import datafeed
    from datafeed.mpi import load_mpi

    parser = argparse.ArgumentParser()
    parser.add_argument("feed")
    parser.add_argument("--cache")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seconds", type=float, help="whole epochs until then, not --epochs")
    parser.add_argument("--global-batch", type=int, default=32)
    parser.add_argument("--memory-mb", type=int, default=16)
    parser.add_argument("--streams", type=int)
    parser.add_argument("--window", type=int)
    parser.add_argument("--pace-s", type=float, default=0.02)
    options = parser.parse_args()
    comm = load_mpi().COMM_WORLD
    with (
        datafeed.open(options.feed, cache=options.cache) as feed,
        datafeed.DataLoader(
            feed,
            global_batch_size=options.global_batch,
            comm=comm,
            seed=11,
            memory_bytes=options.memory_mb << 20,
            streams=options.streams,
            window=options.window,
        ) as loader,
    ):
        end_s = comm.bcast(time.time() + (options.seconds or 0))
        for epoch in itertools.count():
            # Rank 0's clock decides for all, so that all read the same epochs.
            more = epoch < options.epochs if options.seconds is None else time.time() < end_s
            if not comm.bcast(more):
                break
            loader.set_epoch(epoch)
            read_epoch(loader, epoch, comm.rank, options.pace_s)
        log(event="end", rank=comm.rank, stats=loader.stats())


def read_epoch(loader: Any, epoch: int, rank: int, pace_s: float) -> None:
    """Read one epoch and tell its steps."""
    asked_s = time.monotonic()
    for step, batch in enumerate(loader):
        wait_s = time.monotonic() - asked_s
        data, numbers = batch["data"].numpy(), batch["number"].numpy()
        for row, number in zip(data, numbers.tolist(), strict=True):
            if not np.array_equal(row, closed_form(number)):
                sys.exit(f"rank {rank} epoch {epoch} step {step}: sample {number} is wrong")
        log(
            event="step",
            rank=rank,
            epoch=epoch,
            step=step,
            wait_s=round(wait_s, 4),
            at_s=time.time(),
            numbers=numbers.tolist(),
            rss_kib=4 * int(Path("/proc/self/statm").read_text().split()[1]),
            came=came(loader),
            digest=hashlib.sha256(numbers.tobytes()).hexdigest()[:16],
        )
        time.sleep(pace_s)  # the training that a real step does
        asked_s = time.monotonic()


def came(loader: Any) -> dict[str, int]:
    """Count the chunks so far, by where they came from; and those left to HDFS as it is faster."""
    tiers = loader.stats()["tiers"]
    counts = {name: tier["hits"] for name, tier in tiers.items()}
    return {**counts, "slow": sum(tier["slow"] for tier in tiers.values())}


def log(**event: Any) -> None:
    """Write one line, whole."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

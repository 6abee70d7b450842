"""``datafeed bench scale``: a thousand ranks, a hundred servers, the real order and placement.

What a cluster of that size would ask of its network is worked out, not measured: which rank needs
which chunk in which step (``Order``), which server holds its blocks (``Placement``), and how long
links of a given speed take to carry them. The model is simple on purpose: a step takes as long as
the busiest of computing, one rank's link, and one server's link, evened out over the steps that
ranks read ahead. tests/cluster/containers checks it on real hosts behind slow links.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datafeed.bench.harness.measure import Goal, Row, make_row
from datafeed.cache.memcached.placement import Placement
from datafeed.feed.block import PAYLOAD_BYTES, Blocks
from datafeed.loading.order.order import Order

__all__ = ["Demand", "Site", "demand", "run", "step_times"]

I64Array = npt.NDArray[np.int64]
F64Array = npt.NDArray[np.float64]

_SAMPLE_BYTES = 64 << 10
_SAMPLES_PER_CHUNK = 16  # 1 MiB: two blocks and 32 KiB of a third
_LINKS_GBIT = (10, 25, 100)
_COMPUTE_S = 0.005
_REQUESTED_RANKS = 8


@dataclass(frozen=True, kw_only=True)
class Site:
    """A cluster, as far as the model knows it."""

    ranks: int
    servers: int
    link_bytes_s: float
    """Of each server's link, bytes per second."""
    rank_link_bytes_s: float | None = None
    """Of each rank's link; default: as a server's."""
    compute_s: float
    """Of a step."""
    ahead: int = 8
    """Steps that ranks read ahead."""
    hosts: int | None = None
    """Hosts that share a link among their ranks; default: a rank has a link of its own."""


@dataclass(frozen=True)
class Demand:
    """Bytes asked for the first time in each step of an epoch."""

    of_ranks: I64Array
    """steps x ranks"""
    of_servers: I64Array
    """steps x servers"""
    samples_of_ranks: I64Array
    """steps x ranks: samples, not bytes"""
    n_wrong: int
    """Samples that come more than once, or never, or to another rank than they should."""


def demand(
    order: Order,
    samples_per_chunk: int,
    sample_bytes: int,
    site: Site,
    names: Sequence[str] = (),
    feed_id: str = "0" * 32,
) -> Demand:
    """Work out what each rank asks of each server in an epoch; a chunk is fetched once.

    Args:
        order: Of a feed whose parts are whole chunks.
        samples_per_chunk: Samples of a chunk.
        sample_bytes: Bytes of a sample.
        site: Its ranks and servers.
        names: Of the servers, where they are real ones. Default: made up.
        feed_id: Of the feed, which decides where blocks are.
    """
    names = names or [f"server{i:04d}:11211" for i in range(site.servers)]
    positions = order.rank_steps(0, 0, order.steps, 0, 1).positions
    numbers = np.arange(len(positions))
    steps, owners = numbers // order.global_batch, numbers % order.streams % site.ranks
    n_wrong = _differences(order, site.ranks, positions, owners)
    n_wrong += int((np.bincount(positions, minlength=order.n_samples) != 1).sum())
    # A chunk's first sample brings it.
    _, first = np.unique(positions // samples_per_chunk, return_index=True)
    sizes = np.full(len(first), samples_per_chunk * sample_bytes, np.int64)
    shape = (order.steps, site.ranks)
    return Demand(
        of_ranks=_summed(steps[first], owners[first], sizes, shape),
        of_servers=_server_bytes(steps[first], sizes, order.steps, names, feed_id),
        samples_of_ranks=_summed(steps, owners, np.ones_like(steps), shape),
        n_wrong=n_wrong,
    )


def _differences(order: Order, n_ranks: int, positions: I64Array, owners: I64Array) -> int:
    """Count samples that ranks do not get as the whole epoch says; of a few ranks all over."""
    n_wrong = 0
    for rank in sorted({*range(0, n_ranks, -(-n_ranks // _REQUESTED_RANKS)), n_ranks - 1}):
        got = order.rank_steps(0, 0, order.steps, rank, n_ranks).positions
        wanted = positions[owners == rank]
        n_wrong += int((got != wanted).sum()) if len(got) == len(wanted) else len(wanted)
    return n_wrong


def step_times(wanted: Demand, site: Site) -> F64Array:
    """Predict how long each step takes, in seconds."""
    ranks = wanted.of_ranks
    if site.hosts is not None:  # ranks are dealt to hosts in runs, as mpirun does
        per_host = -(-site.ranks // site.hosts)
        ranks = np.add.reduceat(ranks, np.arange(0, site.ranks, per_host), axis=1)
    ranks_s = _evened(ranks, site.ahead) / (site.rank_link_bytes_s or site.link_bytes_s)
    servers_s = _evened(wanted.of_servers, site.ahead) / site.link_bytes_s
    times: F64Array = np.maximum(site.compute_s, np.maximum(ranks_s, servers_s))
    return times


def _evened(step_bytes: I64Array, ahead: int) -> F64Array:
    """The busiest link's bytes of each step, averaged over the steps read ahead."""
    window = np.ones(min(ahead, len(step_bytes))) / min(ahead, len(step_bytes))
    columns = [np.convolve(column, window, mode="same") for column in step_bytes.T]
    busiest: F64Array = np.max(columns, axis=0)
    return busiest


def _summed(steps: I64Array, who: I64Array, sizes: I64Array, shape: tuple[int, int]) -> I64Array:
    flat = np.bincount(steps * shape[1] + who, weights=sizes, minlength=shape[0] * shape[1])
    summed: I64Array = flat.astype(np.int64).reshape(shape)
    return summed


def _server_bytes(
    options: I64Array, sizes: I64Array, n_steps: int, names: Sequence[str], feed_id: str
) -> I64Array:
    n_blocks = Blocks.count(int(sizes.max()))
    placement = Placement(names, feed_id, n_blocks)
    shape = (n_steps, len(names))
    total: I64Array = np.zeros(shape, np.int64)
    chunks = np.arange(len(options))
    for block in range(n_blocks):
        lengths = np.clip(sizes - block * PAYLOAD_BYTES, 0, PAYLOAD_BYTES)
        owners = placement.servers(chunks, np.full(len(options), block))
        total += _summed(options, owners.astype(np.int64), lengths, shape)
    return total


def run(log: Callable[[str], None], quick: bool = False) -> Iterator[Row]:
    """Work out an epoch of 1,024 ranks and 128 servers.

    Args:
        log: Takes lines about progress.
        quick: 32 ranks and 4 servers.

    Yields:
        A row for each property and each speed of links.
    """
    n_ranks, n_servers = (32, 4) if quick else (1024, 128)
    n_samples = n_ranks * (2048 if quick else 4096)
    order = Order(n_samples, _SAMPLES_PER_CHUNK, n_ranks * 32, streams=n_ranks)
    site = Site(ranks=n_ranks, servers=n_servers, link_bytes_s=1.25e9, compute_s=_COMPUTE_S)
    case = f"{n_ranks} ranks, {n_servers} servers, {n_samples * _SAMPLE_BYTES >> 30} GiB"
    log(f"{case}: an epoch of {order.steps} steps")
    started_s = time.perf_counter()
    wanted = demand(order, _SAMPLES_PER_CHUNK, _SAMPLE_BYTES, site)
    took_s = time.perf_counter() - started_s
    yield from _properties(case, wanted)
    yield make_row("scale", case, "working it out", [took_s], "s")
    for gbit in _LINKS_GBIT:
        faster = Site(
            ranks=n_ranks, servers=n_servers, link_bytes_s=gbit * 1.25e8, compute_s=_COMPUTE_S
        )
        times = step_times(wanted, faster)
        ceiling = {"compute_s": _COMPUTE_S}
        yield make_row("scale", case, f"step at {gbit} Gbit/s", times.tolist(), "s", None, ceiling)


def _properties(case: str, wanted: Demand) -> Iterator[Row]:
    none = Goal(0, "lower")
    yield make_row("scale", case, "samples not exactly once", [wanted.n_wrong], "samples", none)
    steps = [int(np.ptp(wanted.samples_of_ranks, axis=1).max())]
    yield make_row("scale", case, "samples between ranks in a step", steps, "samples", none)
    totals = wanted.of_servers.sum(axis=0)
    uneven = float(np.abs(totals / totals.mean() - 1).max())
    goal = Goal(0.1, "lower")
    yield make_row("scale", case, "servers off even, an epoch", [uneven], "share", goal)
    first_windows = wanted.of_servers[: len(wanted.of_servers) // 16 or 1].sum(axis=0)
    uneven = float(np.abs(first_windows / first_windows.mean() - 1).max())
    yield make_row("scale", case, "servers off even, first 1/16 of it", [uneven], "share")

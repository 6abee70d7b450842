"""``datafeed bench load``: batches from local parts and from memcached, beside other loaders."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from datafeed.bench.cached.plain_socket import PlainSocket, Transport
from datafeed.bench.harness.machine import package_version
from datafeed.bench.harness.made_feed import MadeFeed
from datafeed.bench.harness.measure import (
    Comparison,
    Goal,
    Row,
    Timing,
    Variant,
    interleave,
    make_row,
)
from datafeed.bench.harness.servers import memcached_servers
from datafeed.bench.loading.loaders import FeedEpochs, TorchEpochs, check
from datafeed.bench.loading.peer_loaders import NAMES as PEERS
from datafeed.bench.loading.peer_loaders import PeerLoader, PeerMissingError, peer_loader
from datafeed.cache.memcached.upkeep.warm import warm
from datafeed.errors import CacheError
from datafeed.loading.chunks.row_gather import Rows

__all__ = ["run"]

PARTS, TCP, UNIX = "datafeed, local parts", "datafeed, memcached tcp", "datafeed, memcached unix"
TORCH = {n: f"torch, {n} workers" for n in (0, 2)}
PLAIN, COPY = "plain socket, unix", "memcpy"
CHECKED = "plain socket, unix, checked and gathered"
_TRANSPORTS: dict[str, Transport] = {TCP: "tcp", UNIX: "unix"}
_ROUNDS, _QUICK_ROUNDS = 7, 2
_QUICK_BYTES = 2 << 20
# As the loader does: so much in a call, and an arena of 48 MiB.
_CALL_BYTES, _N_CALLS = 8 << 20, 6


@dataclass(frozen=True)
class _Case:
    """A kind of samples and batches."""

    sample_bytes: int
    batch_size: int
    n_bytes: int
    """Of the feed."""
    time: Goal | None = None
    """Of microseconds a sample, from local parts."""
    over_torch: Goal | None = None
    """Of the rate from local parts, as a multiple of torch's with 2 workers."""
    over_copy: Goal | None = None
    """The same, of memcpy's."""
    over_ffcv: Goal | None = None
    """The same, of FFCV's."""
    over_peers: Goal | None = None
    """The same, of the fastest peer's."""
    peer_bytes: int = 32 << 20
    """Of the feed that peers read a prefix of: some need minutes for more."""

    @property
    def name(self) -> str:
        return f"{self.sample_bytes:,} B samples, batch {self.batch_size}"


_CASES = (
    _Case(784, 256, 128 << 20, time=Goal(1, "lower"), over_peers=Goal(3)),
    _Case(
        64 << 10,
        32,
        512 << 20,
        over_torch=Goal(5),
        over_copy=Goal(0.8),
        over_ffcv=Goal(1),
        peer_bytes=256 << 20,
    ),
)


def run(log: Callable[[str], None], quick: bool = False) -> Iterator[Row]:
    """Measure, and give rows as they come.

    Args:
        log: Takes lines about progress.
        quick: A few MiB and rounds, to see that it runs.
    """
    for case in _CASES:
        log(f"load: {case.name}")
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="datafeed-bench-")))
            n_bytes = _QUICK_BYTES if quick else case.n_bytes
            made = MadeFeed.write(folder / "made", n_bytes, case.sample_bytes)
            feeds = _open_feeds(stack, folder, made, case)
            ways = _ways(stack, made, case, feeds)
            peers = _peers(stack, made, case, log)
            ways += [Variant(peer.name, peer.run, pid=peer.pid) for peer in peers]
            timings = interleave(ways, _QUICK_ROUNDS if quick else _ROUNDS)
            n_bytes = made.mapped().nbytes
            for peer in peers:
                timings[peer.name].scale(n_bytes / peer.n_bytes)
            yield from _rows(case, timings, n_bytes, feeds, peers)


def _open_feeds(
    stack: ExitStack, folder: Path, made: MadeFeed, case: _Case
) -> dict[str, FeedEpochs]:
    """Open the feed over its parts, and over servers that hold it."""
    feeds = {PARTS: stack.enter_context(closing(FeedEpochs(made, case.batch_size)))}
    n_bytes = made.mapped().nbytes
    for name, transport in _TRANSPORTS.items():
        servers = stack.enter_context(memcached_servers(folder, transport, n_bytes))
        with made.open() as feed:
            done = warm(feed, servers, progress=False)
        if done.stored != done.blocks:
            raise CacheError(f"only {done.stored} of {done.blocks} blocks fit into {name}")
        epochs = FeedEpochs(made, case.batch_size, servers)
        feeds[name] = stack.enter_context(closing(epochs))
    return feeds


def _ways(
    stack: ExitStack, made: MadeFeed, case: _Case, feeds: dict[str, FeedEpochs]
) -> list[Variant]:
    """List the ways to get all samples in batches; each has delivered the right ones once."""
    samples = made.mapped()
    ways = []
    for name, epochs in feeds.items():
        check(name, epochs.batches(), samples)
        ways.append(Variant(name, epochs.run, epochs.start, epochs.stop))
    for n_workers, name in TORCH.items():
        peer = stack.enter_context(closing(TorchEpochs(made, case.batch_size, n_workers)))
        check(name, peer.batches(), samples)
        ways.append(Variant(name, peer.run))
    plain = stack.enter_context(PlainSocket("unix", samples.nbytes))
    return [*ways, *_ceilings(plain, samples, case.batch_size)]


def _peers(
    stack: ExitStack, made: MadeFeed, case: _Case, log: Callable[[str], None]
) -> list[PeerLoader]:
    """Start the loaders that are there, and tell which are not."""
    found = []
    for name in PEERS:
        try:
            started = peer_loader(name, made, case.peer_bytes, case.batch_size)
            found.append(stack.enter_context(started))
        except PeerMissingError as error:
            log(f"load: {name} was left out: {error}")
    return found


def _ceilings(
    plain: PlainSocket, samples: npt.NDArray[np.uint8], batch_size: int
) -> Iterator[Variant]:
    """Bring as many bytes into one batch buffer, used over and over, in the plainest ways."""
    batch = np.zeros((batch_size, samples.shape[1]), np.uint8)
    pieces = [samples[i : i + batch_size] for i in range(0, len(samples), batch_size)]
    views = [batch[: len(piece)].reshape(-1).data for piece in pieces]

    def copy() -> None:
        for piece in pieces:
            np.copyto(batch[: len(piece)], piece)

    yield Variant(PLAIN, lambda: plain.receive(views))
    yield Variant(CHECKED, _checked(plain, samples, batch))
    yield Variant(COPY, copy)


def _checked(
    plain: PlainSocket, samples: npt.NDArray[np.uint8], batch: npt.NDArray[np.uint8]
) -> Callable[[], None]:
    """The least that shuffled batches of bytes from a socket take, in one thread: receive chunks,
    see that they are right, and copy rows of them in another order."""
    row_bytes = samples.shape[1]
    n_rows = max(1, min(len(samples), _CALL_BYTES // row_bytes))
    arena = np.zeros(_N_CALLS * n_rows * row_bytes, np.uint8)
    rows = Rows(arena, row_bytes)
    shuffled = np.random.default_rng(0).permutation(n_rows) * row_bytes

    def run() -> None:
        for number, first in enumerate(range(0, len(samples), n_rows)):
            n, start = min(n_rows, len(samples) - first), number % _N_CALLS * n_rows * row_bytes
            plain.receive_checked(arena.data[start : start + n * row_bytes])
            for i in range(0, n, len(batch)):
                addresses = shuffled[i : min(i + len(batch), n)]
                rows.take(rows.addresses(start + addresses), batch[: len(addresses)])

    return run


def _rows(
    case: _Case,
    timings: Mapping[str, Timing],
    n_bytes: int,
    feeds: Mapping[str, FeedEpochs],
    others: Sequence[PeerLoader],
) -> Iterator[Row]:
    n_samples = n_bytes // case.sample_bytes
    version = f"torch {package_version('torch')}"
    peers = dict.fromkeys(TORCH.values(), version)
    peers |= {peer.name: f"{peer.name} {peer.version}" for peer in others}
    found = Comparison("load", case.name, n_bytes, timings, peers)
    for name in timings:
        rate = float(np.median(found.rates(name))) * 1e9 / case.sample_bytes
        more = {"samples_per_s": round(rate)}
        if name in feeds:
            more["fetched_percent"] = round(float(np.mean(feeds[name].fetched)))
        yield found.rate_row(name, [COPY, TORCH[2]], more)
    best = max(peers, key=lambda name: float(np.median(found.rates(name))))
    for reference in peers:
        goals = {TORCH[2]: case.over_torch, "FFCV": case.over_ffcv}
        goal = goals.get(reference) or (case.over_peers if reference == best else None)
        yield found.speedup_row(PARTS, reference, goal)
    yield found.speedup_row(PARTS, COPY, case.over_copy)
    # Chunks that lay in the arena already did not travel, so they do not count here.
    travelled = np.minimum(1, np.array(feeds[UNIX].fetched) / 100).tolist()
    yield found.speedup_row(UNIX, PLAIN, Goal(0.85), travelled)
    yield found.speedup_row(UNIX, CHECKED, None, travelled)
    us = (1e6 / n_samples * np.array(timings[PARTS].seconds)).tolist()
    yield make_row("load", case.name, f"time of a sample, {PARTS}", us, "us", case.time)

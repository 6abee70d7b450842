"""What was seen of a memcached server, and what is to be thought of it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from datafeed.cache.memcached.load_shedding import SLOW_S
from datafeed.cache.outcome import ProtocolError, ServerFault, ServerRefused
from datafeed.doctor.finding import Finding, Status, mb_per_s
from datafeed.feed.block import VALUE_BYTES

__all__ = ["SeenServer", "finding_of"]

_CALL_BYTES = 8 << 20  # as the loader asks for
_PARTS_RATIO, _OTHERS_RATIO = 1.5, 3.0
_ITEM_BYTES = VALUE_BYTES + 84  # with key and header, what -I must allow

_Trouble = tuple[Status, str, str]
"""Status, text, cure."""


@dataclass
class SeenServer:
    """What was seen of a server."""

    name: str
    fault: ServerFault | None = None
    version_ms: float = 0.0
    settings: Mapping[str, str] = field(default_factory=dict)
    general: Mapping[str, str] = field(default_factory=dict)
    memory_bytes: int = 0
    left_bytes: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    """Of blocks asked for, by outcome."""
    calls: list[tuple[int, float]] = field(default_factory=list)
    """Bytes and seconds of each call that brought some."""
    single_s: list[float] = field(default_factory=list)
    """Of single blocks."""

    @property
    def present(self) -> float:
        """Share of the blocks asked for that are there and right."""
        return self.counts["hits"] / max(1, self.counts.total())

    @property
    def mb_per_s(self) -> float:
        """Rate of all calls."""
        n_bytes = sum(n for n, _ in self.calls)
        return mb_per_s(n_bytes, sum(seconds for _, seconds in self.calls))

    @property
    def is_late(self) -> bool:
        """Whether a call takes longer than the loader lets pass without a thought."""
        took = [seconds * min(1.0, _CALL_BYTES / max(1, n)) for n, seconds in self.calls]
        return bool(took) and median(took) > SLOW_S


def finding_of(
    server: SeenServer, others: Sequence[float], parts_mb_per_s: float, *, allow_eviction: bool
) -> Finding:
    """Judge a server.

    Args:
        server: What was seen of it.
        others: What the other servers gave [Unit: MB/s].
        parts_mb_per_s: What the parts gave, 0 if nothing.
        allow_eviction: That it may evict is only warned of.
    """
    about = f"server {server.name}"
    if server.fault is not None:
        status, cure = _of_fault(server.fault)
        return Finding(about, status, str(server.fault), {"answers": False}, cure)
    figures = _figures(server)
    troubles = [*_limits(server, allow_eviction), *_contents(server)]
    troubles += _slowness(server, others, parts_mb_per_s)
    if troubles:
        status = max((status for status, *_ in troubles), key=["ok", "warn", "bad"].index)
        texts, cures = ([trouble[i] for trouble in troubles] for i in (1, 2))
        return Finding(about, status, "; ".join(texts), figures, "; ".join(cures))
    latency = f", a block in {figures['block_ms']} ms" if server.single_s else ""
    text = f"{server.mb_per_s:g} MB/s{latency}; {100 * server.present:.0f} % of blocks are there"
    return Finding(about, "ok", text, figures)


def _of_fault(fault: ServerFault) -> tuple[Status, str]:
    """Tell how bad it is, and the cure."""
    if isinstance(fault, ServerRefused):  # which ends a training; others cost only time
        return "bad", "see the password and the certificates"
    if isinstance(fault, ProtocolError):
        return "warn", "name memcached servers themselves, and see what runs there"
    return "warn", "start it again, or leave it out of --cache and run 'datafeed warm'"


def _figures(server: SeenServer) -> dict[str, object]:
    settings, general = server.settings, server.general
    return {
        "answers": True,
        "version": general.get("version"),
        "version_ms": round(server.version_ms, 2),
        "memory_bytes": server.memory_bytes,
        "left_bytes": server.left_bytes,
        "evicts": settings.get("evictions") != "off",
        "evictions": int(general.get("evictions", 0)),
        "item_size_max": int(settings.get("item_size_max", 0)),
        "threads": int(settings.get("num_threads", 0)),
        "present": round(server.present, 4),
        "blocks_asked": server.counts.total(),
        "mb_per_s": server.mb_per_s,
        "block_ms": round(1e3 * median(server.single_s), 3) if server.single_s else None,
    }


def _limits(server: SeenServer, allow_eviction: bool) -> Iterator[_Trouble]:
    if server.settings.get("evictions") != "off":
        n_gone = int(server.general.get("evictions", 0))
        text = f"it evicts values when it is full, {n_gone} so far"
        cure = "start it with 'memcached -M', or open feeds with allow_eviction=True"
        yield "warn" if allow_eviction else "bad", text, cure
    most = int(server.settings.get("item_size_max", 1 << 20))
    if most < _ITEM_BYTES:
        yield "warn", f"it takes items of {most} bytes at most, blocks are longer", "start it " \
            "with -I 1m"  # fmt: skip


def _contents(server: SeenServer) -> Iterator[_Trouble]:
    n_bad = server.counts["corrupt"]
    if n_bad:
        text = f"{n_bad} of the blocks read are corrupt"
        yield "warn", text, "run 'datafeed warm --replace', and test its memory"
    n_missing = server.counts["misses"]
    if not n_missing:
        return
    text = f"{n_missing} of {server.counts.total()} blocks asked for are missing"
    if server.left_bytes < _ITEM_BYTES:
        cure = "it is full: give it more memory (-m), or add servers, then run 'datafeed warm'"
        yield "warn", text, cure
    else:
        yield "warn", text, "run 'datafeed warm'; with --dry-run it tells what fits"


def _slowness(server: SeenServer, others: Sequence[float], parts: float) -> Iterator[_Trouble]:
    rate = server.mb_per_s
    if not server.is_late:
        return
    cure = "look at its link (ss -ti), its load and swapping; or leave it out and warm again"
    if others and rate * _OTHERS_RATIO < median(others):
        yield "warn", f"it is slow: {rate:g} MB/s, the others {median(others):g}", cure
    elif rate * _PARTS_RATIO < parts:
        yield "warn", f"it is slower than the parts: {rate:g} MB/s against {parts:g}", cure

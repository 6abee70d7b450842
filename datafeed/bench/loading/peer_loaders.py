"""Other people's loaders over the same samples, in the environment that a script made for them."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from datafeed.bench.harness.made_feed import MadeFeed
from datafeed.errors import DamagedError, StallError

__all__ = ["NAMES", "PeerLoader", "PeerMissingError", "peer_loader"]

NAMES = ("FFCV", "SPDL", "Grain", "Streaming", "LitData", "WebDataset", "DALI")
_PROGRAM = Path(__file__).parents[3] / "benchmarks" / "peers" / "loaders.py"
_END_S = 30


class PeerMissingError(Exception):
    """A peer is not there, and why."""


class PeerLoader:
    """Orders the peer's process about.

    Args:
        name: One of ``NAMES``.
        process: It, ready to be told.
        version: Of the peer.
        n_bytes: That an epoch of it has.
    """

    def __init__(
        self, name: str, process: "subprocess.Popen[str]", version: str, n_bytes: int
    ) -> None:
        self.name, self.version, self.n_bytes = name, version, n_bytes
        self.pid = process.pid
        self._process = process

    def run(self) -> None:
        """Read an epoch."""
        self._order("run")

    def check(self, samples: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        """See that an epoch holds all samples.

        Raises:
            DamagedError: it does not.
        """
        found = self._order("check")
        if [found["samples"], found["sum"]] != [len(samples), int(samples.sum(dtype=np.int64))]:
            raise DamagedError(f"{self.name} delivered wrong samples; its rates mean nothing")

    def _order(self, word: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return _answer(self._process, self.name)


def _answer(process: "subprocess.Popen[str]", name: str) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise StallError(f"{name} ended early; run benchmarks/peers/loaders.py by hand to see why")
    answer: dict[str, Any] = json.loads(line)
    return answer


@contextmanager
def peer_loader(name: str, made: MadeFeed, n_bytes: int, batch_size: int) -> Iterator[PeerLoader]:
    """Start a peer over the first samples of a made feed; it has read them once, all of them.

    Args:
        name: One of ``NAMES``.
        made: Whose samples.
        n_bytes: Of these, about, since some peers take minutes to write their files.
        batch_size: Of its batches.

    Raises:
        PeerMissingError: there is no environment, or it does not work there.
    """
    python = Path(os.environ.get("DATAFEED_PEERS", "build/peers")) / "loaders" / "bin" / "python"
    if not python.exists():
        raise PeerMissingError("make bench-peers makes its environment")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="datafeed-peer-")))
        samples = made.mapped()[: max(batch_size, n_bytes // made.mapped().shape[1])]
        np.save(folder / "samples.npy", samples)
        process = subprocess.Popen(
            list(
                map(
                    str,
                    [python.absolute(), _PROGRAM, name, folder / "samples.npy", folder, batch_size],
                )
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=folder,
            start_new_session=True,  # Ctrl-C is for this process, at whose end it ends
        )
        stack.callback(_end, process)
        ready = _answer(process, name)
        if "error" in ready:
            raise PeerMissingError(ready["error"])
        peer = PeerLoader(name, process, ready["version"], samples.nbytes)
        peer.check(samples)
        yield peer


def _end(process: "subprocess.Popen[str]") -> None:
    """Hang up, and wait until it is gone."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

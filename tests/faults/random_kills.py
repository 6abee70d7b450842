"""kill -9 at a random instant of any process of a staging run, and what must be true afterwards."""

import hashlib
import os
import random
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from datafeed.cluster.orphans import marks, of_cluster
from datafeed.cluster.process import ProcessId, wait_until
from datafeed.sources import basename, is_temporary, join, open_source

NOBODY = "nobody"
_RUN_S = 240.0
_GONE_S = 30.0
OPEN_MPI_LEFTOVERS = ("ompi.", "prte.", "pmix", "sm_segment.")
"""What a killed mpirun cannot tidy up; the next boot does."""


@dataclass
class Command:
    """A staging command that is run again and again."""

    engine: str
    words: Sequence[str]
    """The command line."""
    feed: str
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def start(self, mark: str, tmp: Path) -> "subprocess.Popen[bytes]":
        """Start it; all its processes carry the mark, and leave temporary files here."""
        places = {"TMPDIR": str(tmp), "OMPI_MCA_btl_sm_backing_directory": str(tmp)}
        env = {**os.environ, **self.env, **marks(mark, None), **places}
        with (self.cwd / f"{mark}.log").open("ab") as log:
            return subprocess.Popen(self.words, cwd=self.cwd, env=env, stdout=log, stderr=log)

    def run(self, mark: str, tmp: Path) -> float:
        """Run it to its end; gives the seconds it took."""
        start_s = time.monotonic()
        status = self.start(mark, tmp).wait(_RUN_S)
        assert status == 0, (self.cwd / f"{mark}.log").read_text()[-3000:]
        return time.monotonic() - start_s

    def digests(self) -> dict[str, str]:
        """SHA-256 of all parts."""
        with closing(open_source(self.feed)) as source:
            names = [basename(info.url) for info in source.list(self.feed)]
            parts = [name for name in names if name.startswith("part-")]
            return {
                name: hashlib.sha256(source.read(join(self.feed, name))).hexdigest()
                for name in parts
            }

    def strays(self) -> list[str]:
        """Names in the feed's folder that are none of a feed."""
        with closing(open_source(self.feed)) as source:
            names = [basename(info.url) for info in source.list(self.feed)]
        known = ("feed.json", "feed.h5")
        return [n for n in names if is_temporary(n) or not (n.startswith("part-") or n in known)]

    def forget(self) -> None:
        """Delete the feed."""
        with closing(open_source(self.feed)) as source:
            source.delete(self.feed)


@dataclass(frozen=True)
class Killed:
    """What one random kill did."""

    engine: str
    victim: str
    """As ``datafeed``, ``mpirun``, ``worker``, ``java``."""
    at_s: float
    survived: bool
    """The command itself went on to its end."""


def kill_at(
    command: Command, wanted: Mapping[str, str], at_s: float, dice: random.Random
) -> Killed:
    """Run the command, kill one of its processes then, run it again, and check all that is left.

    Args:
        command: The run; its feed must not stand yet.
        wanted: Digests of the parts.
        at_s: Seconds after the start.
        dice: Chooses the victim.

    Raises:
        AssertionError: something is missing, differs or is left over.
    """
    mark, tmp = f"kill-{secrets.token_hex(4)}", command.cwd / "tmp"
    tmp.mkdir(exist_ok=True)
    run = command.start(mark, tmp)
    name = NOBODY
    deadline = time.monotonic() + at_s
    while time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.002)
    victims = of_cluster(mark)
    if victims:
        victim = dice.choice(victims)
        name = _name_of(victim)
        victim.send(signal.SIGKILL)
    status = run.wait(_RUN_S)
    if status:
        command.run(mark, tmp)
    case = f"{command.engine}, {name} killed at {at_s:.2f} s ({mark})"
    assert command.digests() == wanted, case
    assert command.strays() == [], case
    assert wait_until(lambda: not of_cluster(mark), _GONE_S), f"{case}: processes are left"
    left = [path.name for path in tmp.iterdir() if not path.name.startswith(OPEN_MPI_LEFTOVERS)]
    assert left == [], case
    return Killed(command.engine, name, at_s, status == 0)


def _name_of(process: ProcessId) -> str:
    """What a process is, by its command line."""
    try:
        words = Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")
    except FileNotFoundError:
        return NOBODY
    if "datafeed.staging.task.worker" in words:
        return "worker"
    if any(word.startswith("pyspark.") for word in words):
        return "spark python"
    is_python = Path(words[0]).name.startswith("python")
    return Path(words[1]).name if is_python and len(words) > 1 else Path(words[0]).name

"""Start daemons that outlive their starter, know them again later, and end exactly those.

A pid alone may have gone to another program by the time it is read back from a file; together with
the start time the kernel keeps for it (proc(5), field 22 of ``/proc/PID/stat``) it is unique.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

TAIL_LINES = 15
_STOP_S = 5.0


@dataclass(frozen=True)
class ProcessId:
    """A process that cannot be mistaken for a later one with the same pid."""

    pid: int
    start_ticks: int
    """Clock ticks between the boot of the machine and the start of the process."""

    @classmethod
    def of(cls, pid: int) -> "ProcessId | None":
        """Return the identity of the live process `pid`, None where there is none."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return None
        state, *fields = stat[stat.rindex(b")") + 1 :].split()  # the name before may hold anything
        return None if state in (b"Z", b"X") else cls(pid, int(fields[18]))

    def alive(self) -> bool:
        """Tell whether this very process runs; one that only waits to be reaped does not."""
        return ProcessId.of(self.pid) == self

    def send(self, signal_number: int) -> None:
        """Signal the process, if it still is this one; SIGSTOP: return when it has stopped."""
        if self.alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal_number)
                if signal_number == signal.SIGSTOP:  # a thread on another core goes on for a while
                    wait_until(lambda: _all_stopped(self.pid), _STOP_S, poll_s=0.001)


def _all_stopped(pid: int) -> bool:
    """Whether each thread of a process is stopped, or gone."""
    states = []
    for file in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):
            states.append(file.read_text().rpartition(")")[2].split()[0])
    return all(state in "TtZX" for state in states)


@dataclass
class Daemon:
    """A process of the cluster, started here or read back from the state file."""

    name: str
    id: ProcessId
    log: Path
    _started: "subprocess.Popen[bytes] | None" = field(default=None, repr=False, compare=False)

    @classmethod
    def start(
        cls, name: str, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None
    ) -> "Daemon":
        """Start `command` in a session of its own: neither Ctrl-C nor our end reaches it.

        Its working directory is that of its log: it may leave core files, and holds no other open.

        Args:
            name: what messages call it.
            command: program and arguments.
            log: file that gets stdout and stderr; overwritten.
            env: variables added to this process's own.

        Raises:
            OSError: the program cannot be started.
        """
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        # A child that ended at once has no readable identity left, but a pid nobody else gets yet.
        identity = ProcessId.of(process.pid) or ProcessId(process.pid, -1)
        return cls(name, identity, log, process)

    @property
    def pid(self) -> int:
        """The process's pid."""
        return self.id.pid

    def alive(self) -> bool:
        """Tell whether it runs."""
        if self._started is not None:
            return self._started.poll() is None  # reaps it, too
        return self.id.alive()

    def succeeded(self) -> bool:
        """Tell whether it was started here and has ended with status 0."""
        return self._started is not None and self._started.poll() == 0

    def tail(self, n_lines: int = TAIL_LINES) -> str:
        """Return the last lines of the log, without the frames of Java's stack traces."""
        if not self.log.exists():
            return "(no log)"
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join([line for line in lines if not line.startswith("\tat ")][-n_lines:])

    def send(self, signal_number: int) -> None:
        """Signal it, if it still runs."""
        if self.alive():
            self.id.send(signal_number)


def kill(daemons: Sequence[Daemon], timeout_s: float = 10.0) -> None:
    """Kill daemons and return when they are gone; those that ended before are passed over.

    By SIGKILL: what they store goes with them, and asking takes long (memcached: 0.8 s; a
    NodeManager waits half a minute for the ResourceManager that is ending, too).

    Args:
        daemons: the processes.
        timeout_s: seconds to wait; only a process inside a hung system call takes longer.
    """
    for daemon in daemons:
        daemon.send(signal.SIGKILL)
    wait_until(lambda: not any(d.alive() for d in daemons), timeout_s, poll_s=0.01)


def wait_until(happened: Callable[[], bool], timeout_s: float, poll_s: float = 0.05) -> bool:
    """Return True as soon as `happened` does, False when it has not within `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll_s)
    return True

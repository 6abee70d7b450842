"""Stop a process and wait until it has: another core may run it on for a while."""

import signal

from datafeed.cluster.process import ProcessId


def stop(pid: int) -> None:
    """Send SIGSTOP, and return when no thread of it runs any more."""
    found = ProcessId.of(pid)
    assert found is not None
    found.send(signal.SIGSTOP)

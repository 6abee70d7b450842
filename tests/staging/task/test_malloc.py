"""Freed memory is used again: counted by the page faults of a process of its own."""

import subprocess
import sys

import pytest

_PROGRAM = """
import resource, sys
import numpy as np
from datafeed.staging.task.malloc import keep_freed_memory
if sys.argv[1] == "kept" and not keep_freed_memory():
    sys.exit("no glibc")
np.ones(1 << 20, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    np.ones(1 << 20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(how: str) -> int:
    command = [sys.executable, "-c", _PROGRAM, how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    if "no glibc" in done.stderr:
        pytest.skip("the C library is not glibc")
    return int(done.stdout)


def test_freed_memory_is_used_again() -> None:
    assert _faults("kept") < 1000
    assert _faults("as ever") > 2 * _faults("kept")

"""Several processes that do one job each at the same time, for ``bench stage``."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from datafeed.errors import StallError

__all__ = ["Crew"]

_END_S = 10


class Crew:
    """Processes of ``stage_worker``, each with arguments of its own; a context manager.

    Args:
        commands: For each process: the name of its job, and what that wants to know.
        env: Variables added to this process's own.
        program: What speaks as ``stage_worker`` does; default: that.
    """

    def __init__(
        self,
        commands: Sequence[Sequence[object]],
        env: Mapping[str, str] | None = None,
        program: Sequence[object] = (sys.executable, "-m", "datafeed.bench.staging.stage_worker"),
    ) -> None:
        self._members = [
            subprocess.Popen(
                list(map(str, [*program, *command])),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **(env or {})},
                start_new_session=True,  # Ctrl-C is for this process; they end with their stdin
            )
            for command in commands
        ]
        self.tell("ready")

    @property
    def pid(self) -> int:
        """Of the first process."""
        return self._members[0].pid

    def tell(self, word: str) -> list[float | None]:
        """Say a word to all, and wait until each has done it.

        Raises:
            StallError: one ended instead.
        """
        for member in self._members:
            assert member.stdin is not None
            print(word, file=member.stdin, flush=True)
        return [self._answer(member) for member in self._members]

    def go(self) -> None:
        """Do the job."""
        self.tell("go")

    def clean(self) -> None:
        """Delete what it made."""
        self.tell("clean")

    @staticmethod
    def _answer(member: "subprocess.Popen[str]") -> float | None:
        assert member.stdout is not None
        line = member.stdout.readline()
        if not line:
            raise StallError("a process of the benchmark ended early; see what it said above")
        result: float | None = json.loads(line)["done"]
        return result

    def close(self) -> None:
        """End the processes; twice is fine."""
        for member in self._members:
            assert member.stdin is not None
            assert member.stdout is not None
            member.stdin.close()
            member.stdout.close()
        for member in self._members:
            try:
                member.wait(_END_S)
            except subprocess.TimeoutExpired:
                member.kill()
                member.wait()

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

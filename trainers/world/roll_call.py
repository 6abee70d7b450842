"""Asking the ranks of a communicator who of them has come to a collective, when one takes too long.

By datagrams beside MPI, answered by a thread: a rank that computes, or waits inside MPI, answers;
one that is stopped or dead does not. Nothing is sent while all goes well.
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from trainers.world.addresses import Addresses

__all__ = ["Presence", "RollCall"]

_WAIT_S, _AGAIN_S = 2.0, 0.5
"""How long to wait for answers, and after how long to ask those again that did not answer."""
_STAGGER_S = 0.001
"""Times the rank: thousands do not ask at once."""
_KEY_BYTES = 8
_MOST_NAMED = 8


@dataclass(frozen=True)
class Presence:
    """Where a rank is: in its ``n_waits``-th collective, or past it."""

    n_waits: int
    what: str
    is_waiting: bool
    age_s: float
    """Since it came to that collective, or left it."""


class _RollCallServer:
    """This process's socket and the thread that answers; open while some roll call is."""

    def __init__(self) -> None:
        self._states: dict[bytes, Callable[[], Presence]] = {}
        self._n_users = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None

    def open(self) -> int:
        """Start to answer, if nobody did yet; give the port, which stays until as many closed."""
        with self._lock:
            self._n_users += 1
            if self._socket is None:
                self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                self._socket.bind(("", 0))
                self._thread = threading.Thread(
                    target=self._answer, args=(self._socket,), name="roll call", daemon=True
                )
                self._thread.start()
            return int(self._socket.getsockname()[1])

    def add(self, key: bytes, state: Callable[[], Presence]) -> None:
        with self._lock:
            self._states[key] = state

    def close(self, key: bytes = b"") -> None:
        """Answer no more for a key; the last one ends the thread."""
        with self._lock:
            self._states.pop(key, None)
            self._n_users -= 1
            if self._n_users or self._socket is None or self._thread is None:
                return
            ending, thread = self._socket, self._thread
            self._socket = self._thread = None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", ("127.0.0.1", ending.getsockname()[1]))
        if thread is not threading.current_thread():
            thread.join(10)

    def _answer(self, coordinator: socket.socket) -> None:
        with coordinator:
            while coordinator is self._socket:
                question, asker = coordinator.recvfrom(64)
                state = self._states.get(question[:_KEY_BYTES])
                if state is not None:
                    with suppress(OSError):  # the asker is gone
                        coordinator.sendto(question + json.dumps(vars(state())).encode(), asker)


_COORDINATOR = _RollCallServer()


class RollCall:
    """Knows where the ranks of one communicator can be asked. Collective.

    Args:
        gather: Gives every rank the bytes of all ranks.
        index: Of this rank in the communicator.
        rank: Of this process in the whole run, as messages name it.
        state: Where this rank is; called from another thread.
    """

    def __init__(
        self,
        gather: Callable[[bytes], list[bytes]],
        index: int,
        rank: int,
        state: Callable[[], Presence],
    ) -> None:
        port = _COORDINATOR.open()
        entry = {"host": socket.gethostname(), "port": port, "pid": os.getpid(), "rank": rank}
        key = secrets.token_bytes(_KEY_BYTES)
        try:
            gathered = gather(key + json.dumps(entry).encode())
        except BaseException:
            _COORDINATOR.close()
            raise
        self._key, self._index, self._state = gathered[0][:_KEY_BYTES], index, state
        self._members = [json.loads(data[_KEY_BYTES:]) for data in gathered]
        self._addresses = Addresses(member["host"] for member in self._members)
        self._is_closed = False
        _COORDINATOR.add(self._key, state)

    def missing(self) -> str:
        """Say which ranks have not come to where this one waits; takes 2 s if one is silent."""
        time.sleep(min(_WAIT_S, _STAGGER_S * self._index))
        n_waits = self._state().n_waits
        answers = self._ask()
        silent = [m for i, m in enumerate(self._members) if i not in answers and i != self._index]
        late = [
            f"{_name(self._members[i])} is alive but has not come: {_described(found)}"
            for i, found in sorted(answers.items())
            if found.n_waits < n_waits
        ]
        heard = {self._members[i]["host"] for i in (*answers, self._index)}
        hung = [
            f"{_name(member)} does not answer: it is stopped, hung or dead"
            + ("" if member["host"] in heard else self._no_way(member["host"]))
            for member in silent
        ]
        named = [*hung, *late]
        if not named:
            return "all ranks answer and have come, so MPI itself does not get on"
        more = [f"{len(named) - _MOST_NAMED} more"] if len(named) > _MOST_NAMED else []
        return "; ".join([*named[:_MOST_NAMED], *more])

    def _no_way(self, host: str) -> str:
        """Say why no rank of a host may have been heard."""
        if self._addresses.of(host) is None:
            return ", or the name of its host has no address here"
        return ", or UDP to its host is blocked"

    def _ask(self) -> dict[int, Presence]:
        """Ask all others, again where no answer comes; give what they say by their index."""
        answers: dict[int, Presence] = {}
        others = [i for i in range(len(self._members)) if i != self._index]
        deadline = time.monotonic() + _WAIT_S
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            while time.monotonic() < deadline and len(answers) < len(others):
                for i in others:
                    if i not in answers and time.monotonic() < deadline:
                        self._send(asking, i)
                until = min(deadline, time.monotonic() + _AGAIN_S)
                while len(answers) < len(others) and (left := until - time.monotonic()) > 0:
                    asking.settimeout(left)
                    self._receive(asking, answers)
        return answers

    def _send(self, asking: socket.socket, i: int) -> None:
        member = self._members[i]
        address = self._addresses.of(member["host"])
        if address is not None:
            with suppress(OSError):  # no way there: no answer
                asking.sendto(self._key + i.to_bytes(4, "big"), (address, member["port"]))

    def _receive(self, asking: socket.socket, answers: dict[int, Presence]) -> None:
        start = _KEY_BYTES + 4
        with suppress(OSError, ValueError, TypeError):  # none in time, or not an answer
            reply = asking.recv(4096)
            if reply[:_KEY_BYTES] == self._key:
                found: dict[str, Any] = json.loads(reply[start:])
                answers[int.from_bytes(reply[_KEY_BYTES:start], "big")] = Presence(**found)

    def close(self) -> None:
        """Answer no more; twice is fine."""
        if not self._is_closed:
            self._is_closed = True
            _COORDINATOR.close(self._key)
        self._addresses.close()


def _name(member: dict[str, Any]) -> str:
    return f"rank {member['rank']} (host {member['host']}, process {member['pid']})"


def _described(found: Presence) -> str:
    if not found.n_waits:
        return "it has waited for nobody yet"
    verb = "it waits in" if found.is_waiting else "it computes since it left"
    return f"{verb} {found.what}, for {found.age_s:.1f} s"

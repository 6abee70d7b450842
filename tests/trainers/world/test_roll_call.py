"""Who has not come: asked of ranks of mpirun that are stopped, late or elsewhere."""

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.mpirun import MPIRUN
from trainers.world.roll_call import Presence, RollCall


def here() -> Presence:
    return Presence(n_waits=4, what="a sum", is_waiting=True, age_s=1.5)


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    """The socket of another rank; the test decides what it answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(30)
        yield peer


def roll_call(peer: socket.socket, *hosts: str) -> RollCall:
    """Make rank 0, with another on each host; on this one, if none is named."""
    entry = {"port": peer.getsockname()[1], "pid": 77, "rank": 1}
    entries = [{**entry, "host": host} for host in hosts or (socket.gethostname(),)]

    def gather(mine: bytes) -> list[bytes]:
        return [mine, *(mine[:8] + json.dumps(entry).encode() for entry in entries)]

    return RollCall(gather, 0, 0, here)


def test_a_rank_without_an_answer_is_named(peer: socket.socket) -> None:
    call = roll_call(peer)
    wanted = f"rank 1 (host {socket.gethostname()}, process 77) does not answer: it is stopped"
    assert call.missing().startswith(wanted)
    call.close()
    call.close()


def test_names_that_are_slow_to_find_hold_up_nobody(
    peer: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first lookup does not end while the ranks are asked; those of the other host are."""
    options: list[str] = []
    slow, ended = threading.Event(), threading.Event()

    def look_up(host: str) -> str:
        options.append(host)
        if host == "slow-to-find":
            slow.set()
            assert ended.wait(60)
            raise OSError("no such host")
        return "127.0.0.1"

    monkeypatch.setattr(socket, "gethostbyname", look_up)
    call = roll_call(peer, "found-at-once", "no..name", "slow-to-find", "slow-to-find")
    assert slow.wait(30)
    said = call.missing()
    assert len(peer.recvfrom(64)[0]) == 12
    assert "dead, or UDP to its host is blocked; rank 1 (host no..name" in said
    assert said.count("or the name of its host has no address here") == 2
    ended.set()
    call.close()
    assert options == ["found-at-once", "no..name", "slow-to-find"]
    assert "host addresses" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize(
    ("n_waits", "is_waiting", "wanted"),
    [
        (3, False, "is alive but has not come: it computes since it left a gather, for 2.0 s"),
        (3, True, "is alive but has not come: it waits in a gather, for 2.0 s"),
        (0, False, "is alive but has not come: it has waited for nobody yet"),
        (4, True, "all ranks answer and have come"),
    ],
)
def test_a_rank_that_answers(
    n_waits: int, is_waiting: bool, wanted: str, peer: socket.socket
) -> None:
    call = roll_call(peer)
    answer = {"n_waits": n_waits, "what": "a gather", "is_waiting": is_waiting, "age_s": 2.0}

    def reply() -> None:
        question, asker = peer.recvfrom(64)
        peer.sendto(b"not an answer", asker)
        peer.sendto(question + b'{"n_waits": 9}', asker)
        peer.sendto(question + json.dumps(answer).encode(), asker)

    thread = threading.Thread(target=reply)
    thread.start()
    assert wanted in call.missing()
    thread.join()
    call.close()


def test_questions_are_answered_until_the_last_roll_call_is_closed(peer: socket.socket) -> None:
    entries: list[bytes] = []

    def gather(mine: bytes) -> list[bytes]:
        entries.append(mine)
        return [mine]

    calls = [RollCall(gather, 0, 0, here) for _ in range(2)]
    key, port = entries[1][:8], json.loads(entries[1][8:])["port"]
    calls[0].close()
    peer.sendto(b"another", ("127.0.0.1", port))
    peer.sendto(key + b"0001", ("127.0.0.1", port))
    answer = peer.recv(1000)
    assert answer[:12] == key + b"0001"
    assert Presence(**json.loads(answer[12:])) == here()
    calls[1].close()
    assert "roll call" not in [thread.name for thread in threading.enumerate()]


def test_a_port_that_was_told_stays_while_others_close(peer: socket.socket) -> None:
    """One is closed while the next has told its port, and waits for those of the other ranks."""
    before = RollCall(lambda mine: [mine], 0, 0, here)
    entries: list[bytes] = []

    def gather(mine: bytes) -> list[bytes]:
        entries.append(mine)
        before.close()
        before.close()
        return [mine]

    call = RollCall(gather, 0, 0, here)
    key, port = entries[0][:8], json.loads(entries[0][8:])["port"]
    peer.sendto(key + b"0001", ("127.0.0.1", port))
    assert peer.recv(1000)[:12] == key + b"0001"
    call.close()
    assert "roll call" not in [thread.name for thread in threading.enumerate()]


def test_a_gathering_that_fails_leaves_nobody_to_answer() -> None:
    def gather(mine: bytes) -> list[bytes]:
        raise OSError("a rank is gone")

    with pytest.raises(OSError, match="is gone"):
        RollCall(gather, 0, 0, here)
    assert "roll call" not in [thread.name for thread in threading.enumerate()]


STOPPED = """
import os, signal
from trainers.world.world import connect
world = connect(timeout_s=1.0)
world.barrier()
if world.rank == 1:
    os.kill(os.getpid(), signal.SIGSTOP)  # never enters the collective
world.gather(b"")
"""
ELSEWHERE = """
import signal
from trainers.world.world import connect
world = connect(timeout_s=1.0)
world.barrier()
if world.rank == world.size - 1:
    signal.pause()
world.gather(b"")
"""


def stderr_of(script: str, n_ranks: int) -> str:
    """Run ranks that must fail; give what they said."""
    done = subprocess.run(
        [*MPIRUN, "-n", str(n_ranks), sys.executable, "-c", script],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    return done.stderr


@pytest.mark.mpi
@pytest.mark.parametrize("n_ranks", [2, 3])
def test_a_stopped_rank_is_named_with_its_host(n_ranks: int) -> None:
    wanted = (
        r"PeerLost: rank [02] waited 1 s in a gathering of all ranks: "
        rf"rank 1 \(host {re.escape(socket.gethostname())}, process \d+\) does not answer: it is "
        r"stopped, hung or dead.*; look there, then run again with --resume"
    )
    assert re.search(wanted, stderr_of(STOPPED, n_ranks))


@pytest.mark.mpi
def test_a_rank_that_does_something_else_is_named() -> None:
    wanted = (
        r"rank 0 waited 1 s in a gathering of all ranks: rank 1 \(host .*, process \d+\) is alive "
        r"but has not come: it computes since it left a barrier, for \d+\.\d s"
    )
    assert re.search(wanted, stderr_of(ELSEWHERE, 2))

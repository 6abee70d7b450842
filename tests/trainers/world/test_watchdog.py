"""Waits with a deadline, on one process."""

import threading

import pytest

from trainers.world.watchdog import Watchdog


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def test_a_wait_that_takes_too_long_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    expired = threading.Event()
    watchdog = Watchdog("rank 3", 0.05, expired.set)
    with watchdog.waiting("a sum"):
        assert expired.wait(30)
    watchdog.close()
    watchdog.close()
    error = capsys.readouterr().err
    assert error.startswith("PeerLost: rank 3 waited 0.05 s in a sum: another rank died or hangs")
    assert error.count("\n") == 1


def test_a_failure_to_ask_still_ends_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    expired = threading.Event()
    watchdog = Watchdog("rank 4", 0.05, expired.set)

    def ask() -> str:
        raise OSError(24, "Too many open files")

    watchdog.ask = ask
    with watchdog.waiting("a sum"):
        assert expired.wait(30)
    watchdog.close()
    said = capsys.readouterr().err
    assert "another rank died or hangs (which one is unknown: OSError: [Errno 24] Too" in said


def test_short_waits_are_let_be_and_close_ends_the_thread() -> None:
    expired = threading.Event()
    watchdog = Watchdog("rank 5", 30.0, expired.set)
    for _ in range(1000):
        with watchdog.waiting("a sum"):
            pass
    assert threads().count("watchdog of rank 5") == 1
    watchdog.close()
    assert "watchdog of rank 5" not in threads()
    assert not expired.is_set()


def test_an_unused_watchdog_starts_no_thread() -> None:
    watchdog = Watchdog("rank 6", 30.0, lambda: None)
    assert "watchdog of rank 6" not in threads()
    watchdog.close()


def test_a_wait_that_ends_while_the_others_are_asked_is_let_be(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options, answered, expired = threading.Event(), threading.Event(), threading.Event()
    watchdog = Watchdog("rank 7", 0.05, expired.set)

    def ask() -> str:
        options.set()
        answered.wait(30)
        return "nobody"

    watchdog.ask = ask
    with watchdog.waiting("a sum"):
        assert options.wait(30)
    answered.set()
    watchdog.close()
    assert not expired.is_set()
    assert capsys.readouterr().err == ""

"""Leaving out servers that failed."""

from datafeed.cache.health import FIRST_WAIT_S, LONGEST_WAIT_S, Health


class Clock:
    """Time that the test sets."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_waits_double_up_to_the_longest() -> None:
    clock = Clock()
    health = Health(2, clock)
    wait_s = FIRST_WAIT_S
    for _ in range(12):
        health.failed(0, clock.now_s)
        assert [health.is_left_out(i) for i in range(2)] == [True, False]
        assert health.next_try() == clock.now_s + wait_s
        clock.now_s += wait_s * 0.99
        assert health.due() == []
        clock.now_s += wait_s * 0.02
        assert health.due() == [0]
        assert health.is_left_out(0)  # until it has answered
        wait_s = min(LONGEST_WAIT_S, 2 * wait_s)
    assert wait_s == LONGEST_WAIT_S


def test_only_one_thread_tries_a_failed_server() -> None:
    clock = Clock()
    health = Health(2, clock)
    health.failed(0, clock.now_s)
    assert not health.may_try(0)
    clock.now_s += FIRST_WAIT_S
    assert health.may_try(0)
    assert not health.may_try(0)
    assert health.may_try(1)


def test_threads_that_meet_the_same_failure_count_once() -> None:
    clock = Clock()
    health = Health(1, clock)
    began = clock.now_s
    clock.now_s += 1
    for _ in range(8):
        health.failed(0, began)
    assert health.next_try() == clock.now_s + FIRST_WAIT_S


def test_an_answer_makes_a_server_well() -> None:
    clock = Clock()
    health = Health(1, clock)
    for _ in range(5):
        health.failed(0, clock.now_s)
        clock.now_s += LONGEST_WAIT_S
    assert not health.all_well()
    health.worked(0)
    assert health.all_well()
    assert health.due() == []
    health.failed(0, clock.now_s)
    assert health.next_try() == clock.now_s + FIRST_WAIT_S


def test_what_servers_held_is_uncertain_after_a_failure() -> None:
    health = Health(1)
    eras = [health.generation]
    health.failed(0, 0.0)
    eras.append(health.generation)
    health.renewed()
    eras.append(health.generation)
    assert len(set(eras)) == 3

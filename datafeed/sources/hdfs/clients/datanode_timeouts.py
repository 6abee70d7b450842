"""How long a DataNode may say nothing before another replica is asked.

A client that knows no dead DataNodes meets the same one again for each file, and at each read of
it. So it is short with them: a second as a rule, a third of one while a DataNode is known to hang.
Where no replica answers so soon, it is the cluster that is slow, and the next try waits longer.
"""

import time
from collections.abc import Callable, Sequence

__all__ = ["DatanodeTimeouts"]

_N_REPLICAS = 3
_CALM_S = 1.0
_ALERT_S = 0.3
_OPENING_S = 0.1
_ALERT_FOR_S = 600.0
"""Until about then the NameNode names a dead DataNode (10.5 minutes, by Hadoop's defaults)."""
_SLOW_FOR_S = 60.0


class DatanodeTimeouts:
    """What one process knows of the DataNodes of one HDFS. Threads may share it.

    Args:
        deadline_s: Of one answer, in seconds: the tries with all limits together take no longer,
            each limit by three replicas. Where it is too short for that (below 7 s), there is one
            limit, a third of it.
        clock: Gives seconds.
    """

    def __init__(self, deadline_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._shorter_s: Sequence[float] = (_ALERT_S, _CALM_S)
        self._most_s = (deadline_s - _OPENING_S) / _N_REPLICAS - sum(self._shorter_s)
        if self._most_s < _CALM_S:
            self._shorter_s, self._most_s = (), deadline_s / _N_REPLICAS
        self._alert_until_s = self._slow_until_s = clock()
        self._slow_s = 0.0

    def limits_s(self) -> Sequence[float]:
        """Return the limit of the next try, and those of tries after it; the last is the
        longest."""
        now_s = self._clock()
        least_s = _ALERT_S if now_s < self._alert_until_s else _CALM_S
        if now_s < self._slow_until_s:
            least_s = max(least_s, self._slow_s)
        shorter = [limit_s for limit_s in self._shorter_s if least_s <= limit_s < self._most_s]
        return [*shorter, self._most_s]

    def met_silence(self) -> None:
        """Note that a DataNode did not answer within the limit."""
        self._alert_until_s = self._clock() + _ALERT_FOR_S

    def needed(self, limit_s: float) -> None:
        """Note that no replica answered within shorter limits, and one did within this one."""
        self._slow_s, self._slow_until_s = limit_s, self._clock() + _SLOW_FOR_S

"""Ask daemons over HTTP whether they can be used yet; an answer that does not come means no."""

import http.client
import json
import urllib.request
from typing import Any, cast

_TIMEOUT_S = 2.0


def n_live_datanodes(namenode_http: int) -> int:
    """Return how many DataNodes serve the NameNode; 0 while it is in safe mode or not there.

    Args:
        namenode_http: HTTP port of the NameNode on 127.0.0.1.
    """
    bean = _jmx_bean(namenode_http, "Hadoop:service=NameNode,name=NameNodeInfo")
    if bean is None or bean["Safemode"]:
        return 0
    return len(json.loads(bean["LiveNodes"]))


def n_live_nodemanagers(resourcemanager_http: int) -> int:
    """Return how many NodeManagers run containers for the ResourceManager; 0 if it is not there.

    Args:
        resourcemanager_http: HTTP port of the ResourceManager on 127.0.0.1.
    """
    answer = _get_json(f"http://127.0.0.1:{resourcemanager_http}/ws/v1/cluster/metrics")
    return int(answer["clusterMetrics"]["activeNodes"]) if answer else 0


def _jmx_bean(port: int, name: str) -> dict[str, Any] | None:
    answer = _get_json(f"http://127.0.0.1:{port}/jmx?qry={name}")
    return answer["beans"][0] if answer and answer["beans"] else None


def _get_json(url: str) -> dict[str, Any] | None:
    # Without a proxy, whatever the environment says: it is this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_TIMEOUT_S) as answer:
            return cast(dict[str, Any], json.load(answer))
    except (OSError, ValueError, http.client.HTTPException):
        return None

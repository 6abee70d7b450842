"""What a task wrote on stderr, asked of YARN's web services; for tasks that died speechless.

Paths are those of the ResourceManager's and the NodeManager's REST interfaces (Hadoop 3.4).
Secured clusters refuse such questions; then there is no log, and the error says less.
"""

import json
import re
from urllib.error import URLError
from urllib.request import urlopen

__all__ = ["last_words", "telling_line"]

_TIMEOUT_S = 3.0
_MAX_NODES = 8
_CONTAINERS = range(2, 8)  # 1 is the ApplicationMaster
_TAIL_BYTES = 2000
_ERROR = re.compile(r"\w*Error\b|No module named|not found|[Cc]annot ")


def last_words(client_text: str) -> str:
    """Find the end of the stderr of one failed task.

    Args:
        client_text: What Hadoop's job client printed: it names the ResourceManager and the job.

    Returns:
        Up to 2,000 bytes of text; empty if no log can be had.
    """
    tracking = re.search(r"(https?://[^/\s]+)/proxy/application_(\d+_\d+)", client_text)
    if not tracking:
        return ""
    manager, job = tracking.groups()
    for address in _nodes(manager):
        for number in _CONTAINERS:
            container = f"container_{job}_01_{number:06d}"
            text = _get(f"http://{address}/ws/v1/node/containerlogs/{container}/stderr")
            if _telling(text):
                return text[-_TAIL_BYTES:]
    return ""


def telling_line(log: str) -> str:
    """The last line of a log that tells of an error; empty if none does."""
    return next(reversed(_telling(log)), "")


def _telling(text: str) -> list[str]:
    """Lines that tell of an error; Java's and Hadoop's own chatter does not count."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if _ERROR.search(line) and not line.startswith("log4j")]


def _nodes(manager: str) -> list[str]:
    try:
        nodes = json.loads(_get(f"{manager}/ws/v1/cluster/nodes"))["nodes"]["node"]
    except (ValueError, KeyError, TypeError):
        return []
    return [str(node["nodeHTTPAddress"]) for node in nodes[:_MAX_NODES]]


def _get(url: str) -> str:
    try:
        with urlopen(url, timeout=_TIMEOUT_S) as answer:
            return str(answer.read().decode(errors="replace"))
    except (URLError, OSError):
        return ""

"""What WebHDFS answers where something is wrong, as Python's own errors."""

import json
from typing import Any

__all__ = ["Answer", "NotActiveError", "failure_of"]

Answer = dict[str, Any]
_PASSED_ON = ("StandbyException", "RetriableException")


class NotActiveError(OSError):
    """A NameNode that stands by."""


def failure_of(status: int, body: bytes) -> OSError:
    """Make the error of an answer.

    Args:
        status: Of HTTP.
        body: Of the answer; JSON, where HDFS itself gave it.
    """
    remote = _remote(body)
    name = remote.get("exception", f"HTTP {status}")
    text = f"{name}: {remote.get('message', 'no reason given')}"
    if name == "FileNotFoundException":
        return FileNotFoundError(text)
    if name in _PASSED_ON:
        return NotActiveError(text)
    if status == 401:
        return PermissionError(f"Kerberos: {text}")
    return OSError(text)


def _remote(body: bytes) -> Answer:
    try:
        answer: Answer = json.loads(body)["RemoteException"]
    except (ValueError, KeyError, TypeError):
        return {}
    return answer

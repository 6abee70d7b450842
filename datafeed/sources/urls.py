"""URLs of files: ``/path``, ``file:///path``, ``hdfs://namenode:port/path``; never %-decoded."""

import re
import secrets

__all__ = [
    "basename",
    "is_temporary",
    "join",
    "local_path",
    "parent",
    "scheme",
    "split",
    "temporary",
]

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://([^/]*)(.*)", re.DOTALL)
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.tmp", re.DOTALL)


def split(url: str) -> tuple[str, str, str]:
    """Cut a URL into (scheme, authority, path); a plain path has neither of the first two."""
    match = _URL.fullmatch(url)
    return (match[1].lower(), match[2], match[3]) if match else ("", "", url)


def scheme(url: str) -> str:
    """The scheme of a URL, as ``hdfs``; empty for a plain path."""
    return split(url)[0]


def join(url: str, *names: str) -> str:
    """Put names below a folder: ``join("hdfs://nn/a/", "b", "c.tar")`` is ``hdfs://nn/a/b/c.tar``."""
    for name in names:
        url = f"{url}{name}" if url.endswith("/") else f"{url}/{name}"
    return url


def local_path(url: str) -> str | None:
    """The path of a local URL (``file://`` or none); None for any other file system."""
    found, _, path = split(url)
    return path if found in ("", "file") else None


def basename(url: str) -> str:
    """The last name of a URL; empty for a root."""
    return split(url)[2].rstrip("/").rpartition("/")[2]


def parent(url: str) -> str:
    """The folder a URL lies in; a root is its own, a bare name lies in ``.``."""
    path = split(url)[2]
    prefix = url[: len(url) - len(path)]
    if not path.strip("/"):
        return url
    folder, slash, _ = path.rstrip("/").rpartition("/")
    return prefix + (folder or slash) or "."


def temporary(url: str) -> str:
    """A fresh name in the same folder, which globs pass over, for a file still being written."""
    return join(parent(url), f".{basename(url)}.{secrets.token_hex(6)}.tmp")


def is_temporary(url: str) -> bool:
    """Whether the name is one of ``temporary``: what a killed upload left behind."""
    return _TEMPORARY.fullmatch(basename(url)) is not None

"""The one place where errors of operating system, hdfs-native and pydoop become SourceError.

hdfs-native gives the texts of Java's exceptions in OSError and RuntimeError, and Rust panics as a
BaseException; pydoop gives errno values, 255 for what it does not know.
"""

import errno
import re
from pathlib import Path

from datafeed.errors import SourceError
from datafeed.sources.base import MissingFileError, SourceTimeoutError
from datafeed.sources.urls import basename

__all__ = [
    "is_transient_write",
    "require_local_file",
    "require_not_root",
    "source_error",
    "too_short",
]

_MISSING = "no such file or folder; check the name"
_FORBIDDEN = "not allowed; ask its owner for access, or run as (HADOOP_USER_NAME, kinit) who may"
_FULL = "the disk or quota is full; make room and run again"
_REFUSED = "the server refuses the connection; check the address, or start HDFS"

_BY_CLASS: tuple[tuple[type[OSError], str], ...] = (
    (PermissionError, _FORBIDDEN),
    (IsADirectoryError, "is a folder; name a file"),
    (NotADirectoryError, "is not a folder, or lies below a file; check the path"),
    (FileExistsError, "something of another kind stands there; check the path"),
    (ConnectionRefusedError, _REFUSED),
)
_BY_ERRNO = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EROFS: "the file system is read-only",
    errno.EXDEV: "cannot be moved to another file system; choose a name on the same one",
    255: "libhdfs failed; its reason is on stderr above",
}
_BY_TEXT = (
    ("Path is not a file|IsADirectory", "is a folder; name a file"),
    ("ParentNotDirectory|is not a directory", "lies below a file; check the path"),
    ("AccessControlException|Permission denied", _FORBIDDEN),
    ("QuotaExceeded", _FULL),
    (
        "could only be (written|replicated) to",
        "no DataNode takes its blocks: are they up, and not full?",
    ),
    ("[Ss]afe ?mode", "the NameNode is in safe mode; wait until it has left it"),
    ("StandbyException", "this NameNode is on standby; name the active one, or the nameservice"),
    ("SIMPLE authentication|[Kk]erberos|GSS|SASL", "the cluster asks for Kerberos; run kinit"),
    (
        "All DataNodes failed|Blocks?(Missing|NotFound)|Could not obtain",
        "no DataNode with it answers",
    ),
    ("[Cc]onnection refused", _REFUSED),
)


def source_error(url: str, error: BaseException) -> SourceError:
    """Say in one line what an error means for a URL; raise it ``from`` the error."""
    if isinstance(error, SourceError):
        return error
    if isinstance(error, TimeoutError):
        return SourceTimeoutError(f"{url}: {error}")
    text = str(error)
    if isinstance(error, FileNotFoundError) and not re.search(_BY_TEXT[0][0], text):
        return MissingFileError(f"{url}: {_MISSING}")
    return SourceError(f"{url}: {_meaning(error, text)}")


def _meaning(error: BaseException, text: str) -> str:
    for pattern, meaning in _BY_TEXT:
        if re.search(pattern, text):
            return meaning
    if isinstance(error, OSError):
        for kind, meaning in _BY_CLASS:
            if isinstance(error, kind):
                return meaning
        if error.errno in _BY_ERRNO:
            return _BY_ERRNO[error.errno]
    first_line = text.partition("\n")[0].partition("\\n")[0][:300]
    return f"{type(error).__name__}: {first_line}; --verbose shows where"


def is_transient_write(error: BaseException | None) -> bool:
    """Whether a write may succeed when it is done again from its start.

    hdfs-native asks for a new block before the last one's replicas are reported, and then gives
    up where Java's client would wait; its maintainer advises to write again (hdfs-native#154).
    """
    return "NotReplicatedYet" in str(error)


def too_short(url: str, size: int, offset: int, n_bytes: int) -> SourceError:
    """Say that a file ends before the bytes that were asked for."""
    return SourceError(
        f"{url}: ends at {size} bytes, but bytes {offset} to {offset + n_bytes} were asked for; it "
        "was cut off or replaced, write it again"
    )


def require_local_file(local: Path) -> None:
    """Raise MissingFileError unless a local file stands there to be uploaded."""
    if not local.is_file():
        raise MissingFileError(f"{local}: {_MISSING}")


def require_not_root(url: str) -> None:
    """Raise SourceError for the root of a file system, which nobody means to delete."""
    if not basename(url):
        raise SourceError(f"{url}: is the root of a file system and is not deleted; name a folder")

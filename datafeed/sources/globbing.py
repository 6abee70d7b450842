"""Globs as in Hadoop, the same on every source: ``*``, ``?``, ``[a-c]``, ``{a,b}``."""

import fnmatch
import re
from collections.abc import Iterator
from typing import Protocol

from datafeed.sources.base import FileInfo
from datafeed.sources.urls import join, split

__all__ = ["covers", "find", "glob"]

_MAGIC = re.compile(r"[*?\[{]")
_INNERMOST_BRACES = re.compile(r"\{([^{}]*)\}")
_HIDDEN = (".", "_")


class _Folders(Protocol):
    def stat(self, url: str) -> FileInfo: ...
    def exists(self, url: str) -> bool: ...
    def list(self, url: str) -> Iterator[FileInfo]: ...


def glob(source: _Folders, pattern: str) -> list[FileInfo]:
    """List the files that match, sorted; see ``Source.glob``."""
    found = {info.url: info for info in find(source, pattern)}
    return [found[url] for url in sorted(found)]


def find(source: _Folders, pattern: str) -> Iterator[FileInfo]:
    """Return the files that match, as the file system lists them; some twice by ``{a,a*}``.

    A file whose name is the pattern, letter by letter, is what is meant (``run[1].tar``).
    """
    if not _MAGIC.search(split(pattern)[2]) or source.exists(pattern):
        yield from _files_at(source, source.stat(pattern))
        return
    for plain in _without_braces(pattern):
        for info in _matches(source, *_cut(plain)):
            if not info.is_dir:
                yield info


def covers(pattern: str, url: str) -> bool:
    """Whether a pattern would find a file of this URL; a plain one covers all that is below it."""
    names = url.split("/")
    for plain in _without_braces(pattern):
        wanted = plain.rstrip("/").split("/")
        if not _MAGIC.search(plain):
            if names[: len(wanted)] == wanted:
                return True
        elif len(names) == len(wanted) and all(map(_name_matches, wanted, names)):
            return True
    return False


def _name_matches(wanted: str, name: str) -> bool:
    return fnmatch.fnmatchcase(name, wanted.replace("[^", "[!"))


def _files_at(source: _Folders, info: FileInfo) -> Iterator[FileInfo]:
    if not info.is_dir:
        yield info
        return
    for entry in source.list(info.url):
        if not entry.is_dir and not _name(entry).startswith(_HIDDEN):
            yield entry


def _name(info: FileInfo) -> str:
    """The last name, without a look at the rest of the URL: a million of them are listed."""
    return info.url[info.url.rfind("/") + 1 :]


def _without_braces(pattern: str) -> list[str]:
    match = _INNERMOST_BRACES.search(pattern)
    if match is None:
        return [pattern]
    before, after = pattern[: match.start()], pattern[match.end() :]
    return [
        plain
        for choice in match[1].split(",")
        for plain in _without_braces(before + choice + after)
    ]


def _cut(pattern: str) -> tuple[str, list[str]]:
    """Cut a pattern into the root it starts from and the names below."""
    path = split(pattern)[2]
    root = pattern[: len(pattern) - len(path)] + ("/" if path.startswith("/") else "")
    return root or ".", [name for name in path.split("/") if name]


def _matches(source: _Folders, base: str, names: list[str]) -> Iterator[FileInfo]:
    if not names:
        if source.exists(base):
            yield source.stat(base)
    elif not _MAGIC.search(names[0]):
        yield from _matches(source, join(base, names[0]), names[1:])
    else:
        for info in _matching_entries(source, base, names[0]):
            if len(names) == 1:
                yield info
            elif info.is_dir:
                yield from _matches(source, info.url, names[1:])


def _matching_entries(source: _Folders, folder: str, name: str) -> Iterator[FileInfo]:
    wanted = re.compile(fnmatch.translate(name.replace("[^", "[!")))
    shown = name.startswith(_HIDDEN)
    for info in source.list(folder):
        found = _name(info)
        if (shown or not found.startswith(_HIDDEN)) and wanted.match(found):
            yield info

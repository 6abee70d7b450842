"""The user's function over samples, given as ``MODULE:FUNCTION``."""

import hashlib
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from datafeed.errors import ConfigError, FormatError
from datafeed.feed.schema import Sample

__all__ = ["Transform", "digest_of", "load_transform", "module_files", "transformed"]

Transform = Callable[[Sample], Any]


def load_transform(name: str) -> Transform:
    """Import a transform; the working folder counts as a place for modules.

    Raises:
        ConfigError: there is no such module or function.
    """
    module_name, _, function_name = name.partition(":")
    try:
        function = getattr(_module(module_name), function_name)
    except Exception as error:  # whatever the module does when it is imported
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(
            f"--transform {name}: {cause}; give MODULE:FUNCTION, importable from here"
        ) from error
    if not callable(function):
        raise ConfigError(f"--transform {name}: {function_name} is no function")
    return function  # type: ignore[no-any-return]


def _module(name: str) -> Any:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return import_module(name)


def module_files(name: str) -> dict[str, Path]:
    """The files that remote tasks need to import a transform.

    Returns:
        Name below a folder of modules to file: the module, or the whole package it is in.
    """
    module_name = name.partition(":")[0]
    top = Path(str(_module(module_name.partition(".")[0]).__file__))
    if "." not in module_name and top.name != "__init__.py":
        return {top.name: top}
    root = top.parent
    return {str(path.relative_to(root.parent)): path for path in sorted(root.rglob("*.py"))}


def digest_of(name: str) -> str:
    """SHA-256 of the module's file."""
    path = Path(str(_module(name.partition(":")[0]).__file__))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def transformed(
    samples: Iterator[tuple[str, Sample | FormatError]], transform: Transform | None, shard: str
) -> Iterator[tuple[str, Sample | FormatError]]:
    """Apply a transform: a dict goes on, None drops the sample, a list of dicts fans out.

    A sample on which the function raised, or for which it gave something else, comes as the
    FormatError that names shard and sample; bad samples go past it.
    """
    if transform is None:
        yield from samples
        return
    for key, sample in samples:
        if isinstance(sample, FormatError):
            yield key, sample
            continue
        try:
            results, fans_out = _results(transform, sample, f"{shard}: sample {key!r}")
        except FormatError as error:
            yield key, error
            continue
        for i, one in enumerate(results):
            yield (f"{key}/{i}" if fans_out else key), one


def _results(transform: Transform, sample: Sample, where: str) -> tuple[list[Sample], bool]:
    try:
        result = transform(sample)
    except Exception as error:
        raise FormatError(f"{where}: transform raised {error!r}") from error
    return _as_list(result, where), isinstance(result, list)


def _as_list(result: Any, where: str) -> list[Sample]:
    results = result if isinstance(result, list) else [] if result is None else [result]
    if not all(isinstance(one, dict) for one in results):
        raise FormatError(f"{where}: transform gave {type(result).__name__}; give a dict or None")
    return results

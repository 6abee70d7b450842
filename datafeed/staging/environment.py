"""The Python environment that tasks on other machines need: a folder of packages, in a tar.gz.

A virtual environment does not relocate; a folder of packages on PYTHONPATH does, as long as the
interpreter there has the same minor version. On HDFS the archive is kept under the hash of what it
holds, so that it is uploaded once and not with every job.
"""

import getpass
import gzip
import hashlib
import os
import sys
import tarfile
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from datafeed.errors import ConfigError
from datafeed.sources import Source, join
from datafeed.sources.urls import split

__all__ = ["ARCHIVE_FOLDER", "MODULES_FOLDER", "cached", "pack", "packages", "same_python"]

ARCHIVE_FOLDER = "datafeed_environment"
MODULES_FOLDER = "datafeed_modules"
_NEEDED = ("numpy", "h5py", "crc32c", "tqdm", "click")
_WEBHDFS = ("requests", "urllib3", "certifi", "charset-normalizer", "idna")
_USEFUL = (
    *("hdfs-native", "pydoop", "fsspec", "pillow", "zstandard", "typing_extensions"),
    *_WEBHDFS,
)
_OF_FORMATS = {"parquet": ("pyarrow",), "sequencefile": ("pyarrow",)}
"""Large ones, which only the tasks of a format need."""

_TESTED = ("numpy/", "pyarrow/")
"""They come with many MiB of tests."""


def same_python() -> str:
    """Name of an interpreter that can load what is packed here."""
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


def packages(format_name: str) -> dict[str, Path]:
    """Find the files that staging tasks import: datafeed and what it needs, but no torch.

    Args:
        format_name: Of the shards, as the plan has it.

    Returns:
        Name below a folder of packages to file.

    Raises:
        ConfigError: a package that tasks cannot do without is not installed here.
    """
    found: dict[str, Path] = {}
    for installed in _distributions(_OF_FORMATS.get(format_name.partition("(")[0], ())):
        for file in installed.files or []:
            found[str(file)] = Path(str(installed.locate_file(file)))
    package = Path(__file__).parents[1]
    for source in package.rglob("*.py"):
        found[str(source.relative_to(package.parent))] = source
    return {name: path for name, path in sorted(found.items()) if _is_module(name, path)}


def _is_module(name: str, path: Path) -> bool:
    """Scripts outside the packages folder, caches and large tests stay behind."""
    is_test = "/tests/" in name and name.startswith(_TESTED)
    return not (name.startswith("..") or "__pycache__" in name or is_test) and path.is_file()


def _distributions(more: tuple[str, ...]) -> Iterator[Distribution]:
    for name in (*_NEEDED, *_USEFUL, *more):
        try:
            yield distribution(name)
        except PackageNotFoundError as error:
            if name in _NEEDED:
                raise ConfigError(
                    f"package {name} is not installed here; pip install it"
                ) from error


def pack(path: Path, files: Mapping[str, Path]) -> Path:
    """Pack files into a ``tar.gz``, the same bytes for the same content.

    Args:
        path: The archive.
        files: Name in the archive to file.
    """
    with (
        gzip.GzipFile(path, "wb", compresslevel=1, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as archive,
    ):
        for name, file in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = file.stat().st_size, 0o755
            with file.open("rb") as data:
                archive.addfile(info, data)
    return path


def cached(source: Source, near: str, files: Mapping[str, Path], scratch: Path) -> str:
    """Put an archive of files on HDFS, unless it is there.

    Args:
        source: The HDFS.
        near: Any URL on it.
        files: As for ``pack``.
        scratch: A local folder for the archive.

    Returns:
        Its URL, ``/user/NAME/.datafeed/environments/HASH.tar.gz``; whoever deletes it costs the
        next job an upload.

    Raises:
        SourceError: it cannot be put there.
    """
    user = os.environ.get("HADOOP_USER_NAME") or getpass.getuser()
    kind, authority, _ = split(near)
    url = join(
        f"{kind}://{authority}",
        "user",
        user,
        ".datafeed",
        "environments",
        f"{_digest(files)}.tar.gz",
    )
    if not source.exists(url):
        source.put(pack(scratch / "environment.tar.gz", files), url)
    return url


def _digest(files: Mapping[str, Path]) -> str:
    """Hash of the names and contents of files."""
    digest = hashlib.sha256()
    for name, path in files.items():
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{name} {content}\n".encode())
    return digest.hexdigest()[:32]

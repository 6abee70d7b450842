"""A folder of images for each class: ``train/cat/1.jpg`` is a sample of the class ``cat``."""

from collections.abc import Iterator, Sequence

from datafeed.errors import ConfigError, FormatError
from datafeed.formats.base import Format, Found, Span
from datafeed.formats.pictures.decode import decoded
from datafeed.sources.base import Source
from datafeed.sources.urls import basename, parent

__all__ = ["ImageFolderFormat"]

_MAGICS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_EXTENSIONS = (".png", ".jpg", ".jpeg")


class ImageFolderFormat(Format):
    """Reads PNG and JPEG files; each is a shard of one sample, and many make a part.

    Args:
        classes: Names of the folders in the order of their labels; None: those of all shards,
            sorted, so that labels depend on nothing but the whole set.
        decode: Whether images become arrays; else they stay as the bytes of their files.
    """

    name = "imagefolder"

    def __init__(self, classes: Sequence[str] | None = None, decode: bool = True) -> None:
        self._classes, self._decode = classes, decode
        self._labels = {name: label for label, name in enumerate(classes or ())}

    def matches(self, url: str, head: bytes) -> bool:
        """Whether it is a PNG or JPEG."""
        return head.startswith(_MAGICS)

    def shards(self, urls: Sequence[str]) -> list[str]:
        """The images, by their names; what else lies in the folders is passed over."""
        return [url for url in urls if url.lower().endswith(_EXTENSIONS)]

    def settled(self, source: Source, urls: Sequence[str]) -> str:
        """The classes are those of the whole set."""
        classes = sorted({_class_of(url) for url in urls})
        if self._classes is not None:
            unknown = sorted(set(classes) - set(self._classes))
            if unknown:
                raise ConfigError(
                    f"--format {self.name}: {unknown[0]!r} is not among its classes; add it"
                )
            classes = list(self._classes)
        decode = "" if self._decode else ", decode=False"
        return f"{self.name}(classes={classes!r}{decode})"

    def samples(self, source: Source, url: str, span: Span | None = None) -> Iterator[Found]:
        """Return ("CLASS/FILE", {"image", "label"}), one."""
        name = _class_of(url)
        key = f"{name}/{basename(url)}"
        if name not in self._labels:
            raise FormatError(f"{url}: its folder {name!r} is no class of this feed")
        with source.open(url) as file:
            data = file.read()
        members = [("png", data), ("cls", str(self._labels[name]).encode())]
        yield key, decoded(members, f"{url}: sample {key!r}", images=self._decode)


def _class_of(url: str) -> str:
    return basename(parent(url))

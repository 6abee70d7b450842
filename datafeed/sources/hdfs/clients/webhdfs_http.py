"""WebHDFS, HDFS's REST interface, over HTTP; the only module that imports requests and urllib3.

https://hadoop.apache.org/docs/stable/hadoop-project-dist/hadoop-hdfs/WebHDFS.html lists its
operations. The NameNode answers questions and names a DataNode for contents; an HttpFS gateway
speaks the same and does both.
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from getpass import getuser
from urllib.parse import quote, urlsplit

import requests
import urllib3

from datafeed.sources.hdfs.clients.webhdfs_errors import Answer, NotActiveError, failure_of
from datafeed.sources.hdfs.clients.webhdfs_upload import Upload

__all__ = ["WebHdfs"]

_ROOT = "/webhdfs/v1"
_PIECE_BYTES = 256 << 10
_ATTEMPTS = 3
_MAX_SILENT_S = 3.0
"""Of a DataNode, at the first attempt; it is not asked again for so long:"""
_AVOIDED_FOR_S = 120.0


class WebHdfs:
    """Asks the NameNodes of one HDFS, the active one first once it is known.

    Args:
        urls: Of the NameNodes' or gateways' HTTP servers, as ``http://nn1:9870``.
        timeout_s: Deadline of each answer, and of each 256 KiB of contents, in seconds.
    """

    def __init__(self, urls: Sequence[str], timeout_s: float) -> None:
        self._urls, self._timeout_s = list(urls), timeout_s
        self.user = os.environ.get("HADOOP_USER_NAME") or _user()
        self._lock = threading.Lock()
        self._idle: list[requests.Session] = []
        self._avoided: dict[str, float] = {}

    def ask(self, method: str, operation: str, path: str, **parameters: str) -> Answer:
        """Ask one question; give the JSON of its answer.

        Raises:
            FileNotFoundError, PermissionError, OSError: as HDFS says.
            TimeoutError, ConnectionError: no NameNode answers.
        """
        with self._answered(method, operation, path, parameters, redirects=True) as response:
            answer: Answer = response.json() if response.content else {}
            return answer

    @contextmanager
    def _answered(
        self,
        method: str,
        operation: str,
        path: str,
        parameters: dict[str, str],
        *,
        redirects: bool = False,
        stream: bool = False,
    ) -> Iterator[requests.Response]:
        """Ask the NameNodes in turn; the first one that does not stand by answers."""
        query = {"op": operation, "user.name": self.user, **parameters}
        with self._session() as session:
            failure: Exception = ConnectionError("no NameNode is named")
            for url in list(self._urls):
                try:
                    response = session.request(
                        method,
                        f"{url}{_ROOT}{quote(path)}",
                        params=query,
                        timeout=self._timeout_s / len(self._urls),
                        allow_redirects=redirects,
                        stream=stream,
                    )
                    _raise_for(response)
                except NotActiveError as error:
                    failure = error
                except requests.RequestException as error:
                    failure = self._lost(error)
                else:
                    self._prefer(url)
                    with response:
                        yield response
                    return
            raise failure

    def contents(self, path: str, offset: int, n_bytes: int, block_bytes: int) -> Iterator[bytes]:
        """Return a range of a file in pieces; goes on with another replica where one is lost.

        A request is for one block, which the DataNode has itself: of the next one it would ask
        others, and be silent where those hang.

        Raises:
            TimeoutError, ConnectionError: three DataNodes in turn gave nothing.
        """
        end, failed = offset + n_bytes, 0
        while offset < end:
            stop = min(end, (offset // block_bytes + 1) * block_bytes)
            location = self._locate(
                "GET", "OPEN", path, offset=str(offset), length=str(stop - offset), **self._others()
            )
            longest_s = self._timeout_s / _ATTEMPTS
            try:
                for piece in self._pieces(
                    location, longest_s if failed else min(longest_s, _MAX_SILENT_S)
                ):
                    yield piece
                    offset, failed = offset + len(piece), 0
                if offset < stop:
                    raise ConnectionError(f"{path} ends at byte {offset}")
            except (ConnectionError, TimeoutError):
                failed += 1
                if failed == _ATTEMPTS:
                    raise
                self._avoid(urlsplit(location).hostname or "")

    def _avoid(self, datanode: str) -> None:
        with self._lock:
            self._avoided[datanode] = time.monotonic() + _AVOIDED_FOR_S

    def _others(self) -> dict[str, str]:
        """Name the DataNodes that the NameNode is not to send to, as they gave nothing."""
        with self._lock:
            now_s = time.monotonic()
            self._avoided = {name: s for name, s in self._avoided.items() if s > now_s}
            return {"excludedatanodes": ",".join(self._avoided)} if self._avoided else {}

    def _pieces(self, location: str, silent_s: float) -> Iterator[bytes]:
        try:
            with self._session() as session, session.get(
                location, timeout=silent_s, stream=True
            ) as response:  # fmt: skip
                _raise_for(response)
                while piece := response.raw.read(_PIECE_BYTES):
                    yield piece
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise self._lost(error) from error

    def _locate(self, method: str, operation: str, path: str, **parameters: str) -> str:
        """Ask for the DataNode that a content is read from or written to: a URL."""
        try:
            with self._answered(method, operation, path, parameters, stream=True) as response:
                # A gateway does not send on, and says what to send there by itself.
                return response.headers.get("Location") or str(response.url)
        except OSError:
            if not parameters.pop("excludedatanodes", None):
                raise
        return self._locate(method, operation, path, **parameters)

    def upload(self, path: str, size: int, **parameters: str) -> Upload:
        """Begin to write a file of so many bytes, and its folders; replaces.

        Args:
            path: Of the file.
            size: Its bytes.
            parameters: Of the operation CREATE, as ``blocksize``.
        """
        location = self._locate("PUT", "CREATE", path, overwrite="true", **parameters)
        return Upload(location, size, self._timeout_s)

    def _lost(self, error: Exception) -> OSError:
        if isinstance(error, requests.Timeout) or "timed out" in str(error):
            limit = f"{self._timeout_s:g} s"
            return TimeoutError(f"{_server(error)} did not answer within {limit}; is it up?")
        if "refused" in str(error):
            return ConnectionRefusedError(f"{_server(error)}: connection refused")
        return ConnectionError(f"{_server(error)}: {type(error).__name__}: {error}")

    def _prefer(self, url: str) -> None:
        with self._lock:
            if self._urls[0] != url:
                self._urls.sort(key=lambda other: other != url)

    @contextmanager
    def _session(self) -> Iterator[requests.Session]:
        """Lend a session, with its open connections, to one thread at a time."""
        with self._lock:
            session = self._idle.pop() if self._idle else _new_session()
        try:
            yield session
        except BaseException:
            session.close()  # what still comes in belongs to no request
            raise
        with self._lock:
            self._idle.append(session)

    def close(self) -> None:
        """Close the connections; twice is fine."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()


def _user() -> str:
    """Name this process's user, by number where no file knows it, as in some containers."""
    try:
        return getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _new_session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # HDFS is reached directly; no proxy of the web, no ~/.netrc
    session.headers["Accept-Encoding"] = "identity"
    return session


def _raise_for(response: requests.Response) -> None:
    if response.status_code >= 400:
        with response:
            raise failure_of(response.status_code, response.content)


def _server(error: Exception) -> str:
    request = getattr(error, "request", None)
    return urlsplit(request.url).netloc if request is not None else "the DataNode"

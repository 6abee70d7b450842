"""Servers that want a password, and servers that speak TLS."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import datafeed
from datafeed.cache.memcached.client import CacheClient
from datafeed.cache.memcached.net.access import CacheAccess
from datafeed.cache.memcached.upkeep.verify import verify_cache
from datafeed.cli.main import group
from datafeed.cluster.memcached import MemcachedServer
from datafeed.dataset.feed import Feed
from datafeed.errors import CacheError, ConfigError
from tests.cache.made_feeds import LABELLED, made_feed, payload_by_definition, write_feed

Start = Callable[..., MemcachedServer]
SECRET = "open-sesame"


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    """12 chunks of one block each."""
    with made_feed(tmp_path / "feed", LABELLED, [24], 2) as made:
        yield made


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No access from outside."""
    for name in ("PASSWORD_FILE", "TLS_CA", "TLS_CERT", "TLS_KEY"):
        monkeypatch.delenv(f"DATAFEED_CACHE_{name}", raising=False)


def password_file(path: Path, password: str = SECRET) -> str:
    """A file for both sides."""
    path.write_text(f"reader:{password}\n")
    return str(path)


@pytest.fixture
def guarded(memcached_server: Start, tmp_path: Path) -> tuple[str, CacheAccess]:
    """A server that wants a password, and how to be let in."""
    name = password_file(tmp_path / "password")
    server = memcached_server(options=["-Y", name], is_guarded=True)
    return server.address, CacheAccess(password_file=name)


def test_the_right_password_lets_in(guarded: tuple[str, CacheAccess]) -> None:
    address, access = guarded
    value = bytes(range(256)) * 3000
    with CacheClient(address, access=access) as client:
        client.set(b"key", value)
        buffer = bytearray(len(value))
        assert client.get_into(b"key", buffer)
        assert buffer == value


def test_a_wrong_password_is_refused(guarded: tuple[str, CacheAccess], tmp_path: Path) -> None:
    wrong = CacheAccess(password_file=password_file(tmp_path / "wrong", "guess"))
    with CacheClient(guarded[0], access=wrong) as client:
        with pytest.raises(CacheError, match=f"{guarded[0]} does not take the password") as caught:
            client.set(b"key", b"v")
        assert "guess" not in str(caught.value)


def test_no_password_is_refused(guarded: tuple[str, CacheAccess]) -> None:
    said = r"wants a password; name a file .*password-file"
    with CacheClient(guarded[0]) as client, pytest.raises(CacheError, match=said):
        client.get_into(b"key", bytearray(1))


def test_a_server_without_passwords_is_sent_none(memcached_server: Start, tmp_path: Path) -> None:
    access = CacheAccess(password_file=password_file(tmp_path / "password"))
    with CacheClient(memcached_server().address, access=access) as client:
        assert not client.get_into(b"datafeed", bytearray(len("reader " + SECRET)))


@pytest.mark.parametrize("content", ["", "reader", ":x", "reader:", "reader:two words"])
def test_a_password_file_of_another_form_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "password"
    path.write_text(content)
    with pytest.raises(ConfigError, match=f"{path}: write user:password"):
        CacheAccess(password_file=str(path)).credentials()
    with pytest.raises(ConfigError, match="gone: No such file"):
        CacheAccess(password_file=str(tmp_path / "gone")).credentials()


def test_the_feed_takes_its_access(guarded: tuple[str, CacheAccess], feed: Feed) -> None:
    address, access = guarded
    assert access.password_file
    result = CliRunner().invoke(
        group,
        ["warm", feed.url, "--cache", address, "--cache-password-file", access.password_file],
    )
    assert result.exit_code == 0, result.output
    with datafeed.open(feed.url, cache=address, cache_access=access) as opened:
        for position in range(len(opened)):
            assert opened[position]["label"] == feed[position]["label"]
        assert opened._samples._stack is not None
        assert opened._samples._stack.stats()["memcached"]["hits"] > 0
    stranger = datafeed.open(feed.url, cache=address)
    with stranger, pytest.raises(CacheError, match="wants a password"):
        stranger[0]


def test_the_environment_lets_in(
    guarded: tuple[str, CacheAccess], feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, access = guarded
    monkeypatch.setenv("DATAFEED_CACHE_PASSWORD_FILE", str(access.password_file))
    assert CacheAccess.from_environment() == access
    result = CliRunner().invoke(group, ["warm", feed.url, "--cache", address])
    assert result.exit_code == 0, result.output
    assert verify_cache(feed, address, progress=False).present == 12


def certificate(folder: Path, name: str, alternative: str) -> tuple[Path, Path]:
    """Make a certificate that signs itself, and its key."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", str(key)]
    command += ["-addext", f"subjectAltName={alternative}", "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return cert, key


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The server's certificate and key, and a stranger's certificate."""
    folder = tmp_path_factory.mktemp("certificates")
    return (
        *certificate(folder, "cache", "IP:127.0.0.1"),
        certificate(folder, "stranger", "IP:127.0.0.1")[0],
    )


@pytest.fixture
def tls_server(memcached_server: Start, certificates: tuple[Path, Path, Path]) -> MemcachedServer:
    """A server that speaks TLS."""
    cert, key, _ = certificates
    tls = ["-Z", "-o", f"ssl_chain_cert={cert},ssl_key={key}"]
    return memcached_server(options=tls, is_guarded=True)


@pytest.mark.parametrize("n_bytes", [0, 1, 100_000, 1_000_000])
def test_values_travel_by_tls(
    tls_server: MemcachedServer, certificates: tuple[Path, Path, Path], n_bytes: int
) -> None:
    value = bytes(i * i % 251 for i in range(n_bytes))
    access = CacheAccess(tls_ca=str(certificates[0]))
    with CacheClient(tls_server.address, access=access) as client:
        handles = [client.iset(b"key%d" % i, value) for i in range(20)]
        assert all(handle.wait(30) for handle in handles)
        buffers = [bytearray(n_bytes) for _ in range(20)]
        gets = [client.iget_into(b"key%d" % i, buffer) for i, buffer in enumerate(buffers)]
        assert all(handle.wait(30) for handle in gets)
        assert all(buffer == value for buffer in buffers)
        assert not client.get_into(b"none", bytearray(3))


def test_a_feed_travels_by_tls(
    tls_server: MemcachedServer,
    certificates: tuple[Path, Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATAFEED_CACHE_TLS_CA", str(certificates[0]))
    write_feed(tmp_path / "tls", LABELLED, [600], 300)
    url = str(tmp_path / "tls")
    result = CliRunner().invoke(group, ["warm", url, "--cache", tls_server.address])
    assert result.exit_code == 0, result.output
    with datafeed.open(url, cache=tls_server.address) as opened:
        assert opened[599]["image"].tobytes() in payload_by_definition(opened, 1)
        assert opened._samples._stack is not None
        assert opened._samples._stack.stats()["memcached"]["hits"] == 1


def test_a_strangers_certificate_is_refused(
    tls_server: MemcachedServer, certificates: tuple[Path, Path, Path]
) -> None:
    access = CacheAccess(tls_ca=str(certificates[2]))
    said = r"certificate is not accepted .*--cache-tls-ca"
    client = CacheClient(tls_server.address, access=access)
    with client, pytest.raises(CacheError, match=said):
        client.set(b"key", b"v")


def test_plain_talk_to_a_tls_server_fails(tls_server: MemcachedServer) -> None:
    client = CacheClient(tls_server.address, timeout_s=2)
    with client, pytest.raises(CacheError, match=f"cache server {tls_server.address} "):
        client.set(b"key", b"v")


def test_files_that_are_no_certificates_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.pem.*name PEM files"):
        CacheAccess(tls_ca=str(tmp_path / "gone.pem")).tls()
    with pytest.raises(ConfigError, match="tls_cert without tls_ca"):
        CacheAccess(tls_cert="x.pem").tls()
    discard = tmp_path / "junk.pem"
    discard.write_text("junk")
    with pytest.raises(ConfigError, match="name PEM files"):
        CacheAccess(tls_ca=str(discard)).tls()


def test_options_hold_only_while_the_command_runs(tmp_path: Path, feed: Feed) -> None:
    before = dict(os.environ)
    ca = str(tmp_path / "gone.pem")
    arguments = ["warm", feed.url, "--cache", "127.0.0.1:1", "--cache-tls-ca", ca]
    result = CliRunner().invoke(group, arguments)
    assert (result.exit_code, "name PEM files" in result.stderr) == (2, True)
    assert dict(os.environ) == before

"""How to be let in by servers: TLS, and memcached's ASCII authentication."""

import os
import ssl
from dataclasses import dataclass, fields
from pathlib import Path

from datafeed.errors import ConfigError

__all__ = ["CacheAccess"]

_PREFIX = "DATAFEED_CACHE_"


@dataclass(frozen=True, kw_only=True)
class CacheAccess:
    """What it takes to be let in. Files are named, never secrets: those would show in ``ps``.

    Example:
        >>> datafeed.CacheAccess(password_file="/etc/datafeed/password").tls_ca is None
        True
    """

    password_file: str | None = None
    """Its first line is ``user:password``, as in the file that ``memcached -Y`` reads."""
    tls_ca: str | None = None
    """PEM file of the authority that signed the servers' certificates; turns TLS on."""
    tls_cert: str | None = None
    """PEM file of this client's own certificate, for servers that ask for one."""
    tls_key: str | None = None
    """PEM file of its key, unless it stands in ``tls_cert``."""

    @classmethod
    def from_environment(cls) -> "CacheAccess":
        """Read ``DATAFEED_CACHE_PASSWORD_FILE``, ``DATAFEED_CACHE_TLS_CA``, ..."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: os.environ.get(_PREFIX + name.upper()) or None for name in names})

    def check(self) -> None:
        """Read all files, to say at once what is wrong with them.

        Raises:
            ConfigError: one is of no use.
        """
        self.credentials()
        self.tls()

    def credentials(self) -> bytes | None:
        """Read the password file: ``user password``, as memcached wants it sent; None without.

        Raises:
            ConfigError: it cannot be read, or is of another form.
        """
        if self.password_file is None:
            return None
        try:
            line = Path(self.password_file).read_bytes().split(b"\n", 1)[0].strip()
        except OSError as error:
            raise ConfigError(
                f"cache password file {self.password_file}: {error.strerror}; name a file that "
                "you can read"
            ) from error
        user, colon, password = line.partition(b":")
        if not (user and colon and password) or b" " in line:
            raise ConfigError(
                f"cache password file {self.password_file}: write user:password into its first "
                "line, without spaces"
            )
        return user + b" " + password

    def tls(self) -> ssl.SSLContext | None:
        """Make the context for TLS connections; None where they are plain.

        Raises:
            ConfigError: a file cannot be read or is no PEM file, or there is no ``tls_ca``.
        """
        if self.tls_ca is None:
            if self.tls_cert or self.tls_key:
                raise ConfigError("cache: tls_cert without tls_ca; name both")
            return None
        try:
            context = ssl.create_default_context(cafile=self.tls_ca)
            if self.tls_cert is not None:
                context.load_cert_chain(self.tls_cert, self.tls_key, password="")
        except OSError as error:  # of files, and of OpenSSL
            names = ", ".join(filter(None, (self.tls_ca, self.tls_cert, self.tls_key)))
            raise ConfigError(f"cache TLS files {names}: {error}; name PEM files") from error
        return context

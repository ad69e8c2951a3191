"""Where etcd is and how it lets us in: from the environment (NWDISCO_ETCD…), or given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from ..errors import SettingError

DEFAULT_PORT = 2379
SECURE, PLAIN = "https://", "http://"


@dataclass(frozen=True)
class EtcdSettings:
    endpoints: tuple[tuple[str, int], ...]
    """Hosts and ports of one cluster; the next is tried when one cannot be reached."""
    user: str = ""
    password: str = ""
    tls: bool = False
    ca: bytes | None = None
    """PEM: who must have signed etcd's certificate; None: who this machine trusts."""
    cert: bytes | None = None
    key: bytes | None = None
    """PEM: our own certificate, where etcd asks for one."""

    @classmethod
    def at(cls, text: str, setting: str = "the address of etcd") -> Self:
        """Out of "HOST:PORT[,HOST:PORT...]", each with https:// before it where etcd speaks TLS. Raises SettingError."""
        if not isinstance(text, str):
            raise SettingError(f"{setting} is {text!r}: give text, HOST:PORT[,HOST:PORT...]")
        parts = [part.strip() for part in text.split(",") if part.strip()]
        secure = [part.startswith(SECURE) for part in parts]
        if not parts or any(secure) != all(secure):
            raise SettingError(f"{setting} is {text[:80]!r}: give HOST:PORT[,HOST:PORT...], all with https:// or none")
        return cls(tuple(_endpoint(part, setting) for part in parts), tls=any(secure))

    @classmethod
    def from_environment(cls, text: str = "", environment: Mapping[str, str] | None = None) -> Self:
        """NWDISCO_ETCD (or `text` in its place), _USER, _PASSWORD or _PASSWORD_FILE, _CA, _CERT, _KEY (files in PEM)."""
        given = os.environ if environment is None else environment
        at_home = f"127.0.0.1:{DEFAULT_PORT}"
        settings = cls.at(text) if text else cls.at(given.get("NWDISCO_ETCD", "") or at_home, "NWDISCO_ETCD")
        ca, cert, key = (_file(f"NWDISCO_ETCD_{name}", given) for name in ("CA", "CERT", "KEY"))
        if (cert is None) != (key is None):
            raise SettingError("NWDISCO_ETCD_CERT and NWDISCO_ETCD_KEY belong together: set both, or none")
        kept = _file("NWDISCO_ETCD_PASSWORD_FILE", given)
        password = given.get("NWDISCO_ETCD_PASSWORD", "") if kept is None else _password(kept)
        user = given.get("NWDISCO_ETCD_USER", "")
        if bool(user) != bool(password):
            raise SettingError("NWDISCO_ETCD_USER and NWDISCO_ETCD_PASSWORD (or _PASSWORD_FILE) belong together")
        tls = settings.tls or ca is not None or cert is not None
        return replace(settings, user=user, password=password, tls=tls, ca=ca, cert=cert, key=key)

    def __str__(self) -> str:
        return ",".join(f"{host}:{port}" for host, port in self.endpoints)

    def __repr__(self) -> str:
        return f"EtcdSettings({self}{', TLS' if self.tls else ''}{', as ' + self.user if self.user else ''})"


def _endpoint(text: str, setting: str) -> tuple[str, int]:
    bare = text.removeprefix(SECURE).removeprefix(PLAIN).rstrip("/")
    host, colon, port = bare.rpartition(":")
    if not colon:
        host, port = bare, str(DEFAULT_PORT)
    is_host = host.replace(".", "").replace("-", "").replace("_", "").isalnum() and host.isascii()
    if not is_host or not (port.isascii() and port.isdigit()) or len(port) > 5 or not 0 < int(port) < 65536:
        raise SettingError(f"{setting} has {text[:80]!r}: give HOST:PORT, such as 192.168.1.10:{DEFAULT_PORT}")
    return host, int(port)


def _password(kept: bytes) -> str:
    try:
        return kept.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise SettingError("NWDISCO_ETCD_PASSWORD_FILE names a file that is no text in UTF-8") from None


def _file(variable: str, given: Mapping[str, str]) -> bytes | None:
    path = given.get(variable, "")
    if not path:
        return None
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise SettingError(f"{variable} is {path!r}, which cannot be read: {error.strerror}") from None

"""Every setting, once: its environment variable (twelve-factor), its default, what it does and what it costs."""

from __future__ import annotations

import os

from .config import MAX_ROOM_BYTES, MAX_SECRET_FILE, MIN_SECRET
from .core.ipv4 import is_ipv4
from .errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

SETTINGS: Final = (
    (
        "port",
        "NWDISCO_PORT",
        "26300",
        "UDP port of the LAN. Beacons with different ports know nothing of each other.",
    ),
    (
        "group",
        "NWDISCO_GROUP",
        "239.255.26.30",
        "IPv4 multicast group of the LAN; administrative scope (RFC 2365), never routed to the internet.",
    ),
    (
        "interfaces",
        "NWDISCO_INTERFACES",
        "",
        "Interfaces to use, by name, with commas; empty: all that are up. Fewer: less traffic, fewer machines found."
        " `lo` keeps everything on this machine.",
    ),
    (
        "runtime_dir",
        "NWDISCO_RUNTIME_DIR",
        "",
        "Directory of the beacon's socket; empty: the user's own. Programs find each other only with the same one.",
    ),
    (
        "idle_s",
        "NWDISCO_IDLE_S",
        "60",
        "Seconds after which a beacon started by a program ends, when no program uses it."
        " Longer: the next program starts faster. Shorter: less memory held.",
    ),
    (
        "shim",
        "NWDISCO_SHIM",
        "127.0.0.1:65432",
        "HOST:PORT of the TCP shim, or none. Any other host than 127.0.0.1 lets other machines register and query"
        " here: all of them, unless there is a secret; then those with its token (`nwdisco token`).",
    ),
    (
        "shim_tls_cert",
        "NWDISCO_SHIM_CERT",
        "",
        "A certificate in PEM: the shim speaks TLS with it, and nothing else. Costs 15 kB of memory a client.",
    ),
    (
        "shim_tls_key",
        "NWDISCO_SHIM_KEY",
        "",
        "Its key in PEM, where the certificate's file has none.",
    ),
    (
        "networkzero",
        "NWDISCO_NETWORKZERO",
        "no",
        "yes or no: speak with NetworkZero's programs too, of the LAN (UDP port 9999) and of this machine (TCP port 9998)."
        " Costs a broadcast every 2 s for each service.",
    ),
    (
        "room",
        "NWDISCO_ROOM",
        "",
        "A name for those who belong together: beacons and programs of different rooms know nothing of each other, on one"
        " machine too. Keeps apart, keeps nobody out: that is what a secret does.",
    ),
    (
        "secret",
        "NWDISCO_SECRET",
        "",
        "A text of 8 characters or more that all beacons of the network share: without it nothing gets in, and nothing is"
        " answered. Better in a file, which NWDISCO_SECRET_FILE names. Costs 41 bytes a datagram, 48 with a room.",
    ),
    (
        "etcd",
        "NWDISCO_ETCD",
        "",
        "HOST:PORT[,HOST:PORT...] of an etcd, for services of more than one LAN; https:// before each for TLS. How it lets"
        " us in: NWDISCO_ETCD_USER, _PASSWORD or _PASSWORD_FILE, _CA, _CERT, _KEY. Costs 25 MB of memory and a thread.",
    ),
    (
        "etcd_plain",
        "NWDISCO_ETCD_PLAIN",
        "",
        "Services, with commas, that stand in etcd in the plain way too, SERVICE/LEASE = HOST:PORT, and are read from there:"
        " for programs that know etcd and not nwdisco.",
    ),
)


class Settings:
    """The settings of one process, checked.

    `from_environment` raises SettingError when a variable has a value that cannot be used.
    """

    port: int
    group: str
    interfaces: tuple[str, ...]
    runtime_dir: str
    idle_s: float
    shim: tuple[str, int] | None
    shim_tls_cert: str
    shim_tls_key: str
    networkzero: bool
    room: str
    secret: str
    """Empty: none."""
    etcd: str
    etcd_plain: tuple[str, ...]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        given = os.environ if environment is None else environment
        text = {name: given.get(variable, "") or default for name, variable, default, _ in SETTINGS}
        settings = cls()
        settings.port = int(_number("NWDISCO_PORT", text["port"], 1, 65535, whole=True))
        settings.group = _multicast_group(text["group"])
        settings.interfaces = tuple(part.strip() for part in text["interfaces"].split(",") if part.strip())
        settings.runtime_dir = text["runtime_dir"]
        settings.idle_s = _number("NWDISCO_IDLE_S", text["idle_s"], 0.1, 1e9)
        settings.shim = None if text["shim"] == "none" else host_and_port("NWDISCO_SHIM", text["shim"])
        settings.shim_tls_cert, settings.shim_tls_key = text["shim_tls_cert"], text["shim_tls_key"]
        settings.networkzero = _yes_or_no("NWDISCO_NETWORKZERO", text["networkzero"])
        settings.room = room_name("NWDISCO_ROOM", text["room"])
        settings.secret = _secret(text["secret"], given.get("NWDISCO_SECRET_FILE", ""))
        settings.etcd = text["etcd"]
        settings.etcd_plain = plain_services("NWDISCO_ETCD_PLAIN", text["etcd_plain"])
        return settings


def host_and_port(setting: str, text: str) -> tuple[str, int]:
    """Where to listen, out of "HOST:PORT"; port 0 is a free one. Raises SettingError."""
    host, _, port = text.rpartition(":")
    plain = host.replace(".", "").replace("-", "")
    is_name = plain.isascii() and plain.isalnum() and not plain.isdigit()
    if not (is_name or is_ipv4(host)) or not (port.isascii() and port.isdigit()) or len(port) > 5 or int(port) > 65535:
        raise SettingError(
            f"{setting} is {text[:80]!r}: give HOST:PORT, such as 127.0.0.1:65432 or 0.0.0.0:65432 (IPv4; port 0 is a free one)"
        )
    return host, int(port)


def room_name(setting: str, text: str) -> str:
    """A room's name. Raises SettingError."""
    if not text.isprintable() or len(text.encode("utf-8", "surrogatepass")) > MAX_ROOM_BYTES:
        raise SettingError(
            f"{setting} is {text[:80]!r}: give printable text of {MAX_ROOM_BYTES} bytes at most, such as 3b"
        )
    return text


def _secret(text: str, path: str) -> str:
    """The secret, given or in a file; an error never shows it."""
    if path:
        if text:
            raise SettingError("NWDISCO_SECRET and NWDISCO_SECRET_FILE are both set: set one of them")
        if not os.path.isabs(os.path.expanduser(path)):
            raise SettingError(f"NWDISCO_SECRET_FILE is {path!r}: give the whole path, for a beacon runs elsewhere")
        try:
            with open(os.path.expanduser(path), encoding="utf-8") as file:
                text = file.read(MAX_SECRET_FILE).strip()
        except OSError as error:
            raise SettingError(f"NWDISCO_SECRET_FILE is {path!r}, which cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SettingError(f"NWDISCO_SECRET_FILE is {path!r}, which is no text (UTF-8)") from None
    if (text or path) and len(text) < MIN_SECRET:
        raise SettingError(
            f"the secret has {len(text)} characters: give {MIN_SECRET} or more, on all machines the same"
        )
    return text


def plain_services(setting: str, text: str) -> tuple[str, ...]:
    """Names of services, out of a list with commas. Raises SettingError."""
    services = tuple(part.strip() for part in text.split(",") if part.strip())
    for service in services:
        if "/" in service or not service.isprintable() or service.startswith("nwdisco"):
            raise SettingError(
                f"{setting} has {service[:80]!r}: give names of services, without a slash, such as hello,shop"
            )
    return services


def _number(variable: str, text: str, low: float, high: float, whole: bool = False) -> float:
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = high + 1
    if not low <= value <= high:
        raise SettingError(f"{variable} is {text!r}: set it to a number from {low:g} to {high:g}, or unset it")
    return value


def _yes_or_no(variable: str, text: str) -> bool:
    if text not in ("yes", "no"):
        raise SettingError(f"{variable} is {text[:80]!r}: set it to yes or no, or unset it")
    return text == "yes"


def _multicast_group(text: str) -> str:
    if not is_ipv4(text) or not 224 <= int(text.split(".")[0]) <= 239:
        raise SettingError(f"NWDISCO_GROUP is {text!r}: set it to an address from 224.0.0.0 to 239.255.255.255")
    return text

"""EtcdRegistry over TLS, and where its settings come from: against real etcds."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from nwdisco.errors import (
    RegistryAccessError,
    RegistryUnavailableError,
    SettingError,
)
from nwdisco.etcd.settings import EtcdSettings
from nwdisco.services.etcd import EtcdRegistry
from tests.etcd import Etcd, in_environment, missing_etcd, openssl, running
from tests.ports import free_port
from tests.registry_tools import works

needs_etcd = pytest.mark.skipif(missing_etcd() is not None, reason=str(missing_etcd()))


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("", "_USER", "_PASSWORD", "_PASSWORD_FILE", "_CA", "_CERT", "_KEY"):
        monkeypatch.delenv(f"NWDISCO_ETCD{name}", raising=False)


@pytest.fixture(scope="module")
def etcd() -> Iterator[Etcd]:
    with running() as etcd:
        yield etcd


# --- TLS ---


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities, `ca` and `other`; of the first, certificates of a `server` at 127.0.0.1 and of a `client`."""
    place = tmp_path_factory.mktemp("certificates")
    new_key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    (place / "at").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl(
        place,
        *(f"req -x509 {new_key} -keyout {ca}.key -out {ca}.pem -days 2 -subj /CN={ca}" for ca in ("ca", "other")),
        *(f"req {new_key} -keyout {one}.key -out {one}.csr -subj /CN={one}" for one in ("server", "client")),
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile at -out server.pem",
        "x509 -req -in client.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out client.pem",
    )
    return place


@pytest.fixture(scope="module")
def tls_etcd(certificates: Path) -> Iterator[Etcd]:
    with running(f"--cert-file={certificates}/server.pem", f"--key-file={certificates}/server.key") as etcd:
        yield etcd


@pytest.fixture(scope="module")
def strict_etcd(certificates: Path) -> Iterator[Etcd]:
    """It asks for the client's certificate too."""
    files = f"--cert-file={certificates}/server.pem --key-file={certificates}/server.key"
    with running(*files.split(), f"--trusted-ca-file={certificates}/ca.pem", "--client-cert-auth") as etcd:
        yield etcd


@needs_etcd
def test_tls_with_an_authority_of_ones_own(tls_etcd: Etcd, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_environment(monkeypatch, _CA=certificates / "ca.pem")
    assert works(EtcdRegistry(tls_etcd.address))
    assert works(EtcdRegistry(f"https://{tls_etcd.address}"))
    assert works(EtcdRegistry(EtcdSettings.from_environment(tls_etcd.address)))


@needs_etcd
def test_tls_where_etcd_wants_our_certificate(
    strict_etcd: Etcd, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_environment(monkeypatch, _CA=certificates / "ca.pem")
    with pytest.raises(RegistryAccessError, match="_CERT and _KEY"):
        EtcdRegistry(strict_etcd.address)
    in_environment(monkeypatch, _CERT=certificates / "client.pem", _KEY=certificates / "client.key")
    assert works(EtcdRegistry(strict_etcd.address))


@needs_etcd
@pytest.mark.parametrize("ca", ["other.pem", "at", None])
def test_an_authority_that_is_another_or_none(
    tls_etcd: Etcd, certificates: Path, monkeypatch: pytest.MonkeyPatch, ca: str | None
) -> None:
    """`at` is a file that holds no certificate; without any, this machine's authorities are asked."""
    if ca is not None:
        in_environment(monkeypatch, _CA=certificates / ca)
    with pytest.raises(RegistryAccessError, match="see NWDISCO_ETCD_CA"):
        EtcdRegistry(f"https://{tls_etcd.address}")


@needs_etcd
def test_a_certificate_for_another_host(tls_etcd: Etcd, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_environment(monkeypatch, _CA=certificates / "ca.pem")
    with pytest.raises(RegistryAccessError, match="Hostname Verification"):
        EtcdRegistry(f"localhost:{tls_etcd.port}")


@needs_etcd
@pytest.mark.parametrize("tries", [1, 2])
def test_each_of_several_addresses_has_a_name_of_its_own(
    tls_etcd: Etcd, certificates: Path, monkeypatch: pytest.MonkeyPatch, tries: int
) -> None:
    """Nobody listens at the first ones, whose names are not in the certificate of the last."""
    in_environment(monkeypatch, _CA=certificates / "ca.pem")
    dead = ",".join(f"https://localhost:{free_port()}" for _ in range(tries))
    assert works(EtcdRegistry(f"{dead},https://{tls_etcd.address}"))


@needs_etcd
def test_an_address_that_no_name_server_knows_before_the_right_one_does_no_harm(
    tls_etcd: Etcd, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = socket.getaddrinfo

    def without_asking_the_network(host: str, *how: Any, **more: Any) -> Any:
        if host == "gone.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return ask(host, *how, **more)

    monkeypatch.setattr(socket, "getaddrinfo", without_asking_the_network)
    in_environment(monkeypatch, _CA=certificates / "ca.pem")
    assert works(EtcdRegistry(f"https://gone.invalid:2379,https://{tls_etcd.address}"))


@needs_etcd
def test_of_several_addresses_none_of_which_will_do_the_last_says_why(
    tls_etcd: Etcd, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_environment(monkeypatch, _CA=certificates / "other.pem")
    with pytest.raises(RegistryAccessError, match="see NWDISCO_ETCD_CA"):
        EtcdRegistry(f"https://localhost:{free_port()},https://{tls_etcd.address}")


@needs_etcd
def test_tls_on_one_side_only(etcd: Etcd, tls_etcd: Etcd) -> None:
    for address in (tls_etcd.address, f"https://{etcd.address}"):
        with pytest.raises(RegistryUnavailableError, match="with https:// if it speaks TLS"):
            EtcdRegistry(address)


# --- settings ---


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"": "host:port"}, "NWDISCO_ETCD has 'host:port': give HOST:PORT"),
        ({"": "a:1,https://b:2"}, "all with https:// or none"),
        ({"_USER": "root"}, "_PASSWORD"),
        ({"_PASSWORD": "secret"}, "NWDISCO_ETCD_USER"),
        ({"_USER": "root", "_PASSWORD_FILE": "/none"}, "NWDISCO_ETCD_PASSWORD_FILE is '/none', which cannot be read"),
        ({"_CA": "/none"}, "NWDISCO_ETCD_CA is '/none', which cannot be read"),
        ({"_CERT": "/dev/null"}, "NWDISCO_ETCD_CERT and NWDISCO_ETCD_KEY belong together"),
    ],
)
def test_a_bad_setting_is_named(values: Mapping[str, str], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    in_environment(monkeypatch, **values)
    with pytest.raises(SettingError) as caught:
        EtcdRegistry()
    assert says in str(caught.value)


def test_a_bad_address_is_named_as_such() -> None:
    with pytest.raises(SettingError, match="the address of etcd has 'a b': give HOST:PORT"):
        EtcdRegistry("a b")


def test_who_lacks_aetcd_is_told_what_to_do() -> None:
    program = """
import sys
sys.modules["aetcd"] = None
try:
    import nwdisco.services.etcd
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("EtcdRegistry needs aetcd: pip install 'nwdisco[etcd]'\n", "")

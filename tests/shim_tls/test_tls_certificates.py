"""The certificate and the key of the shim's TLS: which can be used, and what is said of those that cannot."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from nwdisco.beacon.doors.tls import Tls, server_context
from nwdisco.errors import SettingError
from tests.shim_door import (
    Certificate,
    Talker,
    exchange,
    make_certificate,
    needs_openssl,
    openssl,
)

pytestmark = needs_openssl


@pytest.fixture(scope="module")
def files(certificate: Certificate) -> Iterator[Path]:
    with TemporaryDirectory(prefix="nwd-") as directory:
        place = Path(directory)
        shutil.copy(certificate.cert, place / "shim.pem")
        shutil.copy(certificate.key, place / "shim.key")
        (place / "both.pem").write_bytes(certificate.key.read_bytes() + certificate.cert.read_bytes())
        (place / "garbage.pem").write_text("garbage\n")
        (place / "empty.pem").write_text("")
        (place / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        make_certificate(place, "other")
        openssl("genpkey", "-algorithm", "ed25519", "-out", str(place / "ed25519.key"))
        locked = ("-aes256", "-passout", "pass:open", "-out", str(place / "locked.key"))
        openssl("pkey", "-in", str(place / "shim.key"), *locked)
        yield place


@pytest.mark.parametrize(
    ("cert", "key", "wrong", "why"),
    [
        ("missing.pem", "shim.key", "NWDISCO_SHIM_CERT is '.*missing.pem'", "No such file"),
        ("shim.pem", "missing.key", "NWDISCO_SHIM_KEY is '.*missing.key'", "No such file"),
        (".", "shim.key", "NWDISCO_SHIM_CERT is '", "directory"),
        ("garbage.pem", "shim.key", "NWDISCO_SHIM_CERT is '.*garbage.pem'", "no certificate"),
        ("empty.pem", "shim.key", "NWDISCO_SHIM_CERT is '.*empty.pem'", "no certificate"),
        ("broken.pem", "shim.key", "NWDISCO_SHIM_CERT is '.*broken.pem'", "no certificate"),
        ("shim.key", "shim.pem", "NWDISCO_SHIM_CERT is '.*shim.key'", "no certificate"),
        ("shim.pem", "garbage.pem", "NWDISCO_SHIM_KEY is '.*garbage.pem'", "no private key"),
        ("shim.pem", "", "NWDISCO_SHIM_KEY is '.*shim.pem'", "no private key"),
        ("shim.pem", "other.key", "the key in '.*other.key'", "does not fit the certificate in '.*shim.pem'"),
        ("shim.pem", "ed25519.key", "the key in '.*ed25519.key'", "does not fit the certificate in '.*shim.pem'"),
        ("shim.pem", "locked.key", "NWDISCO_SHIM_KEY: the key in '.*locked.key'", "has a passphrase"),
    ],
)
def test_a_certificate_or_key_that_cannot_be_used_is_an_error_that_names_the_file_and_says_why(
    files: Path, cert: str, key: str, wrong: str, why: str
) -> None:
    with pytest.raises(SettingError, match=f"{wrong}.*{why}"):
        server_context(str(files / cert), str(files / key) if key else "")


def test_a_key_without_a_certificate_is_an_error(files: Path) -> None:
    with pytest.raises(SettingError, match="set NWDISCO_SHIM_CERT too"):
        server_context("", str(files / "shim.key"))


def test_a_file_that_holds_both_needs_no_other(files: Path, certificate: Certificate) -> None:
    exchange(Tls(server_context(str(files / "both.pem"), "")), Talker(certificate.trusting()))

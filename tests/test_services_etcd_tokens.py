"""The registry in etcd where etcd has users: the token that a password gets is had anew whenever it is one no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nwdisco.services.etcd import EtcdRegistry
from tests.etcd import Etcd, missing_etcd, openssl, running, secured, settings
from tests.registry_tools import TTL_S, Heard, gone, put

pytestmark = pytest.mark.skipif(missing_etcd() is not None, reason=str(missing_etcd()))


@pytest.fixture
def guarded() -> Iterator[Etcd]:
    with running("--auth-token-ttl", "1") as etcd:
        secured(etcd)
        yield etcd


@pytest.fixture
def signing(tmp_path: Path) -> Iterator[Etcd]:
    """Its tokens are JWTs."""
    openssl(tmp_path, "genrsa -out key.pem 2048", "rsa -in key.pem -pubout -out key.pub")
    keys = f"pub-key={tmp_path}/key.pub,priv-key={tmp_path}/key.pem"
    with running(f"--auth-token=jwt,{keys},sign-method=RS256,ttl=10m") as etcd:
        secured(etcd)
        yield etcd


def test_a_token_that_expires_is_had_anew(guarded: Etcd) -> None:
    heard = Heard()
    with (
        EtcdRegistry(settings(guarded, "root", "secret"), prefix="token/") as registry,
        EtcdRegistry(settings(guarded, "root", "secret"), prefix="token/") as other,
        registry.follow("", heard.append),
    ):
        lease = registry.lease(TTL_S)
        registry.put("a", "1", lease=lease)
        other.put("clock", "1", lease=other.lease(4, keep_alive=False))
        heard.until(gone("clock"))  # four seconds later, and a token lives for one
        assert registry.subtree("") == {"a": "1"}
        registry.put("b", "1", lease=lease)
        heard.until(put("b", "1"))
        registry.delete_subtree("")


def test_a_token_that_etcd_forgot_when_it_was_started_again_is_had_anew() -> None:
    with running() as etcd:
        secured(etcd)
        with EtcdRegistry(settings(etcd, "root", "secret")) as registry:
            lease = registry.lease(30)
            registry.put("a", "1", lease=lease)
            heard = Heard()
            with registry.follow("", heard.append):
                etcd.kill()
                etcd.start()
                registry.put("b", "1", lease=lease)
                heard.until(put("b", "1"))
            assert registry.subtree("") == {"a": "1", "b": "1"}


def test_a_token_that_is_older_than_the_last_change_of_a_role_is_had_anew(signing: Etcd) -> None:
    heard = Heard()
    with EtcdRegistry(settings(signing, "root", "secret")) as registry, registry.follow("", heard.append):
        lease = registry.lease(TTL_S)
        registry.put("a", "1", lease=lease)
        for role in ("one", "two"):
            signing.ctl("--user", "root:secret", "role", "add", role)
            assert registry.get("a") == "1"
            assert registry.put("a", role, lease=lease)
            heard.until(put("a", role))
            assert lease.renew()
            assert registry.subtree("") == {"a": role}
            registry.put("a", "1", lease=lease)

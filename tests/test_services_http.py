"""ServiceClient and AsyncServiceClient before real servers that refuse, close, break off and hang, found in a registry."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from nwdisco.errors import AddressError, NoInstanceError
from nwdisco.services import (
    Discovery,
    MemoryRegistry,
    RegistrySource,
    ServiceClient,
)
from tests.machines import wait_until
from tests.service_clients import BOTH, Shop, by_name, is_asked
from tests.web import NobodyHome, Way, WebService, answers, breaks_off, closes, hangs, tires


@pytest.fixture(params=BOTH)
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    with ExitStack() as ends:
        yield Shop(request.param, ends)


ONCE = ["POST", "PATCH"]
AGAIN = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"]


@pytest.mark.parametrize("method", [*ONCE, *AGAIN])
def test_where_a_connection_is_refused_another_instance_is_asked(shop: Shop, method: str) -> None:
    shop.refusing("a")
    b = shop.instance("b")
    assert shop.client().request(method, "/").status_code == 200
    assert is_asked(b) == [method]


@pytest.mark.parametrize("way", [closes, breaks_off])
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "PUT", "DELETE", "TRACE"])
def test_what_breaks_after_the_sending_is_made_again_elsewhere_if_it_may(shop: Shop, way: Way, method: str) -> None:
    a, b = shop.instance("a", way), shop.instance("b")
    assert shop.client().request(method, "/").text == "b"
    assert is_asked(a) == is_asked(b) == [method]


@pytest.mark.parametrize("way", [closes, breaks_off])
@pytest.mark.parametrize("method", ONCE)
def test_and_not_if_twice_could_be_worse_than_once(shop: Shop, way: Way, method: str) -> None:
    a, b = shop.instance("a", way), shop.instance("b")
    with pytest.raises(httpx.RemoteProtocolError) as raised:
        shop.client().request(method, "/", content=b"three pages")
    assert is_asked(a) == [method]
    assert is_asked(b) == []
    (note,) = raised.value.__notes__
    assert f"shop/a (http://{a.address}): RemoteProtocolError" in note
    assert f"{method} may have been carried out, and is not made again" in note


def test_the_caller_s_word_counts_more_than_the_method(shop: Shop) -> None:
    shop.instance("a", closes)
    b = shop.instance("b")
    assert shop.client().request("POST", "/", json={"pages": 3}, repeatable=True).text == "b"
    assert b.asked[0].body == b'{"pages":3}'
    with pytest.raises(httpx.RemoteProtocolError):
        shop.client().request("GET", "/", repeatable=False)


def test_who_hangs_is_left_after_the_timeout(shop: Shop) -> None:
    a, b = shop.instance("a", hangs), shop.instance("b")
    client = shop.client(timeout=httpx.Timeout(20, read=2))
    assert client.request("GET", "/").text == "b"
    assert is_asked(a) == is_asked(b) == ["GET"]


def test_a_post_to_one_that_hangs_times_out_and_is_not_repeated(shop: Shop) -> None:
    a, b = shop.instance("a", hangs), shop.instance("b")
    with pytest.raises(httpx.ReadTimeout):
        shop.client().request("POST", "/", timeout=httpx.Timeout(20, read=0.2))
    assert is_asked(a) == ["POST"]
    assert is_asked(b) == []


def test_one_that_is_late_is_not_asked_the_same_again_even_if_it_is_the_only_one(shop: Shop) -> None:
    a = shop.instance("a", hangs)
    with pytest.raises(httpx.ReadTimeout) as raised:
        shop.client().request("GET", "/", timeout=httpx.Timeout(20, read=0.2))
    assert is_asked(a) == ["GET"]
    assert "there is no other instance" in raised.value.__notes__[0]


def test_a_body_from_an_iterator_goes_whole_to_another_if_it_was_not_begun(shop: Shop) -> None:
    shop.refusing("a")
    b = shop.instance("b")
    assert shop.client().request("POST", "/", content=iter([b"one ", b"two"])).text == "b"
    assert b.asked[0].body == b"one two"


def test_and_is_not_sent_again_when_it_was(shop: Shop) -> None:
    shop.instance("a", closes)
    b = shop.instance("b")
    with pytest.raises(httpx.TransportError) as raised:
        shop.client().request("PUT", "/", content=iter([b"one ", b"two"]), repeatable=True)
    assert "the body can be read only once" in raised.value.__notes__[0]
    assert is_asked(b) == []


@pytest.mark.parametrize(
    ("body", "arrives"),
    [
        ({"content": b"\x00\xff"}, b"\x00\xff"),
        ({"content": "text"}, b"text"),
        ({"json": [1, 2]}, b"[1,2]"),
        ({"data": {"a": "1"}}, b"a=1"),
    ],
)
def test_any_other_body_arrives_whole_at_the_next(shop: Shop, body: dict[str, Any], arrives: bytes) -> None:
    a, b = shop.instance("a", closes), shop.instance("b")
    shop.client().request("PUT", "/", **body)
    assert a.asked[0].body == b.asked[0].body == arrives


def test_when_all_are_down_the_last_error_names_each_that_was_tried(shop: Shop) -> None:
    for id in ("a", "b"):
        shop.refusing(id)
    with pytest.raises(httpx.ConnectError) as raised:
        shop.client(attempts=5).request("GET", "/")
    (note,) = raised.value.__notes__
    assert [part.split(" (")[0] for part in note.removeprefix("tried ").split(", ")] == ["shop/a", "shop/b"]
    assert note.endswith("; there is no other instance")


def test_no_more_attempts_are_made_than_allowed(shop: Shop) -> None:
    for id in ("a", "b", "c"):
        shop.refusing(id)
    d = shop.instance("d")
    with pytest.raises(httpx.ConnectError) as raised:
        shop.client(attempts=3).request("GET", "/")
    assert "3 attempts are the most" in raised.value.__notes__[0]
    assert shop.client(attempts=4).request("GET", "/").text == "d"
    assert is_asked(d) == ["GET"]
    with pytest.raises(httpx.ConnectError, match=r"."):
        shop.client(attempts=1).request("GET", "/")
    assert is_asked(d) == ["GET"]


def test_a_kept_connection_that_the_only_instance_closes_meanwhile_does_no_harm(shop: Shop) -> None:
    a = shop.instance("a", tires)
    client = shop.client()
    assert [client.request("GET", "/").text for _ in range(4)] == ["a"] * 4
    assert len(a.asked) == 7, "each but the first found a tired connection"


def test_a_post_on_such_a_connection_fails_since_it_may_have_been_carried_out(shop: Shop) -> None:
    shop.instance("a", tires)
    client = shop.client()
    client.request("GET", "/")
    with pytest.raises(httpx.RemoteProtocolError):
        client.request("POST", "/")
    assert client.request("POST", "/").text == "a"


def test_who_failed_is_left_alone_and_used_again_rather_than_to_fail(shop: Shop) -> None:
    a, b = shop.instance("a", closes), shop.instance("b")
    client = shop.client(away_s=3600)
    for _ in range(3):
        assert client.request("GET", "/").text == "b"
    assert len(a.asked) == 1
    a.way, b.way = answers, closes
    assert client.request("GET", "/").text == "a"
    b.way = answers
    assert client.request("GET", "/").text == "a", "it has answered, and is the first again"


def test_after_its_time_away_it_is_used_again(shop: Shop) -> None:
    a = shop.instance("a", closes)
    shop.instance("b")
    client = shop.client(away_s=0.5)
    assert client.request("GET", "/").text == "b"
    a.way = answers
    wait_until(lambda: client.request("GET", "/").text == "a", "the first one's return")


@pytest.mark.parametrize("status", [301, 404, 500, 503])
def test_an_answer_is_an_answer(shop: Shop, status: int) -> None:
    shop.instance("a", lambda handler, asked: handler.answer(b"no", status))
    b = shop.instance("b")
    assert shop.client().request("GET", "/").status_code == status
    assert is_asked(b) == []


def test_a_service_without_instances_is_waited_for_and_then_said_to_have_none(shop: Shop) -> None:
    client = shop.client(wait_s=0.1)
    with pytest.raises(NoInstanceError, match="shop"):
        client.request("GET", "/")


def test_an_instance_that_comes_while_it_is_waited_for_answers(shop: Shop) -> None:
    client = shop.client(wait_s=30)
    web = WebService("late")
    coming = threading.Timer(0.2, shop.register, ("late", web.address))
    coming.start()
    try:
        assert client.request("GET", "/").text == "late"
    finally:
        coming.join()
        web.close()


def test_an_instance_whose_address_is_none_is_passed_over(shop: Shop) -> None:
    with MemoryRegistry() as registry:
        registry.put("default/services/shop/a", '{"hostname": "127.0.0.1", "port": "many"}')
        discovery = Discovery(RegistrySource(registry))
        with pytest.raises(AddressError, match="many") as raised:
            shop.client(discovery=discovery).request("GET", "/")
        assert raised.value.__notes__ == ["tried shop/a (no address): AddressError; there is no other instance"]
        web = shop.instance("b")
        discovery.register("shop", id="b", address=web.address)
        assert shop.client(discovery=discovery).request("POST", "/").text == "b"
        discovery.close()


@pytest.mark.parametrize(
    "broken",
    [
        *({"hostname": host} for host in ("a..b", "x" * 300, "a:b:c", "xn--0", "\u00ad")),
        *({"protocol": protocol} for protocol in ("ftp", "mqtt")),
    ],
    ids=str,
)
def test_an_instance_that_no_request_can_go_to_is_passed_over(shop: Shop, broken: dict[str, str]) -> None:
    with MemoryRegistry() as registry, Discovery(RegistrySource(registry)) as discovery:
        place = {"hostname": "127.0.0.1", "port": "1"}
        discovery.register("shop", id="a", properties=place | broken)
        with pytest.raises((AddressError, httpx.UnsupportedProtocol)) as raised:
            shop.client(discovery=discovery).request("GET", "/")
        assert "there is no other instance" in raised.value.__notes__[0]
        discovery.register("shop", id="b", address=shop.instance("b").address)
        client = shop.client(discovery=discovery)
        assert [client.request("POST", "/").text for _ in range(3)] == ["b"] * 3


@pytest.mark.parametrize("path", ["jobs?of=anna", "/jobs?of=anna"])
def test_a_path_is_one_of_the_instance(shop: Shop, path: str) -> None:
    a = shop.instance("a")
    shop.client().request("GET", path)
    assert a.asked[0].target == "/jobs?of=anna"


def test_a_path_cannot_lead_to_another_host(shop: Shop) -> None:
    a = shop.instance("a")
    client = shop.client()
    for path in ("@elsewhere.example/", ":1/", "//elsewhere.example/", "/x?to=http://elsewhere.example/"):
        assert client.request("GET", path).text == "a"
    assert len(a.asked) == 4
    with pytest.raises(ValueError, match="give its path"):
        client.request("GET", "http://elsewhere.example/")


def test_everything_of_httpx_is_passed_on(shop: Shop) -> None:
    a = shop.instance("a")
    client = shop.client(headers={"X-Client": "1"}, auth=("anna", "secret"), params={"from": "client"})
    response = client.request("GET", "/", headers={"X-Call": "2"}, params={"n": "3"}, cookies={"c": "4"})
    (asked,) = a.asked
    headers = {name.lower(): value for name, value in asked.headers}
    assert asked.target == "/?from=client&n=3"
    assert (headers["x-client"], headers["x-call"], headers["cookie"]) == ("1", "2", "c=4")
    assert headers["authorization"].startswith("Basic ")
    assert headers["host"] == a.address
    assert response.url.host == "127.0.0.1"
    shop.client(auth=("anna", "secret")).request("GET", "/", auth=None)
    assert "Authorization" not in dict(a.asked[1].headers)


def test_a_client_of_one_s_own_is_used_and_stays_open(shop: Shop) -> None:
    a = shop.instance("a")
    own = httpx.Client(headers={"X-Own": "yes"})
    client = shop.client(client=own)
    client.request("GET", "/")
    client.close()
    assert dict(a.asked[0].headers)["X-Own"] == "yes"
    assert client.own is not None
    assert not client.own.is_closed
    with pytest.raises(ValueError, match="give timeout to the httpx"):
        shop.client(client=own, timeout=3)
    own.close()


def test_no_proxy_of_the_environment_comes_between(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    a = shop.instance("a")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert shop.client().request("GET", "/").text == "a"
    with pytest.raises(httpx.ConnectError):
        shop.client(trust_env=True).request("GET", "/")
    assert len(a.asked) == 1


def test_where_a_redirect_leads_is_not_the_instance_s_fault(shop: Shop) -> None:
    nobody = NobodyHome()
    a = shop.instance("a", lambda handler, asked: handler.answer(b"", 307, Location=f"http://{nobody.address}/"))
    b = shop.instance("b")
    client = shop.client()
    with pytest.raises(httpx.ConnectError):
        client.request("GET", "/", follow_redirects=True)
    nobody.close()
    assert client.request("GET", "/").status_code == 307, "it is not kept away from"
    assert (len(a.asked), is_asked(b)) == (2, [])


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"away_s": -1.0}, {"wait_s": -1.0}, {"wait_s": float("nan")}])
def test_a_setting_that_cannot_be_is_refused(shop: Shop, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give"):
        shop.client(**wrong)


def test_after_its_close_it_says_so_and_the_discovery_stays_open(shop: Shop) -> None:
    shop.instance("a")
    client = shop.client()
    assert client.request("GET", "/").text == "a"
    client.close()
    with pytest.raises(RuntimeError, match="'shop' is closed"):
        client.request("GET", "/")
    assert shop.client().request("GET", "/").text == "a"


def test_where_somebody_else_closes_the_pool_that_it_shares_it_takes_a_new_one(shop: Shop) -> None:
    shop.instance("a")
    client = shop.client()
    for _ in range(3):
        assert client.request("GET", "/").text == "a"
        shop.discovery.pool("shop", by_name).close()


VERBS = ["get", "post", "put", "patch", "delete", "head", "options"]


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_sends_its_method(shop: Shop, verb: str) -> None:
    a = shop.instance("a")
    shop.client().by_verb(verb, "/", headers={"X-Verb": verb})
    (asked,) = a.asked
    assert asked.method == verb.upper()
    assert dict(asked.headers)["X-Verb"] == verb


def test_a_transport_of_one_s_own_is_used() -> None:
    seen: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        raise httpx.ConnectError("no") if len(seen) < 3 else httpx.ReadError("broken")

    with Discovery(RegistrySource(MemoryRegistry())) as discovery:
        for id in "abc":
            discovery.register("shop", address=f"10.0.0.1:{ord(id)}", id=id)
        client = ServiceClient("shop", discovery=discovery, transport=httpx.MockTransport(handle))
        with client, pytest.raises(httpx.ReadError):
            client.post("/jobs")
        assert sorted(seen) == [f"http://10.0.0.1:{ord(id)}/jobs" for id in "abc"]


def test_without_httpx_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['httpx'] = None; from nwdisco.services import ServiceClient"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines()[-1].startswith("ImportError: ")
    assert "pip install 'nwdisco[http]'" in done.stderr

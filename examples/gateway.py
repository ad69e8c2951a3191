"""A gateway: one address for all instances of a web service, whichever are there.

Run some services, on any machines:     python examples/hello_service.py a       (then b, c, …)
the gateway to them:                    python examples/gateway.py hello 8000
and ask it, again and again:            curl http://localhost:8000/
It needs httpx:                         pip install 'nwdisco[http]'
End services, kill them, start new ones: each request goes to one that is there. Ctrl-C ends the gateway.
"""

import asyncio
import signal
import sys
from http.cookiejar import CookieJar, DefaultCookiePolicy

import h11  # reads and writes HTTP; comes with httpx
import httpx

from nwdisco.errors import NoInstanceError, NwdiscoError
from nwdisco.services import AsyncServiceClient

MOST_HEAD = 32 * 1024  # bytes of a request's first line and headers
MOST_BODY = 1024 * 1024  # bytes of a request's body; it is kept until it is answered, for another instance may need it
IDLE_S = 60  # how long a connection may be silent
TIMEOUT = httpx.Timeout(30, connect=2)  # seconds that an instance has to answer, and to accept a connection
HOP_BY_HOP = b"connection proxy-connection keep-alive te trailer transfer-encoding upgrade".split()  # RFC 9110, 7.6.1


class Refused(Exception):
    def __init__(self, status, reason):
        self.status, self.reason = status, reason


def passed_on(headers, *but):
    """The headers without those that are for this connection only."""
    named = [
        option.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for option in value.split(b",")
    ]
    return [(name, value) for name, value in headers if name.lower() not in (*HOP_BY_HOP, *named, *but)]


class Visitor:
    """A connection to the gateway: requests come in, and each is answered before the next is read."""

    def __init__(self, service, reader, writer):
        self.service, self.reader, self.writer = service, reader, writer
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEAD)

    async def stay(self):
        try:
            while await self.ask_and_answer():
                self.http.start_next_cycle()
            self.writer.write_eof()
            async with asyncio.timeout(2):  # so that it can read the last answer, even if it was still sending
                while await self.reader.read(65536):
                    pass
        except (OSError, httpx.RequestError, h11.LocalProtocolError):
            pass  # it went away, fell silent, or its answer broke off, which only the end of the connection can tell it
        finally:
            self.writer.close()

    async def ask_and_answer(self):
        """One request; whether another may follow."""
        try:
            request = await self.event()
            if isinstance(request, h11.ConnectionClosed):
                return False
            await self.forward(request, await self.body(request))
        except h11.RemoteProtocolError as error:
            await self.refuse(error.error_status_hint, str(error))
        except Refused as error:
            await self.refuse(error.status, error.reason)
        return self.http.our_state is self.http.their_state is h11.DONE and not ending.is_set()

    async def body(self, request):
        if int(dict(request.headers).get(b"content-length", 0)) > MOST_BODY:
            raise Refused(413, f"a body has at most {MOST_BODY} bytes here")
        body = bytearray()
        while isinstance(event := await self.event(), h11.Data):
            body += event.data
            if len(body) > MOST_BODY:
                raise Refused(413, f"a body has at most {MOST_BODY} bytes here")
        return bytes(body)

    async def forward(self, request, body):
        method = request.method.decode()
        target = request.target
        if target.lower().startswith(b"http://"):  # the whole URL, as for a proxy
            target = b"/" + b"".join(target.split(b"/", 3)[3:])
        if not target.startswith(b"/"):
            raise Refused(400, "a request is for a path, such as /")
        headers = passed_on(request.headers, b"host", b"content-length", b"expect")
        headers.append((b"Via", b"1.1 nwdisco"))
        try:
            async with self.service.stream(
                method,
                "/",
                headers=headers,
                content=body,
                read_ahead=MOST_BODY,
                extensions={"target": target},  # to the letter as it came
            ) as answer:
                await self.send(
                    h11.Response(
                        status_code=answer.status_code,
                        reason=answer.extensions.get("reason_phrase", b""),
                        headers=passed_on(answer.headers.raw),
                    )
                )
                async for piece in answer.aiter_raw():
                    await self.send(h11.Data(data=piece))
                await self.send(h11.EndOfMessage())
        except (httpx.RequestError, NwdiscoError) as error:
            if self.http.our_state is not h11.SEND_RESPONSE:
                raise  # the answer has begun: it cannot become another one
            reason = "; ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])])
            raise Refused(status_of(error), reason) from error

    async def refuse(self, status, reason):
        if self.http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        text = f"{status}: {reason}\n".encode()
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))]
        if self.http.their_state is not h11.DONE:
            headers.append(("Connection", "close"))  # the rest of its request is not read
        await self.send(h11.Response(status_code=status, headers=headers), h11.Data(data=text), h11.EndOfMessage())

    async def event(self):
        """What comes next of a request: its head, a piece of its body, its end."""
        while (event := self.http.next_event()) is h11.NEED_DATA:
            if self.http.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            async with asyncio.timeout(IDLE_S):
                self.http.receive_data(await self.reader.read(8192))
        return event

    async def send(self, *events):
        self.writer.write(b"".join([self.http.send(event) for event in events]))
        async with asyncio.timeout(IDLE_S):
            await self.writer.drain()


def status_of(error):
    if isinstance(error, NoInstanceError):
        return 503
    return 504 if isinstance(error, httpx.TimeoutException) else 502


ending = asyncio.Event()


async def main(name="hello", port="8000"):
    for number in signal.SIGINT, signal.SIGTERM:
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    nobodys = CookieJar(DefaultCookiePolicy(allowed_domains=[]))  # one visitor's cookies are not for another
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    async with httpx.AsyncClient(timeout=TIMEOUT, limits=limits, cookies=nobodys, trust_env=False) as client:
        client.headers.clear()  # only the visitors' own go on
        async with AsyncServiceClient(name, client=client) as service:
            visitors = {}

            def come_in(reader, writer):
                visitor = Visitor(service, reader, writer)
                staying = asyncio.create_task(visitor.stay())
                visitors[staying] = visitor
                staying.add_done_callback(visitors.pop)

            server = await asyncio.start_server(come_in, "0.0.0.0", int(port))
            print(f"the gateway to {name} is at http://localhost:{server.sockets[0].getsockname()[1]}", flush=True)
            await ending.wait()
            server.close()
            for staying, visitor in visitors.items():
                if visitor.http.our_state is h11.IDLE:  # the others leave with their answer
                    staying.cancel()
            if visitors:
                await asyncio.wait(visitors, timeout=10)
            for staying in visitors:
                staying.cancel()
    print("bye", flush=True)


asyncio.run(main(*sys.argv[1:]))

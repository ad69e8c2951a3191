"""A service in Python without nwdisco, over the shim's framed dialect: it registers, shows who else is there, stays listed.

Run:  python examples/shim_framed.py [HOST:PORT]      Ctrl-C ends it; 5.4 seconds after its last heartbeat it is listed no more.
"""

import json
import socket
import sys
import time

host, port = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:65432").split(":")


def ask(**request):
    content = json.dumps(request).encode()
    header = {"byteorder": sys.byteorder, "content-type": "text/json", "content-encoding": "utf-8"}
    head = json.dumps({**header, "content-length": len(content)}).encode()
    with socket.create_connection((host, int(port))) as connection, connection.makefile("rb") as answer:
        connection.sendall(len(head).to_bytes(2, "big") + head + content)
        head = json.loads(answer.read(int.from_bytes(answer.read(2), "big")))
        return answer.read(head["content-length"]).decode()


try:
    while True:  # again when the beacon says NOT FOUND, which it does after a restart
        uuid = ask(action="register", type="lamp", ip="192.168.1.7", port=8080)
        print(uuid, ask(action="query", type="lamp"), flush=True)
        while ask(action="heartbeat", uuid=uuid) == "OK":
            time.sleep(5)
except KeyboardInterrupt:
    print("bye")

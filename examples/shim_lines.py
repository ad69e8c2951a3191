"""A service in Python without nwdisco, over the shim's line dialect: it registers, shows who else is there, stays listed.

Run:  python examples/shim_lines.py [HOST:PORT]      Ctrl-C ends it; ten seconds later it is listed no more.
"""

import json
import socket
import sys
import time

host, port = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:65432").split(":")


def ask(**request):
    with socket.create_connection((host, int(port))) as connection, connection.makefile("rw") as lines:
        print(json.dumps(request), file=lines, flush=True)
        return json.loads(lines.readline())


try:
    while True:  # the same registration once more renews it, and after a restart of the beacon it is a new one
        answer = ask(type="register", key="lamp/python", values="192.168.1.7:8080", timeout=10)
        print(answer, ask(type="query", key="all").get("services"), flush=True)
        time.sleep(5)
except KeyboardInterrupt:
    print("bye")

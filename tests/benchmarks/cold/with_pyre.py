import json
import sys

from pyre import Pyre

node = Pyre()
node.start()
for event in iter(node.recv, None):
    if event[0] == b"ENTER" and sys.argv[1] in (headers := json.loads(event[3])):
        print(headers[sys.argv[1]], flush=True)
        node.stop()
        break

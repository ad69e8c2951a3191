import time  # the document has none, and stops here

import nwdisco as nw0

name = "C"

time.sleep(3)  # later than the others
nw0.advertise(f"cluster/{name}")
master = nw0.discover("cluster/master")

while True:
    command = nw0.wait_for_message_from(master, autoreply=True)
    if command == "STOP":
        break

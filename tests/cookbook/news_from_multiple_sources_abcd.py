import random
import time
import uuid

import nwdisco as nw0

name = f"movement/{uuid.uuid1().hex}"
address = nw0.advertise(name)
print(f"Sending from {name} -> {address}")

while True:
    is_movement = random.random() > 0.5  # no sensor at hand
    nw0.send_news_to(address, "movement", (name, is_movement))
    time.sleep(random.random())

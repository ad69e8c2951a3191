import random
import time

import nwdisco as nw0

address = nw0.advertise("news1")

temperatures = range(15, 20)  # no thermometer at hand
while True:
    temperature = random.choice(temperatures) + random.random()
    nw0.send_news_to(address, "temperature", temperature)
    time.sleep(1.0)

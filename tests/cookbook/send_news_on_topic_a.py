import random
import time

import nwdisco as nw0

address = nw0.advertise("news2")

temperatures = range(15, 20)  # no sensors at hand
humidities = range(0, 100)
while True:
    temperature = random.choice(temperatures) + random.random()
    humidity = random.choice(humidities)
    nw0.send_news_to(address, "temperature", temperature)
    time.sleep(random.random())
    nw0.send_news_to(address, "humidity", humidity)
    time.sleep(random.random())

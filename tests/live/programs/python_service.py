"""A program that knows nothing of profilers: works until it is killed."""

import json
import threading
import time

DOCUMENT = json.dumps([{"id": number, "values": [number * 1.5] * 20} for number in range(400)])


class Handler:
    @classmethod
    def parse(cls):
        return json.loads(DOCUMENT)


def loop(number):
    total = 0
    for one in range(number):
        total += one * one % 7
    return total


def in_thread():
    while True:
        loop(10_000)


def late(number):
    return loop(number)


threading.Thread(target=in_thread, daemon=True).start()
print("ready", flush=True)
start = time.monotonic()
while True:
    Handler.parse()
    loop(10_000)
    if time.monotonic() - start > 0.2:
        late(10_000)

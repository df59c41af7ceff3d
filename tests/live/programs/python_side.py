"""A benchmark's process: the function named on the command line, driven through the worker's own requests.

Standard library only, any Python from 3.10 on. A socket is in PYTHON_SIDE_FD.
"""

import asyncio
import json
import os
import socket
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from pytest_blcperf.bench.channel import Channel, ChannelClosed  # noqa: E402
from pytest_blcperf.bench.job import Job  # noqa: E402
from pytest_blcperf.bench.target import Target  # noqa: E402
from pytest_blcperf.capture.functions import Roots  # noqa: E402

DOCUMENT = json.dumps([{"id": number, "values": [number * 1.5] * 20} for number in range(400)])
exec(
    compile("def made(n):\n    s = 0\n    for i in range(n):\n        s += i * i % 7\n    return s\n", "<made>", "exec")
)


GONE = compile(
    "def gone(n):\n    s = 0\n    for i in range(n):\n        s += i * i % 7\n    return s\n", "<gone>", "exec"
)


class Work:
    @staticmethod
    def loop(number):
        total = 0
        for one in range(number):
            total += one * one % 7
        return total


def generate(number):
    value = 1
    for step in range(number):
        value = (value * 5 + step) & 4095
        yield value


async def coroutine(number):
    total = 0
    for one in range(number):
        total += one * one % 7
    return total


def vanishing():
    namespace = {}
    exec(GONE, namespace)
    code = namespace["gone"].__code__.replace(co_name="gone")
    namespace["gone"].__code__ = code
    return namespace["gone"](20_000)


def in_thread():
    Work.loop(20_000)


def everything():
    json.loads(DOCUMENT)
    Work.loop(20_000)
    sum(generate(10_000))
    asyncio.run(coroutine(20_000))
    made(20_000)  # noqa: F821
    vanishing()
    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()


CALLS = [0]


def failing():
    CALLS[0] += 1
    Work.loop(50_000)
    if CALLS[0] == 3:
        raise ValueError("the third call")


def forking():
    Work.loop(20_000)
    child = os.fork()
    if child == 0:
        Work.loop(20_000)
        os._exit(0)
    os.waitpid(child, 0)


def main():
    channel = Channel(socket.socket(fileno=int(os.environ.pop("PYTHON_SIDE_FD"))))
    target = Target(Job(globals()[sys.argv[1]], sys.argv[1]), Roots.of(str(ROOT)))
    channel.send({"op": "ready", "process": os.getpid()})
    try:
        while (request := channel.receive())["op"] != "stop":
            try:
                channel.send({"op": "answer", **target.answer(request)})
            except ValueError as error:
                channel.send({"op": "raised", "text": str(error)})
    except ChannelClosed:
        pass
    target.close()


if __name__ == "__main__":
    main()

import json
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src"
DELAY = 0.2
DURATION = 1.0


class Service:
    """The service in a process of its own, and a client for it."""

    def __init__(self, process, port):
        self.process = process
        self.address = f"http://127.0.0.1:{port}"
        # A proxy from the environment is no way to reach the loopback interface.
        self.client = build_opener(ProxyHandler({}))

    def suggest(self, word):
        with self.client.open(f"{self.address}/suggest?word={word}", timeout=10) as answer:
            return json.load(answer)


@pytest.fixture
def service(blcperf):
    command = [sys.executable, "-m", "spelling"]
    with blcperf.start(command, cwd=SOURCE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Service(process, int(process.stdout.readline()))
        finally:
            process.kill()


def test_a_misspelt_word_finds_its_neighbours(service):
    assert service.suggest("retrun")[0] == "return"


def test_a_word_is_needed(service):
    with pytest.raises(HTTPError, match="400"):
        service.suggest("")


def test_what_the_service_does_under_load(service, blcperf):
    with blcperf.window(service.process, delay=DELAY, duration=DURATION) as window:
        end = time.monotonic() + DELAY + DURATION
        while time.monotonic() < end:
            assert "continue" in service.suggest("contineu")
    if window.profile is not None:  # without --blcperf this is a plain load test
        hottest = [function.name for function in window.top[:3]]
        print("hottest:", ", ".join(hottest))
        assert hottest[0] == "edit_distance"

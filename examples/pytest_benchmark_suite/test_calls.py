"""Decorated targets, names, errors and coroutines."""

import asyncio
import json

import pytest

DOCUMENT = {"numbers": list(range(50)), "names": [f"name {number}" for number in range(50)]}


def test_decorated(benchmark):
    text = json.dumps(DOCUMENT)

    @benchmark
    def document():
        return json.loads(text)

    assert document == DOCUMENT


def test_name_of_the_test(benchmark):
    benchmark(json.dumps, DOCUMENT, indent=2)
    assert benchmark.name == "test_name_of_the_test"


def test_an_error_in_the_target_is_the_tests_own(benchmark):
    with pytest.raises(json.JSONDecodeError):
        benchmark(json.loads, "{")


async def gathered(count):
    async def double(number):
        await asyncio.sleep(0)
        return 2 * number

    return await asyncio.gather(*(double(number) for number in range(count)))


def test_coroutine(benchmark):
    assert benchmark(gathered, 20) == list(range(0, 40, 2))

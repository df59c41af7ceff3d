"""Groups and parameters; pedantic where the target consumes its input."""

import heapq
import random

import pytest


def shuffled(size):
    return random.Random(size).sample(range(size), size)


def insertion_sort(numbers):
    numbers = list(numbers)
    for start, number in enumerate(numbers):
        hole = start
        while hole and numbers[hole - 1] > number:
            numbers[hole] = numbers[hole - 1]
            hole -= 1
        numbers[hole] = number
    return numbers


def drain(heap):
    return [heapq.heappop(heap) for _ in range(len(heap))]


@pytest.mark.benchmark(group="sort")
@pytest.mark.parametrize("size", [10, 100])
def test_insertion_sort(benchmark, size):
    benchmark.extra_info["size"] = size
    assert benchmark(insertion_sort, shuffled(size)) == list(range(size))


@pytest.mark.benchmark(group="sort")
def test_heap_sort(benchmark):
    def setup():
        heap = shuffled(100)
        heapq.heapify(heap)
        return (heap,), {}

    assert benchmark.pedantic(drain, setup=setup, rounds=5, warmup_rounds=1) == list(range(100))


def test_pedantic_with_arguments(benchmark):
    result = benchmark.pedantic(sorted, args=(shuffled(50),), kwargs={"reverse": True}, rounds=3, iterations=4)
    assert result == list(range(49, -1, -1))

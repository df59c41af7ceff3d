"""The same pseudo-random texts in every process: a benchmark must do equal work on both sides of a comparison."""

import random

import pytest
from wordindex import Index

SYLLABLES = ["ba", "de", "fi", "go", "hu", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "wu"]


@pytest.fixture(scope="module")
def texts():
    chance = random.Random(20)
    vocabulary = ["".join(chance.choices(SYLLABLES, k=chance.randint(1, 4))) for _ in range(2000)]
    frequencies = [1 / rank for rank in range(1, len(vocabulary) + 1)]
    return {f"text {number}": " ".join(chance.choices(vocabulary, frequencies, k=120)) for number in range(60)}


@pytest.fixture(scope="module")
def index(texts):
    return build(texts)


def build(texts):
    index = Index()
    for name, text in texts.items():
        index.add(name, text)
    return index


def test_build(benchmark, texts):
    index = benchmark(build, texts)
    assert len(index) == 60


@pytest.mark.blcperf(threshold="10%", ignore=["Hit.*"])
def test_search(benchmark, index):
    hits = benchmark(index.search, "ba de figo kale", limit=5)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert len(hits) == 5

"""Recursion, classes, generators, and C extensions of the standard library that call back."""

import json
import random
import re
import sys


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


class Item:
    def __init__(self, number):
        self.number = number

    def __lt__(self, other):
        return self.number < other.number

    def multiples(self):
        for index in range(self.number % 50):
            yield index * self.number


def once(seed):
    random.seed(seed)
    items = sorted(Item(random.randrange(1000)) for _ in range(300))
    total = sum(sum(item.multiples()) for item in items)
    data = json.loads(json.dumps([{"a": i, "b": [i * 1.5] * 5, "c": "x" * i} for i in range(60)]))
    total += len(re.findall(r"(\w+)\s*=\s*(\d+)", "abc = 123; " * 60))
    return total + fib(14) + len(data)


print(sum(once(seed) for seed in range(int(sys.argv[1]))))

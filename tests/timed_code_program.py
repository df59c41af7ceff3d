"""Every function of some standard modules with hooks in it (Python 3.10 and 3.11): does it all still do the same?

A program; prints JSON: how many code objects, how many were refused, whether lines and results stayed the same.
"""

import argparse
import ast
import asyncio
import configparser
import dataclasses
import difflib
import inspect
import json
import pprint
import sys
import textwrap
import time
import tokenize
import traceback
import xml.dom.minidom
from fractions import Fraction
from pathlib import Path
from types import CodeType, FunctionType

sys.path.insert(0, str(Path(__file__).parents[1]))

from pytest_blcperf.capture.activations import Activations, ClockCost
from pytest_blcperf.capture.code_exchange import ExchangedCode
from pytest_blcperf.capture.timed_code import timed_code

MODULES = (
    argparse, ast, asyncio.base_events, asyncio.events, asyncio.queues, asyncio.runners, asyncio.tasks, configparser,
    dataclasses, difflib, inspect, json.decoder, json.encoder, pprint, textwrap, tokenize, traceback, xml.dom.minidom,
)  # fmt: skip


async def queues():
    queue = asyncio.Queue(2)

    async def fill():
        for number in range(9):
            await queue.put(number)

    task = asyncio.ensure_future(fill())
    got = [await asyncio.wait_for(queue.get(), 60) for _ in range(9)]
    await task
    pending = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    pending.cancel()
    return got + await asyncio.gather(pending, asyncio.sleep(0, 5), return_exceptions=True)


def work():
    parser = argparse.ArgumentParser(prog="x")
    parser.add_argument("--number", type=int)
    parser.add_argument("names", nargs="*")
    config = configparser.ConfigParser()
    config.read_string("[a]\nb=1\nc=%(b)s2")
    made = dataclasses.make_dataclass("Made", ["a", ("b", int, 5)], order=True)
    try:
        json.loads("{")
    except ValueError:
        failure = traceback.format_exc()
    with open(tokenize.__file__) as source:  # noqa: PTH123
        tokens = [token[:2] for token in tokenize.generate_tokens(source.readline)][:900]
    return [
        list(difflib.unified_diff(list("abcdef"), list("acdxf"))),
        json.dumps(json.loads('{"a": [1, 2, {"b": null}]}'), indent=2),
        ast.unparse(ast.parse(inspect.getsource(textwrap))),
        (str(parser.parse_args(["--number", "3", "q"])), parser.format_help()),
        config["a"]["c"],
        str(sorted([made(2), made(1)])),
        failure,
        tokens,
        str(asyncio.run(queues())),
        textwrap.fill("the quick brown fox " * 20, 40),
        xml.dom.minidom.parseString("<a><b c='1'>t</b></a>").toprettyxml(),
        pprint.pformat({number: list(range(number)) for number in range(12)}),
        str(inspect.signature(Fraction.limit_denominator)),
    ]


def nested(code, found):
    if id(code) not in found:
        found[id(code)] = code
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                nested(constant, found)


def codes():
    found = {}
    for module in MODULES:
        for one in vars(module).values():
            for function in [one, *(vars(one).values() if isinstance(one, type) else ())]:
                if isinstance(function, FunctionType) and function.__code__.co_filename == module.__file__:
                    nested(function.__code__, found)
    return list(found.values())


def lines(code):
    return {line for _, _, line in code.co_lines() if line is not None}


def main():
    expected = work()
    every = codes()
    notes = Activations(every, time.perf_counter_ns, ClockCost())
    rewritten = [(code, timed_code(code, notes.hooks)) for code in every]
    exchanged = ExchangedCode(every, notes.hooks)
    exchanged.open()
    try:
        timed = work()
    finally:
        exchanged.close()
    print(
        json.dumps(
            {
                "codes": len(every),
                "refused": sum(new is None for _, new in rewritten),
                "lines": [str(code) for code, new in rewritten if new is not None and lines(code) != lines(new)],
                "different": [number for number, pair in enumerate(zip(expected, timed, strict=True)) if len(set(map(str, pair))) > 1],
                "after": work() == expected,
                "calls": sum(calls for calls, _, _ in notes.sums()),
                "misplaced": notes.misplaced,
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()

"""The benchmark file of each workload: `work()` is what is measured, here and when changes are calibrated."""

from __future__ import annotations

_TEST = """

def test_it(benchmark):
    benchmark(work)
"""

_WORK = {
    "difflib": """\
import random
from src_difflib import SequenceMatcher

generator = random.Random(2)
A = [generator.choice("abcdefgh") + str(generator.randrange(40)) for _ in range(600)]
B = [word for word in A if generator.random() < 0.9]


def work():
    return SequenceMatcher(None, A, B).quick_ratio(), SequenceMatcher(None, A[:60], B[:60]).ratio()
""",
    "json": """\
import json
import random
from src_json import decoder, scanner

generator = random.Random(3)
DATA = [
    {"id": i, "tags": ["t%d" % generator.randrange(99) for _ in range(3)], "text": "one escape\\n", "more": [*range(15)]}
    for i in range(12)
]
TEXT = json.dumps(DATA)
NAME = next(name for name in ("py_scanstring", "scan_text") if hasattr(decoder, name))


def work():
    machine = decoder.JSONDecoder()
    machine.parse_object, machine.parse_array = decoder.JSONObject, decoder.JSONArray
    machine.parse_string = getattr(decoder, NAME)
    machine.scan_once = scanner.py_make_scanner(machine)
    return machine.decode(TEXT)
""",
    "textwrap": """\
import random
from src_textwrap import dedent, indent, wrap

generator = random.Random(1)
TEXT = " ".join("x" * generator.randrange(1, 12) + generator.choice(["", "."]) for _ in range(300))
BLOCK = "".join(f"    {'  ' * generator.randrange(3)}line {i}\\n" for i in range(250))


def work():
    return wrap(TEXT, width=60, fix_sentence_endings=True), indent(dedent(BLOCK), "> ")
""",
    "zipfile": """\
import io
import random
from src_zipfile import ZIP_DEFLATED, ZipFile

generator = random.Random(4)
MEMBERS = {f"folder/{i}.txt": bytes(generator.choice(b"abcdef ") for _ in range(600)) for i in range(12)}


def work():
    target = io.BytesIO()
    with ZipFile(target, "w", ZIP_DEFLATED) as archive:
        for name, data in MEMBERS.items():
            archive.writestr(name, data)
    with ZipFile(target) as archive:
        return sum(len(archive.read(name)) for name in archive.namelist())
""",
    "copy": """\
from src_copy import deepcopy

DATA = [{"id": i, "point": (i, [i, i + 1]), "tags": [str(i), str(i + 1)], "more": {"a": [i], "b": (i,)}} for i in range(25)]


def work():
    return deepcopy(DATA)
""",
    "tokenize": """\
from src_tokenize import generate_tokens, untokenize

TEXT = ["class A:\\n"]
for i in range(12):
    TEXT += [f"    def f{i}(self, a, b=({i}, 'x')):\\n", f"        return a + b[0] * {i}.5  # done\\n"]


def work():
    return untokenize(list(generate_tokens(iter(TEXT).__next__)))
""",
    "queues": """\
import asyncio
from src_queues.queues import Queue


async def produce(queue):
    for number in range(60):
        await queue.put(number)
    await queue.put(None)


async def consume(queue):
    total = 0
    while (number := await queue.get()) is not None:
        total += number
    return total


async def both():
    queue = Queue(8)
    producer = asyncio.ensure_future(produce(queue))
    total = await consume(queue)
    await producer
    return total


LOOP = asyncio.new_event_loop()


def work():
    return LOOP.run_until_complete(both())
""",
    "dumb": """\
import os
import tempfile
from src_dumb import open as open_database

FOLDER = tempfile.mkdtemp()
NAME = os.path.join(FOLDER, "database")


def work():
    for suffix in (".dir", ".dat", ".bak"):
        if os.path.exists(NAME + suffix):
            os.unlink(NAME + suffix)
    with open_database(NAME, "n") as database:
        for number in range(25):
            database[b"key%d" % number] = b"v" * 300
        return sum(len(database[b"key%d" % number]) for number in range(25))


import atexit
import shutil

atexit.register(shutil.rmtree, FOLDER, True)
""",
    "native": """\
import random
from src_native import count_words

generator = random.Random(5)
TEXT = b" ".join(bytes(generator.choice(b"AbCdEfGhij") for _ in range(generator.randrange(30, 90))) for _ in range(500))


def work():
    return count_words(TEXT)
""",
    "sqlparse": """\
from src_sqlparse import format

SQL = "select a.x, b.y, count(*) as n from first a join second b on a.id = b.id where a.x > 10 and b.y like 'z%' group by a.x, b.y order by n desc;"


def work():
    return format(SQL, reindent=True, keyword_case="upper")
""",
    "mistune": """\
from src_mistune import create_markdown

TEXT = "# Title\\n\\nA *short* text with [a link](https://example.org), `code` and **more**.\\n\\n- one\\n- two *three*\\n\\n> quoted\\n\\n```\\ncode\\n```\\n" * 3
render = create_markdown()


def work():
    return render(TEXT)
""",
}
BENCHMARKS = {name: code + _TEST for name, code in _WORK.items()}

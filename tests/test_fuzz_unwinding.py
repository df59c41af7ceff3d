"""A slice of what tests/fuzz/unwinding.py does, with other inputs."""

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).with_name("fuzz")))

import unwinding as fuzzing


def test_a_slice_of_the_fuzzing(capsys):
    fuzzing.run("call frame information", fuzzing.sections(), 150, random.Random(7))
    fuzzing.run("expressions", fuzzing.expressions, 2000, random.Random(7))
    fuzzing.run("cache files", fuzzing.caches(), 300, random.Random(7))
    assert "2,000 inputs" in capsys.readouterr().out

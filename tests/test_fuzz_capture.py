"""A slice of what tests/fuzz/capture_parsers.py does, with other inputs."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).with_name("fuzz")))

import capture_parsers as fuzzing

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="records are written little-endian here")


def test_a_slice_of_the_fuzzing(tmp_path: Path, capsys) -> None:
    fuzzing.fuzz("records", fuzzing.kernel_records, fuzzing.seeds_of_records(), 300, 7)
    fuzzing.fuzz("maps", fuzzing.maps_file, [fuzzing.MAPS], 1000, 7)
    fuzzing.fuzz("perf.data", fuzzing.file_reader(tmp_path), fuzzing.seeds_of_files(), 300, 7)
    assert "300 inputs" in capsys.readouterr().out


def test_inputs_that_broke_a_parser_do_so_no_more(tmp_path: Path) -> None:
    read = fuzzing.file_reader(tmp_path)
    beyond_any_file = bytearray(fuzzing.seeds_of_files()[0])
    beyond_any_file[40:48] = (1 << 62).to_bytes(8, "little")
    with pytest.raises(fuzzing.BlcperfError):
        read(bytes(beyond_any_file), random.Random(1))

"""The control descriptor: commands in, acknowledgements out, as perf record has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_blcperf.errors import BlcperfError
from pytest_blcperf.window.control import Control


def test_commands_over_descriptors_are_read_and_acknowledged() -> None:
    commands, ours = os.pipe()
    theirs, acknowledged = os.pipe()
    control = Control(f"fd:{commands},{acknowledged}")
    assert control.commands() == []
    os.write(ours, b"enable\ndis")
    assert control.commands() == ["enable"]
    control.acknowledge()
    assert os.read(theirs, 100) == b"ack\n"
    os.write(ours, b"able cpu-clock\nfrobnicate\nstop\n")
    assert control.commands() == ["disable", "stop"]
    assert os.read(theirs, 100) == b"ack\n"
    os.close(ours)
    assert control.commands() == []
    assert control.closed
    for descriptor in (commands, theirs, acknowledged):
        os.close(descriptor)


def test_commands_over_named_pipes(tmp_path: Path) -> None:
    for name in ("in", "out"):
        os.mkfifo(tmp_path / name)
    control = Control(f"fifo:{tmp_path}/in,{tmp_path}/out")
    with (tmp_path / "in").open("wb", buffering=0) as pipe:
        pipe.write(b"enable\n")
        assert control.commands() == ["enable"]
    control.acknowledge()
    assert control.commands() == []
    assert not control.closed
    control.close()


@pytest.mark.parametrize("text", ["", "pipe:1", "fd:", "fd:x", "fd:999", "fifo:/no/such", f"fifo:{__file__}"])
def test_what_is_no_control_is_refused(text: str) -> None:
    with pytest.raises(BlcperfError) as caught:
        Control(text)
    assert caught.value.hint


def test_an_end_that_does_not_listen_is_left_alone() -> None:
    commands, ours = os.pipe()
    theirs, acknowledged = os.pipe()
    control = Control(f"fd:{commands},{acknowledged}")
    os.close(theirs)
    control.acknowledge()
    control.acknowledge()
    for descriptor in (commands, ours, acknowledged):
        os.close(descriptor)

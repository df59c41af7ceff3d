"""The protocol between controller and worker, over real sockets and processes."""

from __future__ import annotations

import os
import struct

import pytest

from pytest_blcperf.bench.channel import Channel, ChannelClosed, ChannelTimeout, pair


def test_messages_arrive_whole_and_in_order() -> None:
    ours, theirs = pair()
    other = Channel(theirs)
    big = {"op": "x", "text": "é" * 10_000}
    ours.send(big)
    ours.send({"op": "y"})
    assert other.receive(1) == big
    assert other.receive(1) == {"op": "y"}


def test_silence_times_out_and_a_closed_end_is_noticed() -> None:
    ours, theirs = pair()
    with pytest.raises(ChannelTimeout):
        ours.receive(0.01)
    theirs.close()
    with pytest.raises(ChannelClosed):
        ours.receive(1)


@pytest.mark.parametrize("data", [struct.pack("!I", 0xFFFFFFFF), struct.pack("!I", 2) + b"[]", b"\0"])
def test_nonsense_from_the_other_end_is_an_error(data: bytes) -> None:
    ours, theirs = pair()
    theirs.sendall(data)
    theirs.close()
    with pytest.raises(ChannelClosed):
        ours.receive(1)


def test_text_that_is_no_json_is_an_error() -> None:
    ours, theirs = pair()
    theirs.sendall(struct.pack("!I", 3) + b"abc")
    with pytest.raises(ValueError, match="Expecting value"):
        ours.receive(1)


def test_a_forked_child_cannot_speak() -> None:
    ours, _theirs = pair()
    child = os.fork()
    if child == 0:
        try:
            ours.send({"op": "lie"})
        except ChannelClosed:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_process_that_ended_is_noticed_though_its_socket_is_held_open() -> None:
    ours, _held_open = pair()
    child = os.fork()
    if child == 0:
        os._exit(0)
    watch = os.pidfd_open(child)
    with pytest.raises(ChannelClosed, match="exited"):
        ours.receive(5, exit_watch=watch)
    os.close(watch)
    os.waitpid(child, 0)

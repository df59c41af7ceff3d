"""Messages between controller and worker: length-prefixed JSON over a socket pair of their own.

Standard output stays free for the benchmark; what it prints cannot corrupt the protocol.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import time
from typing import Any

Message = dict[str, Any]

_HEADER = struct.Struct("!I")
_LIMIT = 256 * 1024 * 1024


class ChannelClosed(Exception):
    """The other end is gone."""


class ChannelTimeout(Exception):
    """Nothing came in time."""


class Channel:
    """One end of a socket pair. Belongs to the process that made it: a forked child cannot speak on it."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._owner = os.getpid()
        end.setblocking(True)
        end.set_inheritable(False)

    def send(self, message: Message) -> None:
        """Send one message. Raises ChannelClosed when the other end is gone, ValueError when it is too large."""
        self._check_owner()
        data = json.dumps(message, separators=(",", ":")).encode()
        if len(data) > _LIMIT:
            raise ValueError(f"a message of {len(data)} bytes is over the limit of {_LIMIT}")
        try:
            self._socket.sendall(_HEADER.pack(len(data)) + data)
        except OSError as error:
            raise ChannelClosed(str(error)) from None

    def receive(self, timeout: float | None = None, exit_watch: int | None = None) -> Message:
        """The next message. `timeout` in seconds for the whole message; `exit_watch` is a pidfd.

        Raises ChannelTimeout; ChannelClosed when the other end is closed, or when the watched process has exited and
        nothing is left to read (a forked grandchild may hold the socket open for ever).
        """
        self._check_owner()
        deadline = None if timeout is None else time.monotonic() + timeout
        (length,) = _HEADER.unpack(self._read(_HEADER.size, deadline, exit_watch))
        if length > _LIMIT:
            raise ChannelClosed(f"a message of {length} bytes is over the limit")
        message = json.loads(self._read(length, deadline, exit_watch))
        if not isinstance(message, dict):
            raise ChannelClosed("a message that is no object")
        return message

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def _read(self, size: int, deadline: float | None, exit_watch: int | None) -> bytes:
        parts: list[bytes] = []
        while size:
            if deadline is not None or exit_watch is not None:
                self._wait(deadline, exit_watch)
            try:
                part = self._socket.recv(min(size, 1 << 20))
            except OSError as error:
                raise ChannelClosed(str(error)) from None
            if not part:
                raise ChannelClosed("closed by the other end")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _wait(self, deadline: float | None, exit_watch: int | None) -> None:
        watched = select.poll()
        watched.register(self._socket, select.POLLIN)
        if exit_watch is not None:
            watched.register(exit_watch, select.POLLIN)
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready = {fd for fd, _ in watched.poll(None if left is None else left * 1000)}
        if not ready:
            raise ChannelTimeout
        if self._socket.fileno() not in ready:
            raise ChannelClosed("the process exited")

    def _check_owner(self) -> None:
        if os.getpid() != self._owner:
            raise ChannelClosed("this is a forked child of the worker")


def pair() -> tuple[Channel, socket.socket]:
    """A channel for this process, and the socket to hand to a new one."""
    ours, theirs = socket.socketpair()
    return Channel(ours), theirs

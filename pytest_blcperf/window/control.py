"""A control descriptor as `perf record --control` has it, so that harnesses made for perf can drive windows.

`fd:IN[,OUT]` names inherited descriptors, `fifo:PATH[,PATH]` named pipes. Commands are lines: `enable` opens a window,
`disable` closes it, `stop` ends the recording, `ping` does nothing; each is answered with `ack` on OUT once it has been
carried out. See perf-record(1), --control; its `snapshot` and `evlist` have no meaning here and are answered alike.
"""

from __future__ import annotations

import os
import stat

from pytest_blcperf.errors import TargetError, UsageError

ENABLE, DISABLE, STOP = "enable", "disable", "stop"
_KNOWN = (ENABLE, DISABLE, STOP, "ping", "snapshot", "evlist")
_LINE_LIMIT = 4096
_ACK = b"ack\n"
_HINT = "--control fd:10,11 or --control fifo:ctl.fifo,ack.fifo, as perf record has it"


class Control:
    """Reads commands without waiting, and acknowledges them. Raises UsageError and TargetError."""

    def __init__(self, text: str) -> None:
        kind, _, names = text.partition(":")
        incoming, _, outgoing = names.partition(",")
        if kind not in ("fd", "fifo") or not incoming:
            raise UsageError(f"--control {text}: not a control descriptor", _HINT)
        self._own = kind == "fifo"
        opened: list[int] = []
        try:
            opened.append(_open(kind, incoming, os.O_RDWR))
            if outgoing:
                opened.append(_open(kind, outgoing, os.O_RDWR))
        except OSError as error:
            self._close(opened)
            raise TargetError(f"--control {text}: {error.strerror}", "make the pipes first: mkfifo ctl.fifo") from None
        self._incoming, self._outgoing = opened[0], opened[1] if outgoing else None
        self._rest = b""
        self.closed = False
        """The other end has gone: no command will come any more."""

    def commands(self) -> list[str]:
        """What has been asked for since the last call, in order; unknown words are left out, and acknowledged."""
        found = []
        for line in self._lines():
            word = line.strip().split(b" ")[0].decode("ascii", "replace")
            if word not in _KNOWN:
                self.acknowledge()
                continue
            found.append(word)
        return found

    def acknowledge(self) -> None:
        """Tell the other end that its command has been carried out. One that does not listen is left alone."""
        if self._outgoing is None:
            return
        try:
            os.write(self._outgoing, _ACK)
        except OSError:
            self._outgoing = None

    def close(self) -> None:
        """Close what was opened here; inherited descriptors stay."""
        opened = [descriptor for descriptor in (self._incoming, self._outgoing) if descriptor is not None]
        if not self.closed:
            self._close(opened)
        self.closed = True

    def _close(self, descriptors: list[int]) -> None:
        if self._own:
            for descriptor in descriptors:
                os.close(descriptor)

    def _lines(self) -> list[bytes]:
        if self.closed:
            return []
        try:
            data = os.read(self._incoming, _LINE_LIMIT)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.closed = True
            return []
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:_LINE_LIMIT]
        return lines


def _open(kind: str, name: str, flags: int) -> int:
    """A descriptor that never blocks. A pipe is opened for both directions, so that it is never at its end."""
    if kind == "fd":
        if not name.isdigit():
            raise UsageError(f"--control fd:{name}: not a descriptor", _HINT)
        os.fstat(int(name))
        os.set_blocking(int(name), False)
        return int(name)
    descriptor = os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UsageError(f"--control fifo:{name}: not a named pipe", "make one: mkfifo ctl.fifo")
    return descriptor

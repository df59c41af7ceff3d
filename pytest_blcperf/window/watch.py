"""A trigger with readers for all its conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

from pytest_blcperf.window import happenings, levels
from pytest_blcperf.window.endpoint import Endpoint
from pytest_blcperf.window.levels import Processes, Reader
from pytest_blcperf.window.trigger import Condition, Trigger, parse


class Watch:
    """Reads every source of an expression and says when it fires. A context manager: readers hold sockets and files.

    `processes` are those that levels speak of. Raises UsageError for an expression or an argument that makes no sense,
    TargetError when an endpoint cannot be opened.
    """

    def __init__(self, text: str, processes: Processes, clock: Callable[[], float], token: str = "") -> None:
        self._trigger = Trigger(parse(text))
        self._processes = processes
        self._clock = clock
        self._token = token
        self._readers: dict[Condition, Reader] = {}
        self._open = ExitStack()

    def __enter__(self) -> Watch:
        with ExitStack() as opened:
            for condition in self._trigger.conditions:
                reader = self._reader(condition)
                opened.callback(reader.close)
                self._readers[condition] = reader
            self._open = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        self._readers.clear()

    @property
    def endpoints(self) -> Iterator[Endpoint]:
        """The endpoints that were opened, to tell the user their addresses and tokens."""
        return (reader for reader in self._readers.values() if isinstance(reader, Endpoint))

    def fired(self) -> str | None:
        """Read everything once: what fired, in words, or None."""
        readings = {condition: reader.read() for condition, reader in self._readers.items()}
        return self._trigger.observe(readings, self._clock())

    def forget(self) -> None:
        """Begin anew for the next window."""
        self._trigger.forget()

    def _reader(self, condition: Condition) -> Reader:
        processes, clock, argument = self._processes, self._clock, condition.argument
        makers: Mapping[str, Callable[[], Reader]] = {
            "cpu": lambda: levels.cpu_percent(processes, clock),
            "io": lambda: levels.io_rate(processes, clock),
            "rss": lambda: levels.resident_bytes(processes),
            "threads": lambda: levels.thread_count(processes),
            "psi.cpu": lambda: levels.pressure("cpu"),
            "psi.memory": lambda: levels.pressure("memory"),
            "psi.io": lambda: levels.pressure("io"),
            "file": lambda: happenings.file_there(argument),
            "log": lambda: happenings.LogLine(argument),
            "signal": lambda: happenings.SignalReceived(argument),
            "probe": lambda: happenings.HttpProbe(argument),
            "command": lambda: happenings.CommandResult(argument, bool(condition.compare)),
            "http": lambda: Endpoint(argument, self._token),
        }
        return makers[condition.source]()

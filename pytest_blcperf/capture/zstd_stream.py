"""Zstandard, as perf compresses records: one stream, flushed at the end of every piece. From the standard library
(3.14) or the package `backports.zstd`, which has the same interface.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from pytest_blcperf.errors import UsageError

_PIECE = 16 << 20
MOST_FROM_ONE_INPUT = 1 << 28
"""A piece that gives more than 256 MiB is a bomb: perf compresses at most a ring at a time."""


class Decompressor:
    """Raises UsageError when no Zstandard is installed."""

    def __init__(self) -> None:
        self._module = _module()
        self._stream: Any = self._module.ZstdDecompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What comes out, in pieces of bounded size. Raises UsageError when the data is damaged."""
        total = 0
        try:
            while data or not self._stream.needs_input:
                if self._stream.eof:
                    data = data or self._stream.unused_data
                    if not data:
                        return
                    self._stream = self._module.ZstdDecompressor()
                piece = self._stream.decompress(data, _PIECE)
                data = b""
                total += len(piece)
                if total > MOST_FROM_ONE_INPUT:
                    raise UsageError(
                        f"a compressed record gives more than {MOST_FROM_ONE_INPUT >> 20} MiB", "record it without -z"
                    )
                yield piece
        except self._module.ZstdError as error:
            raise UsageError(f"compressed records are damaged: {error}", "record it again, or without -z") from error


def _module() -> Any:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise UsageError(
        "the file is compressed (perf record -z), and no Zstandard is installed",
        "pip install 'pytest-blcperf[perfdata]', or record without -z",
    )

"""The process in which names are demangled: a JSON string a line in, the same demangled out. See `demangle`."""

from __future__ import annotations

import json
import re
import resource
import signal
import sys
from collections.abc import Callable

MEMORY_BYTES = 1 << 30
NAME_S = 0.5
"""Processor time for a name."""
MAX_ANSWER = 4096

_RUST = re.compile(r"_R[A-Z]|_ZN.*17h[0-9a-f]{16}E")
_HASH = re.compile(r"::h[0-9a-f]{16}(?=$|\.)")
_CLOSURE = re.compile(r"\{closure:#")


def main() -> None:
    """Answer until there is nothing to read. Limits are the kernel's: this process may be ended at any name."""
    sys.path.extend(sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import cxxfilt

    demangle_c, demangle_rust = _libraries()
    for line in sys.stdin.buffer:
        name = json.loads(line)
        # Nobody handles its signal, which so ends a process that is busy with one name for too long.
        signal.setitimer(signal.ITIMER_PROF, NAME_S)
        try:
            found = demangle_rust(name) if _RUST.match(name) else demangle_c(name)
        except Exception as error:
            found = name
            if isinstance(error, cxxfilt.LibraryNotFound):
                sys.stderr.write("no C++ runtime library is installed: sudo apt-get install libstdc++6\n")
        sys.stdout.buffer.write(json.dumps(found[:MAX_ANSWER]).encode() + b"\n")
        sys.stdout.buffer.flush()


def _libraries() -> tuple[Callable[[str], str], Callable[[str], str]]:
    import cxxfilt
    import rust_demangler

    def rust(name: str) -> str:
        # The library writes closures unlike rustc-demangle does, and leaves the hash that every build makes anew.
        return _HASH.sub("", _CLOSURE.sub("{closure#", str(rust_demangler.demangle(name))))

    try:
        # By name: looking for it needs ldconfig or a compiler, which containers lack.
        return cxxfilt.Demangler("libc.so.6", "libstdc++.so.6").demangle, rust
    except OSError:
        return cxxfilt.demangle, rust


if __name__ == "__main__":
    main()

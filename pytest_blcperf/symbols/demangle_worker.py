"""The process in which names are demangled: a JSON string a line in, the same demangled out. See `demangle`."""

from __future__ import annotations

import json
import re
import resource
import sys
from collections.abc import Callable

MEMORY_BYTES = 1 << 30
PROCESSOR_S = 20
NAME_S = 1
MAX_ANSWER = 4096

_RUST = re.compile(r"_R[A-Z]|_ZN.*17h[0-9a-f]{16}E")
_HASH = re.compile(r"::h[0-9a-f]{16}(?=$|\.)")
_CLOSURE = re.compile(r"\{closure:#")


def main() -> None:
    """Answer until there is nothing to read. Limits are the kernel's: this process may be ended at any name."""
    sys.path.extend(sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    demangle_c, demangle_rust = _libraries()
    for number, line in enumerate(sys.stdin.buffer):
        # The limit moves on with the names, so that one bad name does not use up the time of those after it.
        _limit_processor_time(number)
        name = json.loads(line)
        try:
            found = demangle_rust(name) if _RUST.match(name) else demangle_c(name)
        except Exception:
            found = name
        sys.stdout.buffer.write(json.dumps(found[:MAX_ANSWER]).encode() + b"\n")
        sys.stdout.buffer.flush()


def _limit_processor_time(number: int) -> None:
    if number % 64 == 0:
        used = resource.getrusage(resource.RUSAGE_SELF)
        soft = int(used.ru_utime + used.ru_stime) + 1 + NAME_S
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _libraries() -> tuple[Callable[[str], str], Callable[[str], str]]:
    import cxxfilt
    import rust_demangler

    def rust(name: str) -> str:
        # The library writes closures unlike rustc-demangle does, and leaves the hash that every build makes anew.
        return _HASH.sub("", _CLOSURE.sub("{closure#", str(rust_demangler.demangle(name))))

    return cxxfilt.demangle, rust


if __name__ == "__main__":
    main()

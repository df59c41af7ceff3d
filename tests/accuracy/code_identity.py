"""How many functions of a stripped program are found again in another build of it, and how many are mistaken.

    python tests/accuracy/code_identity.py program.c [gcc options]

Builds the C file twice with -O2 and other options: as it is, and with functions added at its beginning and in its
middle, which moves everything else. Both are stripped; the truth comes from the symbols they had. Prints, for each kind
of build: functions in both, found again, mistaken for another, and those whose code others share.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from pathlib import Path

from pytest_blcperf.symbols.code_identity import CodeIdentities, code_identities
from pytest_blcperf.symbols.elf import ElfFile
from pytest_blcperf.symbols.elf_symbols import elf_symbols

ADDED = """
__attribute__((noinline, used)) static double added_{number}(double x, int n)
{{ for (int i = 0; i < n; i++) x = x * 1.{number}5 + i % ({number} + 3); return x; }}
"""


def named(program: Path, identities: CodeIdentities) -> dict[str, tuple[str, int]]:
    """By fingerprint, the name and the size of the function, from the symbols of the program before it was stripped."""
    table = elf_symbols(ElfFile.open(program)).table
    indices = table.find(identities.begin).tolist()
    exact = [
        index >= 0 and int(table.start[index]) == begin
        for index, begin in zip(indices, identities.begin.tolist(), strict=True)
    ]
    sizes = (identities.end - identities.begin).tolist()
    return {
        key: (table.name(index), size)
        for key, index, good, size in zip(identities.fingerprints, indices, exact, sizes, strict=True)
        if good
    }


def build(folder: Path, name: str, code: str, options: list[str]) -> dict[str, tuple[str, int]]:
    source, program, stripped = folder / f"{name}.c", folder / name, folder / f"{name}.stripped"
    source.write_text(code)
    subprocess.run(["gcc", "-O2", "-w", str(source), "-o", str(program), *options], check=True)
    subprocess.run(["strip", "-o", str(stripped), str(program)], check=True)
    return named(program, code_identities(ElfFile.open(stripped)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("options", nargs="*", help="of gcc, after --")
    arguments = parser.parse_args()
    code = arguments.source.read_text()
    functions = list(re.finditer(r"^\}\n", code, re.M))
    middle = functions[len(functions) // 2].end()
    added = [ADDED.format(number=number) for number in range(8)]
    line = code[:middle].count("\n") + 1
    # Code that contains its own line number would really change.
    changed = "".join([*added[:4], "\n#line 1\n", code[:middle], *added[4:], f"\n#line {line}\n", code[middle:]])
    for kind in ([], ["-no-pie"], ["-fno-plt"]):
        with tempfile.TemporaryDirectory() as folder:
            options = [*kind, *arguments.options]
            before = build(Path(folder), "before", code, options)
            after = build(Path(folder), "after", changed, options)
        report(" ".join(["gcc -O2", *kind]), before, after)


def report(kind: str, before: dict[str, tuple[str, int]], after: dict[str, tuple[str, int]]) -> None:
    both = {name for name, _ in before.values()} & {name for name, _ in after.values()}
    pairs = [(before[key], after[key]) for key in before.keys() & after.keys()]
    right = {old[0] for old, new in pairs if old[0] == new[0]}
    wrong = [(old[0], new[0]) for old, new in pairs if old[0] != new[0]]
    sizes = dict(before.values())
    total = sum(sizes[name] for name in both)
    alike = {name for key, (name, _) in before.items() if "@" in key}
    code = sum(sizes[name] for name in right & both) / total
    missed = both - right - alike
    print(
        f"{kind}: {len(both)} functions in both, {len(right & both)} found again ({code:.1%} of the code), {len(wrong)} "
        f"mistaken, {len((both & alike) - right)} alike and not told apart, {len(missed)} missed"
    )
    for name in sorted(missed, key=lambda one: -sizes[one])[:8]:
        print(f"   not found: {name} ({sizes[name]} bytes)")
    for old, new in wrong[:8]:
        print(f"   mistaken: {old} for {new}")


if __name__ == "__main__":
    main()

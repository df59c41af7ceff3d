"""Names of sampled addresses against those of `perf script`, on real programs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from programs import compiled, executable_mappings, needed, running

from pytest_blcperf.symbols import resolve
from pytest_blcperf.symbols.address_space import AddressSpaces, mapped_code
from pytest_blcperf.symbols.objects import Objects
from pytest_blcperf.symbols.resolve import FrameNames, Resolver

pytestmark = pytest.mark.live

C = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static __attribute__((noinline)) int compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
static __attribute__((noinline)) unsigned long spin(unsigned long n) { for (unsigned long i = 0; i < 99; i++) n = n * 31 + i; return n; }
int main(void) {
    static int numbers[4096]; static char text[4096];
    puts("ready"); fflush(stdout);
    FILE *out = fopen("/dev/null", "w");
    for (unsigned long n = 0;; n++) {
        for (int i = 0; i < 4096; i++) numbers[i] = spin(n + i);
        qsort(numbers, 4096, sizeof(int), compare);
        for (int i = 0; i < 100; i++) { memset(text, i, 4096); fprintf(out, "%d %lu\\n", numbers[i], strlen(text)); fflush(out); }
    }
}
"""
CPLUSPLUS = """
#include <algorithm>
#include <iostream>
#include <map>
#include <string>
#include <vector>
namespace shop {
template <class T> struct Basket {
    std::map<std::string, T> prices;
    __attribute__((noinline)) T total() const { T sum{}; for (auto &one : prices) sum += one.second; return sum; }
    __attribute__((noinline)) void add(const std::string &name, T price) { prices[name] += price; }
};
}
int main() {
    std::cout << "ready" << std::endl;
    shop::Basket<double> basket;
    for (unsigned n = 0;; n++) {
        basket.add(std::to_string(n % 1000), basket.total());
        std::vector<std::string> names;
        for (auto &one : basket.prices) names.push_back(one.first);
        std::sort(names.begin(), names.end(), [](auto &a, auto &b) { return b < a; });
    }
}
"""
PYTHON = """
import json, re, zlib
print("ready", flush=True)
rows = [{"key": n, "text": "x" * n} for n in range(200)]
while True:
    text = json.dumps(rows)
    json.loads(text), re.findall("x+", text), zlib.compress(text.encode()), sorted(text)
"""


@dataclass(frozen=True)
class Frames:
    object: npt.NDArray[np.int32]
    address: npt.NDArray[np.uint64]
    caller: npt.NDArray[np.bool_]


def recorded(process: int, folder: Path) -> Counter[tuple[int, str]]:
    """(address, mangled name) of what `perf` sampled in half a second, with how often."""
    perf = needed("perf", "linux-perf")
    data = folder / "perf.data"
    # A folder of its own, or perf would find the symbols of a program that was recorded before it was stripped.
    perf_here = [perf, "--buildid-dir", str(folder / "cache")]
    event = ["-e", "cpu-clock", "-F", "2000", "-p", str(process)]
    command = [*perf_here, "record", "-q", *event, "-o", str(data), "sleep", "0.5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"perf record is refused: {done.stderr.strip()[-200:]}")
    environment = {**os.environ, "DEBUGINFOD_URLS": ""}
    script = [*perf_here, "script", "-i", str(data), "-F", "ip,sym", "--no-demangle"]
    text = subprocess.run(script, capture_output=True, text=True, check=True, env=environment).stdout
    found = re.findall(r"^\s*([0-9a-f]+)\s+(\S.*)$", text, re.M)
    return Counter((int(address, 16), name.strip()) for address, name in found)


def named(process: int, addresses: list[int], monkeypatch: pytest.MonkeyPatch) -> FrameNames:
    """Our names of addresses in a process, left mangled."""
    monkeypatch.setattr(resolve.Demangler, "all", lambda _, names: list(names))
    mappings = executable_mappings(process)
    address = np.array(addresses, np.uint64)
    none = np.zeros(len(address), np.int64)
    with Objects() as objects:
        code = mapped_code(mappings, objects)
        mapping = AddressSpaces(mappings).locate(none + process, none, address)
        kernel = address >= np.uint64(1 << 63)
        item = np.where(kernel, -2, np.where(mapping >= 0, code.object_of[mapping], -1))
        link = address - np.where(mapping >= 0, code.bias[mapping], np.uint64(0))
        frames = Frames(item.astype(np.int32), link, np.zeros(len(address), np.bool_))
        return Resolver().resolve(frames, code, mappings)


@pytest.mark.parametrize("language", ["c", "c++", "stripped c++", "python"])
def test_names_are_those_of_perf_script(language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBUGINFOD_URLS", "")
    if language == "python":
        command = [sys.executable, "-c", PYTHON]
    elif language == "c":
        command = [str(compiled(tmp_path, "program", C, "-O1"))]
    else:
        program = compiled(tmp_path, "program", CPLUSPLUS, "-O1", "-rdynamic", compiler="g++")
        command = [str(program)]
        if language == "stripped c++":
            subprocess.run([needed("strip", "binutils"), program], check=True)
    with running(*command) as process:
        theirs = recorded(process.pid, tmp_path)
        ours = named(process.pid, [address for address, _ in theirs], monkeypatch)
    samples = sum(theirs.values())
    assert samples > 20
    different: Counter[tuple[str, str]] = Counter()
    for number, ((_, theirs_name), count) in enumerate(theirs.items()):
        function = ours.functions[ours.function[number]]
        if not same(function.name, theirs_name, bool(ours.unknown[number])):
            different[function.name, theirs_name] += count
    assert sum(different.values()) <= 0.01 * samples, different


def same(ours: str, theirs: str, unknown: bool) -> bool:
    """Whether two names are of one function. `perf` names no function it does not know, and stubs of indirect functions
    after their addresses.
    """
    if theirs == "[unknown]" or theirs.endswith("@plt"):
        return unknown or ours.startswith(("+", "[")) or ours == theirs or "*ABS*" in theirs
    # Names of one address: `perf` chooses before it knows whether the names are the same but for a version.
    return ours == theirs.partition("@@")[0]

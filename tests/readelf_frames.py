"""Unwind tables as GNU readelf interprets them: the reference that our own tables are held against."""

import re
import subprocess

import numpy as np

from pytest_blcperf.symbols.unwind_table import (
    BY_EXPRESSION,
    EXPRESSION,
    NOT_COVERED,
    OFFSET,
    REGISTER,
    SAME,
    UNDEFINED,
    VALUE_EXPRESSION,
    VALUE_OFFSET,
)

NUMBERS = {
    name: number
    for number, name in enumerate(
        ("rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)), "ra")
    )
}
HEADER = re.compile(r"FDE cie=\S+ pc=([0-9a-f]+)\.\.([0-9a-f]+)")
RULES = {"u": UNDEFINED, "s": SAME, "exp": EXPRESSION, "vexp": VALUE_EXPRESSION}


def interpreted_rows(path, section):
    """(address, end of its function, {column: text}) of every row readelf prints for `section` (frames of the file)."""
    command = ["readelf", "--wide", "--debug-dump=frames-interp", str(path)]
    # Its exit status is 1 when a debug file is linked to that is not there.
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    wanted, columns, end = False, [], 0
    for line in text.splitlines():
        if line.startswith("Contents of the"):
            wanted = f" {section} " in line
        elif not wanted or not line.strip():
            columns = columns if line.strip() else []
        elif " CIE " in line:
            end = 0
        elif header := HEADER.search(line):
            begin, end = (int(address, 16) for address in header.groups())
            # A function that does what its CIE says all along has no rows.
            yield begin, end, {}
        elif line.split()[0] == "LOC":
            columns = line.split()
        elif columns and end:
            # An address without room for a blank behind the CFA's column: "rsp+8" always has one.
            cells = line.split()
            if len(cells) == len(columns):
                yield int(cells[0], 16), end, dict(zip(columns[1:], cells[1:], strict=True))


def differences(table, rows):
    """Rows (address, what readelf says, what the table says) that are not the same, and how many were compared."""
    rows = [row for row in rows if row[0] < row[1] and row[0] > 0]
    # Rows at one address: the last one stands.
    last = {address: cells for address, _, cells in rows}
    found = table.lookup(np.array(list(last), np.uint64)).tolist()
    wrong = []
    for (address, cells), rule in zip(last.items(), found, strict=True):
        ours = "not covered" if rule == NOT_COVERED else _wrong_cells(table.rules, rule, cells)
        if ours:
            wrong.append((hex(address), cells, ours))
    return wrong, len(last)


def _wrong_cells(rules, rule, cells):
    wrong = {}
    for column, cell in cells.items():
        if column == "CFA":
            ours = (int(rules.cfa_register[rule]), int(rules.cfa_offset[rule]))
            same = ours[0] == BY_EXPRESSION if cell == "exp" else ours == _cfa(cell)
        elif column in NUMBERS:
            ours = (int(rules.how[rule, NUMBERS[column]]), int(rules.value[rule, NUMBERS[column]]))
            same = ours[0] in _hows(cell) and (ours[0] not in (OFFSET, VALUE_OFFSET, REGISTER) or ours == _rule(cell))
        else:
            continue
        if not same:
            wrong[column] = ours
    return wrong


def _cfa(cell):
    name, sign, number = re.fullmatch(r"(\w+)([+-])(\d+)", cell).groups()
    return NUMBERS[name], int(sign + number)


def _hows(cell):
    # readelf prints u for a register nothing is said of, which for us is the same as before.
    return {UNDEFINED, SAME} if cell == "u" else {_rule(cell)[0]}


def _rule(cell):
    if cell in RULES:
        return RULES[cell], 0
    if match := re.fullmatch(r"c([+-]\d+)", cell):
        return OFFSET, int(match[1])
    if match := re.fullmatch(r"v([+-]\d+)", cell):
        return VALUE_OFFSET, int(match[1])
    return REGISTER, NUMBERS[cell]

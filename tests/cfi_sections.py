"""Call frame information put together byte by byte."""

import struct


def uleb(number):
    found = bytearray()
    while True:
        found.append(number & 0x7F | (0x80 if number >> 7 else 0))
        number >>= 7
        if not number:
            return bytes(found)


def sleb(number):
    found = bytearray()
    while True:
        byte, number = number & 0x7F, number >> 7
        if number in (0, -1) and bool(byte & 0x40) == (number == -1):
            return bytes([*found, byte])
        found.append(byte | 0x80)


PUSHED = b"\x0c\x07\x08\x90\x01"
"""def_cfa rsp + 8; the return address is kept at CFA - 8: what compilers begin with."""


class Section:
    """A `.eh_frame` (or `.debug_frame`) section at `address`, with addresses encoded as `encoding` says."""

    def __init__(self, address=0x1000, debug=False, wide=False):
        self.address, self.debug, self.wide = address, debug, wide
        self.data = b""

    def _entry(self, body):
        body += b"\0" * (-len(body) % 4)
        self.data += struct.pack("<IQ", 0xFFFFFFFF, len(body)) if self.wide else struct.pack("<I", len(body))
        self.data += body

    def cie(self, program=PUSHED, augmentation="zR", **fields):
        """Fields are `version`, `factors` (of code and data), `encoding` and `return_address` (a register)."""
        version, factors = fields.get("version", 1), fields.get("factors", (1, -8))
        encoding, return_address = fields.get("encoding", 0), fields.get("return_address", 16)
        place = len(self.data)
        number = b"\xff" * (8 if self.wide else 4) if self.debug else b"\0" * 4
        body = number + bytes([version]) + augmentation.encode() + b"\0"
        body += b"\x08\0" if version == 4 else b""
        body += uleb(factors[0]) + sleb(factors[1]) + uleb(return_address)
        body += uleb(1) + bytes([encoding]) if augmentation.startswith("z") else b""
        self._entry(body + program)
        return place

    def fde(self, cie, begin, length, program=b"", augmented=True):
        field = len(self.data) + (12 if self.wide else 4)
        width = "<Q" if self.debug and self.wide else "<I"
        number = struct.pack(width, cie if self.debug else field - cie)
        self._entry(number + struct.pack("<QQ", begin, length) + (b"\0" if augmented else b"") + program)

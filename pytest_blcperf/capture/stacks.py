"""Python stacks walked from a frame, interned, with their weights."""

from __future__ import annotations

from types import CodeType, FrameType

_REST_PER_FRAME_NS = 500

OUTSIDE = -1
"""The stack of a sample that does not contain the root."""

ROOT = 0
"""The empty stack: the root itself."""


class StackTable:
    """Stacks by the identities of their code objects, leaf first, cut at `root` (None: whole stacks).

    Identities, because hashing a code object hashes its names and constants. The table keeps every code object it has
    seen alive, so that no identity is ever used twice.
    """

    rest_ns = 0
    """How long to leave the target alone after the last walk: it took about a fifth of that."""

    def __init__(self, root: CodeType | None) -> None:
        self._root = root
        self._known: dict[tuple[int, ...], int] = {(): ROOT}
        self._codes: dict[int, CodeType] = {}
        self._weight_ns = [0]
        self._count = [0]

    def note(self, frame: FrameType | None) -> int:
        """The number of the stack that ends in `frame`, or OUTSIDE."""
        root = self._root
        leaf = frame
        identities = []
        while frame is not None:
            code = frame.f_code
            if code is root:
                break
            identities.append(id(code))
            frame = frame.f_back
        # By depth, not by the clock: that would also count the time the thread was preempted.
        self.rest_ns = len(identities) * _REST_PER_FRAME_NS
        if frame is None and root is not None:
            return OUTSIDE
        key = tuple(identities)
        number = self._known.get(key)
        return self._add(key, leaf) if number is None else number

    def _add(self, key: tuple[int, ...], frame: FrameType | None) -> int:
        while frame is not None and frame.f_code is not self._root:
            self._codes[id(frame.f_code)] = frame.f_code
            frame = frame.f_back
        self._weight_ns.append(0)
        self._count.append(0)
        return self._known.setdefault(key, len(self._count) - 1)

    def noted(self) -> tuple[list[CodeType], list[tuple[int, ...]]]:
        """(codes, stacks): every stack by its number, as indices into `codes`, leaf first."""
        index: dict[int, int] = {}
        stacks = [tuple(index.setdefault(identity, len(index)) for identity in key) for key in self._known]
        return [self._codes[identity] for identity in index], stacks

    def charge(self, stack: int, weight_ns: int) -> None:
        """Add one sample of `weight_ns` to a stack that `note` numbered, or to ROOT."""
        self._weight_ns[stack] += weight_ns
        self._count[stack] += 1

    def columns(self) -> tuple[list[CodeType], list[tuple[int, ...]], list[int], list[int]]:
        """(codes, stacks, weight_ns, count) of the stacks that were charged, as in `Samples`."""
        used = [(key, number) for key, number in self._known.items() if self._count[number]]
        index: dict[int, int] = {}
        stacks = [tuple(index.setdefault(identity, len(index)) for identity in key) for key, _ in used]
        return (
            [self._codes[identity] for identity in index],
            stacks,
            [self._weight_ns[number] for _, number in used],
            [self._count[number] for _, number in used],
        )

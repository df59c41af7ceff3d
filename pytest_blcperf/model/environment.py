"""What a measurement depends on besides the code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Environment:
    """The machine and the interpreter of a run. `packages` maps distribution names to versions."""

    machine: str = ""
    cpu_model: str = ""
    cpu_count: int = 0
    memory_bytes: int = 0
    system: str = ""
    kernel: str = ""
    python: str = ""
    python_build: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    backend: str = ""
    """How profiles were taken, "" where none were; shares of different backends are not compared."""

    @property
    def machine_identity(self) -> tuple[str | int, ...]:
        """What must be equal for times to be compared: machine model, kernel and interpreter."""
        return (self.machine, self.cpu_model, self.cpu_count, self.kernel, self.python, self.python_build)

    def comparable_times(self, other: Environment) -> bool:
        """Whether times measured in the two may be compared at all."""
        return self.machine_identity == other.machine_identity

"""What was tried on this machine and how it came out: plain data, from `capabilities_probe`, for `capabilities`."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

SYS_PTRACE, SYS_ADMIN, PERFMON = 19, 21, 38
"""Capability numbers of linux/capability.h."""

DOCKER, PODMAN, KUBERNETES, LXC, NSPAWN, WSL, OTHER = (
    "docker",
    "podman",
    "kubernetes",
    "lxc",
    "systemd-nspawn",
    "wsl",
    "container",
)
GITLAB, GITHUB = "gitlab", "github"


@dataclass(frozen=True)
class Attempt:
    """Something that was tried: the errno it failed with, 0 when it worked, None when it could not even be tried."""

    error: int | None = None
    text: str = ""

    @property
    def worked(self) -> bool:
        """Whether it worked."""
        return self.error == 0

    @property
    def said(self) -> str:
        """How it failed: `EACCES (Permission denied)`."""
        if self.error is None:
            return self.text or "not tried"
        return f"{errno.errorcode.get(self.error, self.error)}{f' ({self.text})' if self.text else ''}"


WORKED = Attempt(0)


@dataclass(frozen=True)
class Facts:
    """What was found on this machine. Settings are the text of their file, "" where there is none."""

    own_event: Attempt = field(default_factory=Attempt)
    child_event: Attempt = field(default_factory=Attempt)
    """With user registers and stack, as the unwinder needs them."""
    kernel_event: Attempt = field(default_factory=Attempt)
    tracepoint: Attempt = field(default_factory=Attempt)
    tracepoint_data: Attempt = field(default_factory=Attempt)
    cycles: Attempt = field(default_factory=Attempt)
    instructions: Attempt = field(default_factory=Attempt)
    read_child: Attempt = field(default_factory=Attempt)
    attach_child: Attempt = field(default_factory=Attempt)
    read_other: Attempt = field(default_factory=Attempt)
    """Of a process of the same user that is no descendant."""
    new_namespace: Attempt = field(default_factory=Attempt)
    ring_kb: int = 0
    """The largest ring that every CPU can have at once."""
    cpus: int = 1
    root: bool = False
    capabilities: int = 0
    in_user_namespace: bool = False
    seccomp: str = ""
    """0 none, 1 strict, 2 a filter."""
    paranoid: str = ""
    mlock_kb: str = ""
    yama: str = ""
    tracefs: str = ""
    """Where it is mounted."""
    tracefs_readable: bool = False
    kernel_names: bool = False
    container: str = ""
    runner: str = ""
    setcap: bool = True
    symbolizer: str = ""
    debuginfod_urls: str = ""
    valgrind: str = ""
    """Its version, "" when it does not run."""
    python: str = "python3"
    """The interpreter's real path: where file capabilities go."""

    @property
    def contained(self) -> bool:
        """Whether it is a container, whose rights and kernel settings are given from outside."""
        return self.container not in ("", WSL)

    def has(self, capability: int) -> bool:
        """Whether it is effective in the first user namespace, the only one whose capabilities count for perf."""
        return bool(self.capabilities >> capability & 1) and not self.in_user_namespace

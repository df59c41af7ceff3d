"""Which Linux distribution this is, and how things are installed and set on it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

DEBIAN, UBUNTU, FEDORA, RHEL, ARCH, ALPINE, SUSE = "debian", "ubuntu", "fedora", "rhel", "arch", "alpine", "suse"

_FAMILIES = {
    DEBIAN: (DEBIAN, "raspbian", "kali", "devuan"),
    UBUNTU: (UBUNTU, "linuxmint", "pop", "neon"),
    FEDORA: (FEDORA,),
    RHEL: (RHEL, "centos", "rocky", "almalinux", "ol", "amzn"),
    ARCH: (ARCH, "archarm", "manjaro", "endeavouros"),
    ALPINE: (ALPINE, "postmarketos"),
    SUSE: (SUSE, "opensuse", "opensuse-leap", "opensuse-tumbleweed", "sles", "sled"),
}
_INSTALL = {
    DEBIAN: "apt-get install",
    UBUNTU: "apt-get install",
    FEDORA: "dnf install",
    RHEL: "dnf install",
    ARCH: "pacman -S",
    ALPINE: "apk add",
    SUSE: "zypper install",
}
_PACKAGES = {
    "setcap": {DEBIAN: "libcap2-bin", UBUNTU: "libcap2-bin", SUSE: "libcap-progs", "": "libcap"},
    "addr2line": {"": "binutils"},
}
"""Tool → family → package, "" for the other families; a tool that is missing here is packaged under its own name."""
_DEBUGINFOD = {
    "debian": "https://debuginfod.debian.net",
    "ubuntu": "https://debuginfod.ubuntu.com",
    "fedora": "https://debuginfod.fedoraproject.org/",
    "centos": "https://debuginfod.centos.org/",
    "arch": "https://debuginfod.archlinux.org",
    "manjaro": "https://debuginfod.archlinux.org",
    "opensuse": "https://debuginfod.opensuse.org/",
    "opensuse-leap": "https://debuginfod.opensuse.org/",
    "opensuse-tumbleweed": "https://debuginfod.opensuse.org/",
}
_OTHER_DEBUGINFOD = "https://debuginfod.elfutils.org/"
"""The elfutils project's own, which asks those of the distributions."""
_DATABASE = {
    DEBIAN: ("dpkg-query", "--search"),
    UBUNTU: ("dpkg-query", "--search"),
    FEDORA: ("rpm", "--query", "--file", "--queryformat=%{NAME}\\n"),
    RHEL: ("rpm", "--query", "--file", "--queryformat=%{NAME}\\n"),
    SUSE: ("rpm", "--query", "--file", "--queryformat=%{NAME}\\n"),
    ARCH: ("pacman", "--query", "--quiet", "--owns"),
    ALPINE: ("apk", "info", "--who-owns"),
}

_PACKAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*")


@dataclass(frozen=True)
class Distribution:
    """What /etc/os-release says (os-release(5)); `family` is one of the names above, "" for an unknown distribution."""

    id: str = ""
    name: str = ""
    version: str = ""
    codename: str = ""
    family: str = ""

    @property
    def label(self) -> str:
        """Its name and version."""
        return " ".join(part for part in (self.name or self.id or "unknown Linux", self.version) if part)

    def install(self, tool: str, root: bool = False) -> str:
        """The command that installs a tool: `sudo apt-get install valgrind`."""
        names = _PACKAGES.get(tool, {})
        package = names.get(self.family) or names.get("") or tool
        if self.family not in _INSTALL:
            return f"install the package {package}"
        return self.as_root(f"{_INSTALL[self.family]} {package}", root)

    def as_root(self, command: str, root: bool = False) -> str:
        """The command for someone who is root already, or is not; Alpine comes with doas."""
        if root:
            return command
        return f"{'doas' if self.family == ALPINE else 'sudo'} {command}"

    @property
    def debuginfod(self) -> str:
        """The debuginfod server that has the distribution's debug files."""
        return _DEBUGINFOD.get(self.id) or _DEBUGINFOD.get(self.family) or _OTHER_DEBUGINFOD

    def owner_query(self, path: str) -> tuple[str, ...]:
        """The command that says which package a file is from; () when it is not known for this distribution."""
        known = _DATABASE.get(self.family, ())
        return (*known, path) if known else ()

    def owner(self, output: str) -> str:
        """The package in that command's output, "" when there is none."""
        line = output.strip().splitlines()[0] if output.strip() else ""
        if self.family in (DEBIAN, UBUNTU):
            return line.partition(": ")[0].split(",")[0].split(":")[0].strip() if ": " in line else ""
        if self.family == ALPINE:
            package = line.rpartition(" is owned by ")[2] if " is owned by " in line else ""
            return "-".join(package.split("-")[:-2])
        return line if line and " " not in line else ""

    def debug_symbols(self, package: str, root: bool = False) -> tuple[str, ...]:
        """Commands that get the debug symbols of a package ("": whichever it is), the easiest first.

        The first needs no rights at all: this program, gdb and perf ask a debuginfod server for what they need.
        """
        name = package if _PACKAGE_NAME.fullmatch(package) else "PACKAGE"
        commands = [f"export DEBUGINFOD_URLS={self.debuginfod}"]
        return (*commands, *(self.as_root(command, root) for command in self._debug_packages(name)))

    def _debug_packages(self, name: str) -> tuple[str, ...]:
        if self.family == DEBIAN:
            source = f"deb http://deb.debian.org/debian-debug/ {self.codename or 'CODENAME'}-debug main"
            command = f'sh -c \'echo "{source}" >/etc/apt/sources.list.d/debug.list && apt-get update'
            return (f"{command} && apt-get install {name}-dbgsym'",)
        if self.family == UBUNTU:
            source = f"deb http://ddebs.ubuntu.com {self.codename or 'CODENAME'} main restricted universe multiverse"
            command = (
                f'sh -c \'apt-get install ubuntu-dbgsym-keyring && echo "{source}" >/etc/apt/sources.list.d/ddebs.list'
            )
            return (f"{command} && apt-get update && apt-get install {name}-dbgsym'",)
        if self.family in (FEDORA, RHEL):
            return (f"dnf debuginfo-install {name}",)
        if self.family == ALPINE:
            return (f"apk add {name}-dbg",)
        if self.family == SUSE:
            return (f"zypper --plus-content debug install {name}-debuginfo",)
        # Arch builds no debug packages for users to install: its debuginfod server is the way.
        return ()


def parse(text: str) -> Distribution:
    """The distribution that an os-release file describes; what cannot be read of it is left out."""
    values: dict[str, str] = {}
    for line in text[:100_000].splitlines():
        key, separator, value = line.strip().partition("=")
        if separator and key.isidentifier():
            values[key] = _unquoted(value)
    identifier = values.get("ID", "").lower()
    families = {name: family for family, names in _FAMILIES.items() for name in names}
    candidates = [identifier, *values.get("ID_LIKE", "").lower().split()]
    return Distribution(
        id=identifier,
        name=values.get("NAME", ""),
        version=values.get("VERSION_ID", ""),
        codename=values.get("VERSION_CODENAME", ""),
        family=next((families[name] for name in candidates if name in families), ""),
    )


def current(root: Path = Path("/")) -> Distribution:
    """The distribution of this machine or container."""
    for name in ("etc/os-release", "usr/lib/os-release"):
        try:
            return parse((root / name).read_text("utf-8", "replace"))
        except OSError:
            continue
    return Distribution()


def _unquoted(value: str) -> str:
    try:
        return "".join(shlex.split(value)[:1])
    except ValueError:
        return value.strip("\"'")

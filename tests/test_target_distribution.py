"""Commands for each distribution, from the os-release files that they ship."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_blcperf.target.distribution import (
    ALPINE,
    ARCH,
    DEBIAN,
    FEDORA,
    RHEL,
    SUSE,
    UBUNTU,
    Distribution,
    current,
    parse,
)

RELEASES = {
    "debian": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nVERSION="12 (bookworm)"\nVERSION_CODENAME=bookworm\nID=debian\n',
    "ubuntu": 'PRETTY_NAME="Ubuntu 24.04.1 LTS"\nNAME="Ubuntu"\nVERSION_ID="24.04"\nVERSION_CODENAME=noble\nID=ubuntu\nID_LIKE=debian\nUBUNTU_CODENAME=noble\n',
    "mint": 'NAME="Linux Mint"\nVERSION_ID="21.3"\nVERSION_CODENAME=virginia\nID=linuxmint\nID_LIKE="ubuntu debian"\n',
    "fedora": 'NAME="Fedora Linux"\nVERSION="40 (Container Image)"\nID=fedora\nVERSION_ID=40\nVERSION_CODENAME=""\n',
    "rhel": 'NAME="Red Hat Enterprise Linux"\nVERSION="9.4 (Plow)"\nID="rhel"\nID_LIKE="fedora"\nVERSION_ID="9.4"\n',
    "centos": 'NAME="CentOS Stream"\nVERSION="9"\nID="centos"\nID_LIKE="rhel fedora"\nVERSION_ID="9"\n',
    "rocky": 'NAME="Rocky Linux"\nVERSION="9.3 (Blue Onyx)"\nID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.3"\n',
    "arch": 'NAME="Arch Linux"\nPRETTY_NAME="Arch Linux"\nID=arch\nBUILD_ID=rolling\n',
    "alpine": 'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.20.1\n',
    "leap": 'NAME="openSUSE Leap"\nVERSION="15.6"\nID="opensuse-leap"\nID_LIKE="suse opensuse"\nVERSION_ID="15.6"\n',
    "sles": 'NAME="SLES"\nVERSION="15-SP5"\nVERSION_ID="15.5"\nID="sles"\nID_LIKE="suse"\n',
    "derived": "ID=mydistro\nID_LIKE='something rhel'\n",
    "unknown": "ID=plan9\n",
    "": "",
}
FAMILIES = {
    "debian": DEBIAN,
    "ubuntu": UBUNTU,
    "mint": UBUNTU,
    "fedora": FEDORA,
    "rhel": RHEL,
    "centos": RHEL,
    "rocky": RHEL,
    "arch": ARCH,
    "alpine": ALPINE,
    "leap": SUSE,
    "sles": SUSE,
    "derived": RHEL,
    "unknown": "",
    "": "",
}


@pytest.mark.parametrize("name", RELEASES)
def test_the_family_of_each(name: str) -> None:
    assert parse(RELEASES[name]).family == FAMILIES[name]


@pytest.mark.parametrize(
    ("name", "valgrind", "setcap"),
    [
        ("debian", "sudo apt-get install valgrind", "sudo apt-get install libcap2-bin"),
        ("ubuntu", "sudo apt-get install valgrind", "sudo apt-get install libcap2-bin"),
        ("fedora", "sudo dnf install valgrind", "sudo dnf install libcap"),
        ("rocky", "sudo dnf install valgrind", "sudo dnf install libcap"),
        ("arch", "sudo pacman -S valgrind", "sudo pacman -S libcap"),
        ("alpine", "doas apk add valgrind", "doas apk add libcap"),
        ("leap", "sudo zypper install valgrind", "sudo zypper install libcap-progs"),
        ("unknown", "install the package valgrind", "install the package libcap"),
    ],
)
def test_installing(name: str, valgrind: str, setcap: str) -> None:
    here = parse(RELEASES[name])
    assert (here.install("valgrind"), here.install("setcap")) == (valgrind, setcap)
    assert not here.install("valgrind", root=True).startswith(("sudo", "doas"))


@pytest.mark.parametrize(
    ("name", "server", "command"),
    [
        ("debian", "https://debuginfod.debian.net", "debian-debug/ bookworm-debug main"),
        ("ubuntu", "https://debuginfod.ubuntu.com", "apt-get install glibc-dbgsym"),
        ("fedora", "https://debuginfod.fedoraproject.org/", "sudo dnf debuginfo-install glibc"),
        ("centos", "https://debuginfod.centos.org/", "sudo dnf debuginfo-install glibc"),
        ("rocky", "https://debuginfod.elfutils.org/", "sudo dnf debuginfo-install glibc"),
        ("alpine", "https://debuginfod.elfutils.org/", "doas apk add glibc-dbg"),
        ("leap", "https://debuginfod.opensuse.org/", "sudo zypper --plus-content debug install glibc-debuginfo"),
        ("arch", "https://debuginfod.archlinux.org", ""),
        ("unknown", "https://debuginfod.elfutils.org/", ""),
    ],
)
def test_debug_symbols(name: str, server: str, command: str) -> None:
    first, *others = parse(RELEASES[name]).debug_symbols("glibc")
    assert first == f"export DEBUGINFOD_URLS={server}"
    assert any(command in other for other in others) if command else not others


@pytest.mark.parametrize(
    ("name", "output", "package"),
    [
        ("debian", "libc6:amd64: /lib/x86_64-linux-gnu/libc.so.6\n", "libc6"),
        ("debian", "dash, bash: /bin/sh\n", "dash"),
        ("ubuntu", "bash: /bin/bash\n", "bash"),
        ("fedora", "glibc\n", "glibc"),
        ("fedora", "file /x is not owned by any package\n", ""),
        ("leap", "libpython3_11-1_0\n", "libpython3_11-1_0"),
        ("arch", "glibc\n", "glibc"),
        ("alpine", "/lib/ld-musl-x86_64.so.1 is owned by musl-1.2.5-r0\n", "musl"),
        ("alpine", "/usr/bin/python3.12 is owned by python3-pyc-3.12.3-r1\n", "python3-pyc"),
        ("alpine", "", ""),
        ("debian", "nothing\n", ""),
    ],
)
def test_the_package_of_a_file(name: str, output: str, package: str) -> None:
    assert parse(RELEASES[name]).owner(output) == package


def test_a_package_name_cannot_become_a_command() -> None:
    for text in RELEASES.values():
        for package in ("x; rm -rf ~", "$(reboot)", "-y", "a'b"):
            assert not any(package in command for command in parse(text).debug_symbols(package))


def test_where_it_is_read(tmp_path: Path) -> None:
    assert current(tmp_path) == Distribution()
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/os-release").write_text(RELEASES["arch"])
    assert current(tmp_path).family == ARCH
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_bytes(b"ID=fedora\nNAME=\xff\n")
    assert current(tmp_path).family == FEDORA


@given(st.text())
def test_any_text_is_a_distribution(text: str) -> None:
    here = parse(text)
    assert here.label
    assert here.install("valgrind")
    here.owner(text)

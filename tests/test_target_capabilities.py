"""What the doctor makes of what was tried: states and remedies, in each place they have to be given."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from pytest_blcperf.target.capabilities import LIMITED, MISSING, OK, Capability, judge
from pytest_blcperf.target.capabilities_facts import (
    DOCKER,
    GITHUB,
    GITLAB,
    KUBERNETES,
    LXC,
    NSPAWN,
    OTHER,
    PERFMON,
    PODMAN,
    SYS_ADMIN,
    SYS_PTRACE,
    WORKED,
    WSL,
    Attempt,
    Facts,
)
from pytest_blcperf.target.capabilities_probe import ContainerEvidence, container_kind
from pytest_blcperf.target.distribution import parse

DEBIAN = parse("ID=debian\nVERSION_CODENAME=bookworm\n")
ALPINE = parse("ID=alpine\n")
REFUSED = Attempt(errno.EACCES, "Permission denied")
FORBIDDEN = Attempt(errno.EPERM, "Operation not permitted")

EVERYTHING = Facts(
    own_event=WORKED,
    child_event=WORKED,
    kernel_event=WORKED,
    tracepoint=WORKED,
    tracepoint_data=WORKED,
    cycles=WORKED,
    instructions=WORKED,
    read_child=WORKED,
    attach_child=WORKED,
    read_other=WORKED,
    new_namespace=WORKED,
    ring_kb=512,
    cpus=4,
    seccomp="0",
    paranoid="2",
    mlock_kb="516",
    tracefs="/sys/kernel/tracing",
    tracefs_readable=True,
    kernel_names=True,
    symbolizer="/usr/bin/addr2line",
    valgrind="valgrind-3.19.0",
    python="/usr/bin/python3.11",
)
PARANOID = replace(EVERYTHING, own_event=REFUSED, child_event=REFUSED, kernel_event=REFUSED, paranoid="4")
UNPRIVILEGED = replace(EVERYTHING, kernel_event=REFUSED, tracepoint_data=FORBIDDEN)
FILTERED = replace(
    EVERYTHING,
    own_event=FORBIDDEN,
    child_event=FORBIDDEN,
    kernel_event=FORBIDDEN,
    ring_kb=0,
    seccomp="2",
    container=DOCKER,
    root=True,
)


def found(facts: Facts, name: str, here: object = DEBIAN) -> Capability:
    return next(one for one in judge(facts, here) if one.name == name)  # type: ignore[arg-type]


def commands(facts: Facts, name: str, here: object = DEBIAN) -> dict[str, str]:
    return {remedy.where: remedy.command for remedy in found(facts, name, here).remedies}


def test_where_everything_works_nothing_is_mended() -> None:
    assert {one.state for one in judge(EVERYTHING, DEBIAN)} == {OK}
    assert not any(one.remedies for one in judge(EVERYTHING, DEBIAN))


def test_every_capability_says_what_it_is_for_and_one_that_is_missing_what_mends_it() -> None:
    nothing = Facts()
    for facts in (EVERYTHING, PARANOID, UNPRIVILEGED, FILTERED, nothing):
        names = [one.name for one in judge(facts, DEBIAN)]
        assert len(names) == len(set(names)) == 16
        for one in judge(facts, DEBIAN):
            assert one.detail
            assert one.needed_for
    for facts in (PARANOID, UNPRIVILEGED, FILTERED):
        assert all(
            one.remedies
            for one in judge(facts, DEBIAN)
            if one.state != OK and one.name not in ("seccomp", "ring memory")
        )


def test_a_paranoid_kernel_is_mended_by_sysctl_or_setcap() -> None:
    events = found(PARANOID, "perf events")
    assert events.state == MISSING
    assert "EACCES (Permission denied)" in events.detail
    assert [remedy.command for remedy in events.remedies] == [
        "sudo sysctl -w kernel.perf_event_paranoid=2",
        "sudo setcap cap_perfmon=ep /usr/bin/python3.11",
    ]
    without = replace(PARANOID, setcap=False)
    assert found(without, "perf events").remedies[1].command == (
        "sudo apt-get install libcap2-bin && sudo setcap cap_perfmon=ep /usr/bin/python3.11"
    )
    assert found(PARANOID, "perf events", ALPINE).remedies[0].command.startswith("doas sysctl")


def test_kernel_samples_need_less_paranoia_than_user_ones() -> None:
    kernel = found(UNPRIVILEGED, "kernel samples")
    assert kernel.state == LIMITED
    assert kernel.remedies[0].command == "sudo sysctl -w kernel.perf_event_paranoid=1"
    assert found(UNPRIVILEGED, "tracepoints").remedies[0].command == "sudo sysctl -w kernel.perf_event_paranoid=-1"
    assert found(UNPRIVILEGED, "perf events").state == OK


@pytest.mark.parametrize(
    ("container", "runner", "where", "command"),
    [
        (DOCKER, "", "docker", "docker run --cap-add=PERFMON …"),
        (OTHER, "", "docker", "docker run --cap-add=PERFMON …"),
        (PODMAN, "", "podman", "podman run --cap-add=PERFMON … (rootless: --security-opt seccomp=unconfined)"),
        (KUBERNETES, "", "kubernetes", 'securityContext: { capabilities: { add: ["PERFMON"] } }'),
        (LXC, "", "lxc", "lxc config set NAME security.privileged true"),
        (DOCKER, GITLAB, "gitlab-runner", 'config.toml: [runners.docker] cap_add = ["PERFMON"]'),
        (
            KUBERNETES,
            GITLAB,
            "gitlab-runner",
            'config.toml: [runners.kubernetes.build_container_security_context.capabilities] add = ["PERFMON"]',
        ),
        (DOCKER, GITHUB, "github", 'job: container: { options: "--cap-add=PERFMON" }'),
    ],
)
def test_a_container_is_mended_where_it_is_started(container: str, runner: str, where: str, command: str) -> None:
    assert commands(replace(FILTERED, container=container, runner=runner), "perf events") == {where: command}


def test_only_root_in_a_container_can_use_what_is_given_to_it() -> None:
    user = replace(FILTERED, root=False)
    assert commands(user, "perf events") == {"docker": "docker run --user=0 --cap-add=PERFMON …"}
    assert "runAsUser: 0" in commands(replace(user, container=KUBERNETES), "perf events")["kubernetes"]
    assert 'user = "root"' in commands(replace(user, runner=GITLAB), "perf events")["gitlab-runner"]


def test_an_nspawn_container_needs_the_system_call_too() -> None:
    told = commands(replace(FILTERED, container=NSPAWN), "perf events")["systemd-nspawn"]
    assert "--capability=CAP_PERFMON" in told
    assert "--system-call-filter=perf_event_open" in told


def test_kernel_settings_of_a_container_are_the_hosts() -> None:
    told = commands(replace(FILTERED, paranoid="4"), "perf events")
    assert told["host"] == "sudo sysctl -w kernel.perf_event_paranoid=2"
    # WSL has a kernel of its own.
    assert "here" in commands(replace(PARANOID, container=WSL), "perf events")


def test_a_filter_outside_of_containers_is_mended_where_it_was_set() -> None:
    facts = replace(FILTERED, container="", root=False, paranoid="2")
    assert any("seccomp filter" in remedy.command for remedy in found(facts, "perf events").remedies)
    seccomp = found(facts, "seccomp")
    assert (seccomp.state, "perf_event_open" in seccomp.detail) == (LIMITED, True)
    assert found(replace(EVERYTHING, seccomp="2"), "seccomp").state == OK


def test_capabilities_inside_a_user_namespace_do_not_count() -> None:
    inside = replace(PARANOID, capabilities=(1 << 41) - 1, in_user_namespace=True, root=True)
    assert not inside.has(PERFMON)
    assert found(inside, "rights").state == LIMITED
    assert found(inside, "user namespaces").state == LIMITED
    told = [remedy.command for remedy in found(inside, "perf events").remedies]
    assert any("user namespace" in command for command in told)
    assert not any("setcap" in command for command in told)
    outside = replace(inside, in_user_namespace=False)
    assert (outside.has(PERFMON), outside.has(SYS_ADMIN), found(outside, "rights").state) == (True, True, OK)


@pytest.mark.parametrize(
    ("scope", "capabilities", "state"),
    [
        ("", 0, OK),
        ("0", 0, OK),
        ("1", 0, LIMITED),
        ("2", 0, LIMITED),
        ("1", 1 << SYS_PTRACE, OK),
        ("3", 1 << SYS_PTRACE, LIMITED),
    ],
)
def test_yama(scope: str, capabilities: int, state: str) -> None:
    facts = replace(EVERYTHING, yama=scope, capabilities=capabilities)
    assert found(facts, "Yama").state == state
    told = [remedy.command for remedy in found(facts, "Yama").remedies]
    assert ("sudo sysctl -w kernel.yama.ptrace_scope=0" in told) == (state == LIMITED and scope != "3")


def test_reading_children_only_is_limited() -> None:
    facts = replace(EVERYTHING, read_other=FORBIDDEN, yama="1")
    memory = found(facts, "memory of other processes")
    assert (memory.state, "EPERM" in memory.detail) == (LIMITED, True)
    assert memory.remedies[0].command == "sudo sysctl -w kernel.yama.ptrace_scope=0"


def test_tracefs_not_mounted_or_not_readable() -> None:
    not_mounted = replace(EVERYTHING, tracepoint=Attempt(text="x"), tracefs="", tracefs_readable=False)
    assert commands(not_mounted, "tracepoints") == {"here": "sudo mount -t tracefs tracefs /sys/kernel/tracing"}
    unreadable = replace(EVERYTHING, tracepoint=REFUSED, tracefs_readable=False)
    assert commands(unreadable, "tracepoints") == {"here": "sudo mount -o remount,mode=755 /sys/kernel/tracing"}
    assert list(commands(replace(not_mounted, container=DOCKER), "tracepoints")) == ["host"]


def test_counters_that_do_not_exist_are_told_from_those_that_are_refused() -> None:
    none = replace(EVERYTHING, cycles=Attempt(errno.ENOENT, "No such file or directory"))
    assert "usual on virtual machines" in found(none, "hardware counters").detail
    assert "usual" not in found(replace(PARANOID, cycles=REFUSED), "hardware counters").detail


def test_small_rings_are_limited() -> None:
    facts = replace(EVERYTHING, ring_kb=64, container=DOCKER)
    rings = found(facts, "ring memory")
    assert rings.state == LIMITED
    assert "64 KiB on each of 4 CPUs" in rings.detail
    assert commands(facts, "ring memory") == {
        "host": "sudo sysctl -w kernel.perf_event_mlock_kb=2048",
        "docker": "--ulimit memlock=-1",
    }


def test_tools_that_are_missing_are_installed() -> None:
    facts = replace(EVERYTHING, valgrind="", symbolizer="")
    assert commands(facts, "valgrind") == {"here": "sudo apt-get install valgrind"}
    assert commands(facts, "symbolizer", ALPINE) == {"here": "doas apk add binutils"}


@pytest.mark.parametrize(
    ("evidence", "environ", "kind"),
    [
        ({}, {}, ""),
        ({"dockerenv": True}, {}, DOCKER),
        ({"cgroup": "0::/docker/0123"}, {}, DOCKER),
        ({"containerenv": True, "dockerenv": True}, {}, PODMAN),
        ({}, {"container": "podman"}, PODMAN),
        ({"dockerenv": True}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, KUBERNETES),
        ({"cgroup": "11:cpu:/kubepods/besteffort/pod1"}, {}, KUBERNETES),
        ({"systemd": "systemd-nspawn"}, {}, NSPAWN),
        ({}, {"container": "lxc"}, LXC),
        ({"version": "Linux version 5.15.90.1-microsoft-standard-WSL2"}, {}, WSL),
        ({"systemd": "bubblebox"}, {}, OTHER),
    ],
)
def test_kinds_of_containers(evidence: dict[str, object], environ: dict[str, str], kind: str) -> None:
    assert container_kind(ContainerEvidence(**evidence), environ) == kind  # type: ignore[arg-type]

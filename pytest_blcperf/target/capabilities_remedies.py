"""The command that mends a missing right, in the place where it has to be given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_blcperf.target.capabilities_facts import (
    DOCKER,
    GITHUB,
    KUBERNETES,
    LXC,
    NSPAWN,
    OTHER,
    PERFMON,
    PODMAN,
    Facts,
)
from pytest_blcperf.target.distribution import Distribution

HERE, HOST = "here", "host"


@dataclass(frozen=True)
class Remedy:
    """A command, or a setting, that mends something, and where it goes: HERE, HOST, or what starts the container."""

    where: str
    command: str


def sysctl(facts: Facts, here: Distribution, setting: str) -> Remedy:
    """A kernel setting; containers share their host's kernel."""
    if facts.contained:
        return Remedy(HOST, f"sudo sysctl -w {setting}")
    return Remedy(HERE, here.as_root(f"sysctl -w {setting}", facts.root))


def perf_remedies(facts: Facts, here: Distribution, level: int) -> tuple[Remedy, ...]:
    """What opens perf_event_open for what needs kernel.perf_event_paranoid of at most `level`."""
    return tuple(_perf_remedies(facts, here, level))


def _perf_remedies(facts: Facts, here: Distribution, level: int) -> Iterator[Remedy]:
    if facts.in_user_namespace:
        yield Remedy(HERE, "run it outside of the user namespace: capabilities inside one do not count for perf")
    elif facts.contained:
        yield from container_remedies(facts, "PERFMON")
    if facts.paranoid.lstrip("-").isdigit() and int(facts.paranoid) > level:
        yield sysctl(facts, here, f"kernel.perf_event_paranoid={level}")
    if not (facts.in_user_namespace or facts.contained or facts.root or facts.has(PERFMON)):
        yield Remedy(HERE, _setcap(facts, here, "cap_perfmon"))
    if facts.seccomp == "2" and not facts.contained:
        yield Remedy(HERE, "allow perf_event_open in the seccomp filter (systemd: SystemCallFilter=perf_event_open)")


def container_remedies(facts: Facts, capability: str) -> Iterator[Remedy]:
    """How this kind of container, or what starts it, gives a capability. With it Docker's and Podman's seccomp profiles
    allow the system calls that belong to it. Only root inside gets to use it.
    """
    user = "" if facts.root else "--user=0 "
    if facts.runner:
        yield _runner_remedy(facts, capability, user)
    elif facts.container == KUBERNETES:
        user = "" if facts.root else "runAsUser: 0, "
        yield Remedy("kubernetes", f'securityContext: {{ {user}capabilities: {{ add: ["{capability}"] }} }}')
    elif facts.container == PODMAN:
        command = f"podman run {user}--cap-add={capability} … (rootless: --security-opt seccomp=unconfined)"
        yield Remedy("podman", command)
    elif facts.container == LXC:
        yield Remedy("lxc", "lxc config set NAME security.privileged true")
    elif facts.container == NSPAWN:
        command = f"systemd-nspawn --capability=CAP_{capability} --system-call-filter=perf_event_open …"
        yield Remedy("systemd-nspawn", command)
    elif facts.container in (DOCKER, OTHER):
        yield Remedy("docker", f"docker run {user}--cap-add={capability} …")


def _runner_remedy(facts: Facts, capability: str, user: str) -> Remedy:
    if facts.runner == GITHUB:
        return Remedy("github", f'job: container: {{ options: "{user}--cap-add={capability}" }}')
    if facts.container == KUBERNETES:
        table = "[runners.kubernetes.build_container_security_context.capabilities]"
        return Remedy("gitlab-runner", f'config.toml: {table} add = ["{capability}"]')
    root = "" if facts.root else 'user = "root", '
    return Remedy("gitlab-runner", f'config.toml: [runners.docker] {root}cap_add = ["{capability}"]')


def _setcap(facts: Facts, here: Distribution, *names: str) -> str:
    command = here.as_root(f"setcap {','.join(names)}=ep {facts.python}", facts.root)
    return command if facts.setcap else f"{here.install('setcap', facts.root)} && {command}"


def ptrace_remedies(facts: Facts, here: Distribution) -> tuple[Remedy, ...]:
    """What lets this process read others."""
    remedies = list(container_remedies(facts, "SYS_PTRACE")) if facts.contained else []
    if facts.yama not in ("", "0"):
        remedies.append(sysctl(facts, here, "kernel.yama.ptrace_scope=0"))
    if not facts.contained and not facts.root and not facts.in_user_namespace:
        remedies.append(Remedy(HERE, _setcap(facts, here, "cap_sys_ptrace")))
    return tuple(remedies)

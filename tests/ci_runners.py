"""Runs the CI templates for real: GitHub's with act on this machine, GitLab's with gitlab-ci-local."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from gate_runs import environment
from gitrepo import GitRepo

STAND_INS = Path(__file__).parent / "ci_stand_ins"
TOOLS = Path(__file__).parents[1] / ".tools" / "gitlab"
BIN = Path(sys.executable).parent
TIMEOUT = 300


@dataclass(frozen=True)
class JobRun:
    """A finished job: exit code, log, job summary, and the folder with its artifacts."""

    code: int
    log: str
    summary: str
    artifacts: Path


def act(
    repo: GitRepo, event: str, data: Mapping[str, object], workflow: str, artifacts: Path, **variables: str
) -> JobRun:
    """Runs one workflow file of the repository for an event, on the host. Skips where act is not installed.

    BLCPERF_PACKAGE among the variables becomes the repository's variable of that name.
    """
    program = BIN / "act"
    if not program.exists():
        pytest.skip("act is not installed: pip install --group ci")
    home = artifacts.parent / "home"
    home.mkdir(parents=True, exist_ok=True)
    event_file = artifacts.parent / f"{event}.json"
    event_file.write_text(json.dumps(data))
    command = [str(program), event, "--eventpath", str(event_file), "--workflows", workflow, "--pull=false"]
    command += ["--platform", "ubuntu-24.04=-self-hosted", "--no-cache-server", "--env-file", os.devnull]
    command += [f"--local-repository={name}={folder}" for name, folder in _stand_ins(repo).items()]
    if package := variables.pop("BLCPERF_PACKAGE", ""):
        command.append(f"--var=BLCPERF_PACKAGE={package}")
    given = {"BLCPERF_TEST_BIN": str(BIN), "BLCPERF_TEST_ARTIFACTS": str(artifacts), **variables}
    command += [f"--env={name}={value}" for name, value in given.items()]
    # act prints a job's summary when a step has ended; HOME holds its cache and the runner's work folders.
    done = _run(command, repo.path, HOME=str(home), XDG_CACHE_HOME=str(home / ".cache"), ACT_DISABLE_VERSION_CHECK="1")
    log = re.sub(r"(?m)^\[[^\]]*\] +", "", done.stdout + done.stderr)
    summaries = re.findall(r"(?ms)^⚙  Summary - (.*?)(?=^(?:⭐|✅|❌|⚙|🏁))", log)
    return JobRun(done.returncode, log, "".join(summaries), artifacts)


def _stand_ins(repo: GitRepo) -> dict[str, Path]:
    """The pinned actions of the repository's workflows → the folders that stand in for them."""
    found = {}
    for path in (repo.path / ".github").rglob("*.yml"):
        for name, pin in re.findall(r"uses: (actions/[a-z-]+)@([0-9a-f]{40})", path.read_text()):
            if (STAND_INS / name.partition("/")[2]).is_dir():
                found[f"{name}@{pin}"] = STAND_INS / name.partition("/")[2]
    return found


def gitlab(repo: GitRepo, job: str, **variables: str) -> JobRun:
    """Runs one job of .gitlab-ci.yml in the shell of this machine. Skips where gitlab-ci-local is not installed."""
    program = TOOLS / "node_modules" / ".bin" / "gitlab-ci-local"
    for needed, hint in ((program, "sh scripts/ci-tools.sh"), ("node", "install Node.js"), ("rsync", "install rsync")):
        if shutil.which(str(needed)) is None:
            pytest.skip(f"{Path(needed).name} is not installed: {hint}")
    command = [str(program), "--force-shell-executor", "--no-color", "--shell-isolation"]
    command += [part for name, value in variables.items() for part in ("--variable", f"{name}={value}")]
    # It starts bash with a socket as standard input; a bash of the first level takes that for a remote login and reads
    # the user's .bashrc, which may put another Python first.
    done = _run([*command, job], repo.path, PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}", SHLVL="2")
    return JobRun(done.returncode, done.stdout + done.stderr, "", repo.path / ".gitlab-ci-local" / "artifacts" / job)


def _run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in environment(**variables).items() if not name.startswith(("GITHUB_", "CI_"))}
    return subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, timeout=TIMEOUT, check=False)

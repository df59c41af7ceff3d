"""Real throw-away git repositories for tests; the user's own git configuration is never read."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "A Tester",
    "GIT_AUTHOR_EMAIL": "tester@example.invalid",
    "GIT_COMMITTER_NAME": "A Tester",
    "GIT_COMMITTER_EMAIL": "tester@example.invalid",
    "LC_ALL": "C",
}


class GitRepo:
    """A repository at `path`, created with the branch `main` unless it is already there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not (path / ".git").exists():
            path.mkdir(parents=True, exist_ok=True)
            self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        """What a git command prints, without the last newline. Raises CalledProcessError."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        done = subprocess.run(
            ["git", "-c", "protocol.file.allow=always", *arguments],
            cwd=self.path,
            env=inherited | _ENVIRONMENT,
            check=True,
            capture_output=True,
        )
        return os.fsdecode(done.stdout).removesuffix("\n")

    def write(self, files: Mapping[str, str | bytes]) -> GitRepo:
        """Writes files, given by path relative to the repository."""
        for name, content in files.items():
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content if isinstance(content, bytes) else content.encode())
        return self

    def commit(self, message: str = "change") -> GitRepo:
        """Commits everything that is on disk and not ignored; an empty commit is one too."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self

    def branch(self, name: str) -> GitRepo:
        """Creates a branch here and switches to it."""
        self.git("checkout", "--quiet", "-b", name)
        return self

    def checkout(self, revision: str) -> GitRepo:
        """Switches to a branch, or detaches HEAD at a revision."""
        self.git("checkout", "--quiet", revision)
        return self

    @property
    def head(self) -> str:
        """The full hash of HEAD."""
        return self.git("rev-parse", "HEAD")

"""A git branch of its own, `NAME/COMMIT-MACHINE.blcperf` in its tree. It always has one single commit: runs that are
removed are gone, and the clone of a project does not grow with every baseline.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pytest_blcperf.bench.repository import Answer, Repository, run_git, split_names
from pytest_blcperf.errors import BaselineError, UsageError
from pytest_blcperf.shelves.kept import Kept, file_name, folder_name, parse_file_name

_TRIES = 4
_IDENTITY = ("-c", "user.name=blcperf", "-c", "user.email=blcperf@localhost", "-c", "commit.gpgSign=false")
_QUIET = ("-c", "core.hooksPath=/dev/null", "-c", "core.autocrlf=false")


class Branch:
    """The runs called `name` in a branch of a remote."""

    def __init__(self, repository: Repository, branch: str, name: str, remote: str = "origin") -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}", branch):
            raise UsageError(f"not a branch: {branch[:80]!r}", "for example git:blcperf-baselines")
        self._root, self._branch, self._remote = repository.root, branch, remote
        self._ref, self._name = f"refs/blcperf/{branch}", name

    def kept(self, commits: Sequence[str]) -> list[Kept]:
        """The runs of those commits; fetches the branch first."""
        wanted = set(commits)
        return [one for one in self._all(self._fetch()) if one.commit in wanted]

    def read(self, kept: Kept) -> bytes:
        """The run file, from the tree that was fetched."""
        return self._git("cat-file", "blob", f"{self._ref}:{kept.place}").output

    def keep(self, kept: Kept, data: bytes, most: int) -> None:
        """Pushes a new single commit in place of the old one; tries again when somebody else was quicker."""
        complaint = ""
        for _ in range(_TRIES):
            old = self._fetch()
            new = self._commit(old, kept, data, most)
            lease = f"--force-with-lease=refs/heads/{self._branch}:{old}"
            pushed = run_git(self._root, *_QUIET, "push", lease, self._remote, f"{new}:refs/heads/{self._branch}")
            if not pushed.code:
                return
            complaint = pushed.complaint
        raise BaselineError(
            f"{self._branch} could not be pushed: {complaint}", "the job needs the right to push (contents: write)"
        )

    def _fetch(self) -> str:
        """Fetches the branch; returns its commit, "" when the remote has no such branch."""
        listed = self._git("ls-remote", "--", self._remote, f"refs/heads/{self._branch}").line
        if not listed:
            run_git(self._root, "update-ref", "-d", self._ref)
            return ""
        # A branch with one commit: its whole history is fetched, and `--depth` would make the clone a shallow one.
        self._git("fetch", "--no-tags", "--quiet", self._remote, f"+refs/heads/{self._branch}:{self._ref}")
        return self._git("rev-parse", "--verify", self._ref).line

    def _all(self, commit: str) -> list[Kept]:
        """The runs in a tree, in its order; none in that of no commit."""
        if not commit:
            return []
        folder = folder_name(self._name) + "/"
        listed = split_names(self._git("ls-tree", "-r", "-z", "--name-only", commit).output)
        found = [parse_file_name(path.removeprefix(folder), path) for path in listed if path.startswith(folder)]
        return [one for one in found if one is not None]

    def _commit(self, old: str, kept: Kept, data: bytes, most: int) -> str:
        """A commit without parents whose tree is the old one with the run added and the oldest removed."""
        with self._index() as folder:
            run_in(folder, "read-tree", old or "--empty")
            path = f"{folder_name(self._name)}/{file_name(kept.commit, kept.machine)}"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
            run_in(folder, *_QUIET, "add", "--force", "--", path)
            others = sorted((one for one in self._all(old) if one.place != path), key=self._age)
            for gone in others[: max(len(others) + 1 - most, 0)]:
                run_in(folder, "rm", "--cached", "--quiet", "--", gone.place)
            tree = run_in(folder, "write-tree").line
            return run_in(folder, *_IDENTITY, "commit-tree", tree, "-m", f"Keep {self._name} of {kept.commit[:9]}").line

    def _age(self, kept: Kept) -> int:
        """How many commits of the branch led to it, 0 for one that is not in this clone: the oldest go first."""
        said = run_git(self._root, "rev-list", "--count", "--first-parent", kept.commit, "--").line
        return int(said) if said.isdigit() else 0

    @contextmanager
    def _index(self) -> Iterator[Path]:
        """A work tree with an index of its own and nothing in it."""
        with tempfile.TemporaryDirectory(prefix="blcperf-branch-") as scratch:
            folder = Path(scratch) / "tree"
            self._git(*_QUIET, "worktree", "add", "--detach", "--no-checkout", "--", str(folder), "HEAD")
            try:
                yield folder
            finally:
                self._git("worktree", "remove", "--force", "--force", "--", str(folder))

    def _git(self, *arguments: str) -> Answer:
        return run_in(self._root, *arguments)


def run_in(folder: Path, *arguments: str) -> Answer:
    """What git says. Raises BaselineError with its complaint."""
    answer = run_git(folder, *arguments)
    if answer.code:
        verb = next(word for word in arguments if not word.startswith("-") and "=" not in word)
        raise BaselineError(f"git {verb}: {answer.complaint}", "check the remote and the job's rights: git remote -v")
    return answer

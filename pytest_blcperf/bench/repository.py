"""The user's git repository: which commit is the base, and what differs between it and what is on disk."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_blcperf.errors import BaselineError, UsageError

_OUTPUT_LIMIT = 256 << 20
_MESSAGE_LIMIT = 4096

# Set while git runs a hook (`git rev-parse --local-env-vars`); they would send our commands to the wrong index.
_LOCAL_VARIABLES = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_PREFIX",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_GRAFT_FILE",
    "GIT_SHALLOW_FILE",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
)

ADDED = "added"
MODIFIED = "modified"
DELETED = "deleted"


@dataclass(frozen=True)
class Answer:
    """What a git command said: exit code, standard output, the first 4 KiB of standard error."""

    code: int
    output: bytes
    message: str

    @property
    def line(self) -> str:
        """Standard output as one line."""
        return os.fsdecode(self.output).removesuffix("\n")

    @property
    def complaint(self) -> str:
        """The line of standard error that says what went wrong."""
        lines = [line for line in self.message.splitlines() if line.strip()]
        fatal = [line for line in lines if line.startswith(("fatal: ", "error: "))]
        return (fatal or lines or [f"exit code {self.code}"])[-1]


def run_git(folder: Path, *arguments: str) -> Answer:
    """Runs git in `folder`, without a shell, prompts, pathspec magic, or locks that only save time.

    Raises UsageError when there is no git, or when it prints more than 256 MiB.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in _LOCAL_VARIABLES}
    quiet = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_LITERAL_PATHSPECS": "1"}
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                ["git", "-C", str(folder), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=inherited | quiet,
            )
        except OSError as error:
            raise UsageError(
                f"git cannot be run: {error.strerror}", "install git, or compare with a stored baseline"
            ) from None
        with process:
            assert process.stdout is not None
            output = process.stdout.read(_OUTPUT_LIMIT + 1)
            if len(output) > _OUTPUT_LIMIT:
                process.kill()
                raise UsageError(
                    f"git {arguments[0]} printed more than {_OUTPUT_LIMIT >> 20} MiB", "compare with a stored baseline"
                )
        errors.seek(0)
        message = errors.read(_MESSAGE_LIMIT).decode(errors="replace")
    return Answer(process.returncode, output, message)


def split_names(output: bytes) -> tuple[str, ...]:
    """The fields of git's `-z` output."""
    return tuple(os.fsdecode(name) for name in output.split(b"\0") if name)


@dataclass(frozen=True)
class Difference:
    """A path that differs between a commit (old) and what is on disk (new): ADDED, MODIFIED or DELETED.

    `path` is relative to the repository, with slashes. It names a directory where a submodule or a repository inside
    the repository differs. A renamed file is deleted and added; a changed mode or link target is modified.
    """

    path: str
    kind: str


@dataclass(frozen=True)
class Base:
    """The commit to compare with: full hash, how reports call it, and whether it is exactly what is on disk."""

    commit: str
    label: str
    same_as_head: bool = False


@dataclass(frozen=True)
class Repository:
    """A git work tree; `root` is its top directory, with symbolic links resolved."""

    root: Path

    def head_commit(self) -> str:
        """The full hash of HEAD, "" before the first commit."""
        return self._commit("HEAD")

    def dirty(self) -> bool:
        """Whether what is on disk differs from HEAD, untracked files included, ignored files not."""
        return bool(self._read("status", "--porcelain", "-z", "--untracked-files=normal", "--ignore-submodules=none"))

    def resolve_base(self, name: str) -> Base:
        """The merge base of HEAD and a revision; `name` may be a branch that only a remote has.

        Raises UsageError for a name git would take for an option, BaselineError when there is no such commit here.
        """
        if not name or name.startswith("-") or any(ord(letter) < 32 for letter in name):
            raise UsageError(f"{name[:80]!r} is not a git revision", "give a branch, a tag or a commit, such as main")
        head = self.head_commit()
        if not head:
            raise BaselineError(
                "the repository has no commit to compare with", "commit something: git add . && git commit"
            )
        commit = self._find_revision(name)
        found = run_git(self.root, "merge-base", head, commit)
        if found.code:
            raise self._no_merge_base(name)
        base = found.line
        kind = "" if base == commit else "merge base "
        return Base(base, f"{name} ({kind}{base[:9]})", same_as_head=base == head and not self.dirty())

    def commits(self, name: str) -> tuple[str, ...]:
        """The commits that a revision goes back to, the newest first, at most 10,000.

        `name` may be a branch that only a remote has. Raises UsageError, BaselineError when there is none.
        """
        if not name or name.startswith("-") or any(ord(letter) < 32 for letter in name):
            raise UsageError(f"{name[:80]!r} is not a git revision", "give a branch, a tag or a commit, such as main")
        listed = self._read("rev-list", "--topo-order", "--max-count=10000", self._find_revision(name))
        return tuple(listed.decode("ascii", "replace").split())

    def differences(self, commit: str) -> tuple[Difference, ...]:
        """Every path that differs between the commit and what is on disk, ignored files excepted, sorted by path.

        Raises BaselineError when the commit cannot be read.
        """
        kinds = dict(self._tracked_differences(commit))
        for name in split_names(self._read("ls-files", "-z", "--others", "--exclude-standard")):
            path = name.rstrip("/")
            kinds[path] = MODIFIED if path in kinds else ADDED
        for path in self._hidden_from_git():
            kinds.setdefault(path, MODIFIED)
        return tuple(Difference(path, kinds[path]) for path in sorted(kinds))

    def _tracked_differences(self, commit: str) -> list[tuple[str, str]]:
        options = ("-z", "--name-status", "--no-renames", "--no-ext-diff", "--ignore-submodules=none")
        fields = split_names(self._read("-c", "diff.autoRefreshIndex=true", "diff", *options, full_hash(commit), "--"))
        letters = {"A": ADDED, "D": DELETED}
        pairs = [(path, letters.get(letter, MODIFIED)) for letter, path in zip(fields[::2], fields[1::2], strict=True)]
        # `git rm --cached` leaves the file where imports find it.
        return [(path, MODIFIED if kind == DELETED and self._on_disk(path) else kind) for path, kind in pairs]

    def _hidden_from_git(self) -> list[str]:
        """Files marked assume-unchanged or skip-worktree: git does not look whether they changed, so nobody knows."""
        flagged = [
            name for name in split_names(self._read("ls-files", "-z", "-v")) if name[0] == "S" or name[0].islower()
        ]
        return [name[2:] for name in flagged if self._on_disk(name[2:])]

    def _on_disk(self, path: str) -> bool:
        try:
            return not stat.S_ISDIR((self.root / path).lstat().st_mode)
        except OSError:
            return False

    def _commit(self, name: str) -> str:
        return run_git(self.root, "rev-parse", "--verify", "--quiet", name + "^{commit}").line

    def _find_revision(self, name: str) -> str:
        remotes = run_git(self.root, "remote").line.split()
        remote = "origin" if "origin" in remotes or len(remotes) != 1 else remotes[0]
        for candidate in (name, f"{remote}/{name}"):
            if commit := self._commit(candidate):
                return commit
        if not remotes:
            raise BaselineError(
                f"git knows no revision {name[:80]!r}", "list what it knows: git branch --all && git tag"
            )
        fetched = shlex.quote(name.removeprefix(remote + "/"))
        if self._shallow():
            hint = (
                f"git fetch --unshallow {remote} && git fetch {remote} {fetched}:refs/remotes/{remote}/{fetched}"
                "; with actions/checkout: fetch-depth: 0"
            )
            raise BaselineError(f"this shallow clone has no revision {name[:80]!r}", hint)
        raise BaselineError(
            f"git knows no revision {name[:80]!r}", f"git fetch {remote} {fetched}:refs/remotes/{remote}/{fetched}"
        )

    def _no_merge_base(self, name: str) -> BaselineError:
        if self._shallow():
            return BaselineError(
                f"this shallow clone does not reach back to where HEAD and {name[:80]!r} part",
                "git fetch --unshallow; with actions/checkout: fetch-depth: 0",
            )
        return BaselineError(
            f"HEAD and {name[:80]!r} have no common ancestor", "name a commit of this history, for example HEAD~1"
        )

    def _shallow(self) -> bool:
        return run_git(self.root, "rev-parse", "--is-shallow-repository").line == "true"

    def _read(self, *arguments: str) -> bytes:
        answer = run_git(self.root, *arguments)
        if answer.code:
            raise BaselineError(f"git could not read the repository: {answer.complaint}", "git fsck; git status")
        return answer.output


def full_hash(commit: str) -> str:
    """The argument, when it is a full commit hash (SHA-1 or SHA-256). Raises UsageError."""
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", commit):
        raise UsageError(f"{commit[:80]!r} is not a full commit hash", "resolve it first: git rev-parse NAME")
    return commit


def find(start: Path) -> Repository:
    """The repository that `start` lies in. Raises UsageError."""
    answer = run_git(start, "rev-parse", "--show-toplevel")
    if not answer.code and answer.line:
        return Repository(Path(answer.line))
    complaint = answer.message
    if "dubious ownership" in complaint:
        raise UsageError(
            f"git refuses {start}: it belongs to another user",
            f"git config --global --add safe.directory {shlex.quote(str(start.resolve()))}",
        )
    if "must be run in a work tree" in complaint:
        raise UsageError(
            f"{start} is a git repository without a work tree", "check it out: git worktree add ../checkout"
        )
    raise UsageError(
        f"not a git repository: {start} ({answer.complaint})",
        "git init && git add . && git commit, or compare with a stored baseline",
    )


def tree_reader(root: Path, limit: int = 64 << 20) -> Callable[[str], bytes | None]:
    """A function that reads a regular file below `root`, None where there is none; OSError past `limit` bytes."""

    def read(path: str) -> bytes | None:
        target = root / path
        if not target.is_file():
            return None
        with target.open("rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise OSError(f"{path} is larger than {limit >> 20} MiB")
        return content

    return read


def listed_files(root: Path) -> Sequence[str]:
    """The files of a work tree that are on disk: tracked and untracked, not ignored, those of submodules included."""
    answer = run_git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if answer.code:
        raise BaselineError(f"git could not list {root}: {answer.complaint}", "git status")
    files: set[str] = set()
    for path in split_names(answer.output):
        target = root / path
        if target.is_symlink() or target.is_file():
            files.add(path)
        elif (target / ".git").exists():
            files.update(f"{path.rstrip('/')}/{name}" for name in listed_files(target))
    return sorted(files)

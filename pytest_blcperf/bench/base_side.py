"""The base as a side: a commit checked out, the head's benchmarks laid over it, and what follows from that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from pytest_blcperf.bench.checkout import base_checkout
from pytest_blcperf.bench.discover import SideFindings
from pytest_blcperf.bench.identical import Proof, imports_nothing, prove_identical
from pytest_blcperf.bench.overlay import apply_overlay, generated_modules, plan_overlay, restore
from pytest_blcperf.bench.removed import removed_benchmarks
from pytest_blcperf.bench.repository import Difference, Repository, tree_reader
from pytest_blcperf.bench.source_roots import source_roots
from pytest_blcperf.bench.suite import Item, Suite
from pytest_blcperf.bench.worker_process import Side
from pytest_blcperf.errors import TargetError
from pytest_blcperf.model.warning import Warning
from pytest_blcperf.settings import Settings

Rediscover = Callable[[Side, Sequence[Item]], SideFindings]


@dataclass
class BaseTree:
    """The base's checkout with the overlay in place."""

    side: Side
    commit: str
    differences: tuple[Difference, ...]
    removed: tuple[str, ...]
    """Ids of benchmarks that only the base has."""
    _suite: Suite
    _overlaid: set[str] = field(default_factory=set)

    def use_own_files(self, found: SideFindings, rediscover: Rediscover) -> list[Warning]:
        """Where the base cannot import the head's benchmark files, let it run its own versions of them.

        A pull request that adds a function together with its benchmark looks like that, and all its other benchmarks
        are to be compared. Mends `found` with what `rediscover` gives.
        """
        warnings = self._own_conftests(found, rediscover)
        restored = {}
        for file, why in found.unimportable.items():
            self._overlaid.discard(file)
            if restore(self.side.root, self.commit, file):
                restored[file] = why
                warnings.append(Warning("own-benchmark-file", f"{why}; the base runs its own version of the file"))
        self._forget_missing_files()
        self._again(found, [item for item in self._suite.items if item.file in restored], rediscover)
        return warnings

    def _own_conftests(self, found: SideFindings, rediscover: Rediscover) -> list[Warning]:
        """A conftest that the base cannot import stops its pytest before anything is collected."""
        lost = [item for item in self._suite.items if item.id in found.failures]
        conftests = sorted(path for path in self._overlaid if PurePosixPath(path).name == "conftest.py")
        if len(lost) < len(self._suite.items) or not conftests or found.codes:
            return []
        why = found.failures[lost[0].id].text.splitlines()[0]
        for path in conftests:
            restore(self.side.root, self.commit, path)
            self._overlaid.discard(path)
        self._forget_missing_files()
        self._again(found, lost, rediscover)
        return [Warning("own-conftest", f"{why}; the base runs its own conftest files")]

    def _again(self, found: SideFindings, items: Sequence[Item], rediscover: Rediscover) -> None:
        items = [item for item in items if (self.side.root / item.file).exists()]
        if not items:
            return
        again = rediscover(self.side, items)
        for item in items:
            found.failures.pop(item.id, None)
            found.unimportable.pop(item.file, None)
        found.failures.update(again.failures)
        found.unimportable.update(again.unimportable)
        found.codes.update(again.codes)
        found.loaded.update(again.loaded)

    def _forget_missing_files(self) -> None:
        """Name only files that exist: pytest refuses to start with one that does not."""
        self.side = replace(self.side, files=tuple(file for file in self.side.files if Path(file).exists()))

    def importing_nothing(self, items: Sequence[Item], base: SideFindings, head: SideFindings) -> dict[str, str]:
        """Benchmark id → why it cannot be compared, where it imports no code of the repository though that differs."""
        why = (
            "neither side imports the repository's code, which differs: is a copy of it installed? "
            "--blcperf-source-roots names the folders to put first on sys.path"
        )
        return {
            item.id: why
            for item in items
            if imports_nothing(base.loaded[item.id].merge(head.loaded[item.id]), self.differences, self._overlaid)
        }

    def proofs(self, items: Sequence[Item], base: SideFindings, head: SideFindings) -> Mapping[str, Proof]:
        """Benchmark id → whether both sides are proven to load the same code."""
        readers = tree_reader(self.side.root), tree_reader(self._suite.root)
        return {
            item.id: prove_identical(
                base.loaded[item.id].merge(head.loaded[item.id]), self.differences, self._overlaid, *readers
            )
            for item in items
        }


@contextmanager
def base_tree(suite: Suite, repository: Repository, commit: str, settings: Settings, link: Path) -> Iterator[BaseTree]:
    """Check the base out and lay the head's benchmarks over it; the checkout is gone afterwards.

    Raises BaselineError when git cannot check it out.
    """
    with base_checkout(repository, commit) as worktree:
        differences = repository.differences(commit)
        removed = removed_benchmarks(differences, tree_reader(worktree), tree_reader(suite.root))
        plan = plan_overlay(
            suite.root, worktree, suite.files, suite.config_name, source_roots(suite.root, settings.source_roots)
        )
        roots = source_roots(worktree, settings.source_roots)
        plan += generated_modules(suite.root, worktree, roots)
        apply_overlay(suite.root, worktree, plan)
        side = suite.side("base", worktree, roots, link, settings.base_python)
        # The folder pytest was called in may be one that git does not know.
        side.folder.mkdir(parents=True, exist_ok=True)
        yield BaseTree(side, commit, differences, removed, suite, set(plan))


def check_leaks(base: SideFindings) -> None:
    """Raise TargetError when the base imported the head's code: its times would be the head's."""
    leaked = sorted({path for loaded in base.loaded.values() for path in loaded.outside})
    if leaked:
        raise TargetError(
            f"the base side imported the head's code: {', '.join(leaked[:3])}{' …' * (len(leaked) > 3)}",
            "name the source folders with --blcperf-source-roots, or give the base an environment of its own with "
            "--blcperf-base-python",
        )

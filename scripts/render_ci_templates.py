"""Writes ci-templates/ from the templates of `blcperf init`, for a project that says nothing about itself.

.venv/bin/python scripts/render_ci_templates.py
"""

from __future__ import annotations

from pathlib import Path

from pytest_blcperf.scaffold.project import Project
from pytest_blcperf.scaffold.render import PLATFORMS, render

FOLDER = Path(__file__).parents[1] / "ci-templates"
PROJECT = Project(python_versions=("3.11", "3.12", "3.13"))


def rendered() -> dict[str, str]:
    """Every template as a file of ci-templates/: the path there → its text."""
    found = {}
    for platform in PLATFORMS:
        for file in render(platform, PROJECT):
            found[place(platform, file.path)] = file.text
    matrix = {file.path: file.text for file in render("github", PROJECT, matrix=True)}
    found["github/matrix/workflows/blcperf.yml"] = matrix[".github/workflows/blcperf.yml"]
    found["github/matrix/workflows/blcperf-matrix.yml"] = matrix[".github/workflows/blcperf-matrix.yml"]
    return found


def place(platform: str, path: str) -> str:
    """Where a file of a platform is in ci-templates/: `.github/` and the like give way to the platform's name."""
    if platform == "github":
        return path.replace(".github/", "github/", 1)
    if platform in ("gitlab", "gitlab-component"):
        return "gitlab/" + path.removeprefix("ci/")
    return f"others/{platform}/{Path(path).name}"


if __name__ == "__main__":
    for name, text in rendered().items():
        target = FOLDER / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        target.chmod(0o755 if text.startswith("#!") else 0o644)
        print(target.relative_to(FOLDER.parent))

"""The CI templates, linted and executed: GitHub's by act, GitLab's by gitlab-ci-local, in scratch repositories.

`make test` runs a planted regression and a harmless change on both platforms; the other scenarios take minutes and run with
`make test-ci` (BLCPERF_TEST_CI=1).
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import ci_scratch
import pytest
import yaml
from ci_runners import BIN, JobRun, act, gitlab
from gate_runs import environment
from gitrepo import GitRepo
from platform_server import Platform, Reply, Request, serving

ROOT = Path(__file__).parents[1]
TEMPLATES = ROOT / "ci-templates"
GATE, COMMENT = ".github/workflows/blcperf.yml", ".github/workflows/blcperf-comment.yml"

slow = pytest.mark.skipif(os.environ.get("BLCPERF_TEST_CI") != "1", reason="takes minutes: make test-ci")


def init(repo: GitRepo, platform: str) -> None:
    """`blcperf init PLATFORM` in the repository, committed."""
    subprocess.run([BIN / "blcperf", "init", platform, "--quiet"], cwd=repo.path, env=environment(), check=True)
    repo.commit("ci")


# ---- linted


def files(pattern: str) -> list[str]:
    found = sorted(str(path) for path in TEMPLATES.glob(pattern))
    assert found, pattern
    return found


def checked(name: str, *arguments: str, accepts: Callable[[str], bool] = lambda _: False) -> None:
    """Runs a linter of the environment; skips where it is not installed."""
    program = BIN / name
    if not program.exists():
        pytest.skip(f"{name} is not installed: pip install --group ci")
    done = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == 0 or accepts(output), output


def test_ci_templates_are_what_init_writes() -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        from render_ci_templates import rendered  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    written = {
        path.relative_to(TEMPLATES).as_posix(): path.read_text() for path in TEMPLATES.rglob("*") if path.is_file()
    }
    readme = written.pop("README.md")
    assert written == rendered(), "run: .venv/bin/python scripts/render_ci_templates.py"
    assert all(name.partition("/")[0] in readme for name in written)


def test_actionlint() -> None:
    checked("actionlint", *files("github/workflows/*.yml"), *files("github/matrix/workflows/*.yml"))


@pytest.mark.parametrize("folder", ["github", "github/matrix"])
def test_zizmor_pedantic(folder: str, tmp_path: Path) -> None:
    shutil.copytree(TEMPLATES / folder, tmp_path / ".github")  # where it looks for workflows
    checked("zizmor", "--offline", "--persona", "pedantic", "--no-progress", str(tmp_path))


def test_yamllint() -> None:
    checked("yamllint", "--strict", "ci-templates")


@pytest.mark.parametrize(
    ("schema", "pattern", "more"),
    [
        ("vendor.github-workflows", "github/**/workflows/*.yml", ()),
        ("custom.github-workflows-require-timeout", "github/workflows/*.yml", ()),
        ("vendor.github-actions", "github/actions/*/action.yml", ()),
        ("vendor.gitlab-ci", "gitlab/*.yml", ("--data-transform", "gitlab-ci")),
        ("vendor.github-workflows", "others/forgejo/*.yml", ()),
        (
            "vendor.azure-pipelines",
            "others/azure/*.yml",
            ("--data-transform", "azure-pipelines", "--regex-variant", "python"),
        ),
        ("vendor.circle-ci", "others/circleci/*.yml", ()),
        ("vendor.buildkite", "others/buildkite/*.yml", ()),
        ("vendor.woodpecker-ci", "others/woodpecker/*.yml", ()),
    ],
)
def test_schemas(schema: str, pattern: str, more: tuple[str, ...]) -> None:
    checked("check-jsonschema", "--builtin-schema", schema, *more, *files(pattern))


def test_the_gitlab_component_is_the_plain_include_with_inputs() -> None:
    (plain,) = yaml.safe_load_all((TEMPLATES / "gitlab" / "blcperf.gitlab-ci.yml").read_text())
    text = (TEMPLATES / "gitlab" / "templates" / "blcperf" / "template.yml").read_text()
    spec, _ = yaml.safe_load_all(text)
    used = set(re.findall(r"\$\[\[ inputs\.(\w+) \]\]", text))
    inputs = spec["spec"]["inputs"]
    assert used == set(inputs)
    for name, given in inputs.items():
        assert given["description"].endswith(".")
        text = text.replace(f"$[[ inputs.{name} ]]", given["default"])
    _, component = yaml.safe_load_all(text)
    assert component == plain


def test_third_party_actions_are_pinned_and_say_their_version() -> None:
    for path in TEMPLATES.glob("github/**/*.yml"):
        for line in re.findall(r"(?m)^ *(?:- )?uses: (.+)", path.read_text()):
            assert line.startswith("./") or re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_every_job_has_least_permissions_and_a_time_limit() -> None:
    for path in TEMPLATES.glob("github/**/workflows/*.yml"):
        workflow = yaml.safe_load(path.read_text())
        assert workflow["permissions"] == {}
        for job in workflow["jobs"].values():
            assert "uses" in job or job["timeout-minutes"] <= 60
            assert set(job["permissions"].values()) <= {"read"} or path.name == "blcperf-comment.yml"


# ---- executed on GitHub's runner, as far as act is one


def pull_request(repo: GitRepo, labels: tuple[str, ...] = (), body: str = "") -> dict[str, Any]:
    """The event of a fork's pull request 7."""
    head = {"ref": "change", "sha": repo.head, "repo": {"full_name": "stranger/project", "fork": True}}
    pull = {
        "number": 7,
        "head": head,
        "base": {"ref": "main"},
        "labels": [{"name": name} for name in labels],
        "body": body,
    }
    return {"action": "synchronize", "pull_request": pull}


def on_github(tmp_path: Path, scenario: str, platform: Platform | None = None, **event: Any) -> tuple[GitRepo, JobRun]:
    """The gate of a pull request of that scenario, without any secret, as a fork's is."""
    repo = ci_scratch.make(tmp_path / "repo", scenario)
    repo.git("remote", "add", "origin", "https://github.com/team/project")
    init(repo, "github")
    with serving(platform or Platform()) as api:
        run = act(
            repo,
            "pull_request",
            pull_request(repo, **event),
            GATE,
            tmp_path / "artifacts",
            GITHUB_API_URL=api.root,
        )
    return repo, run


def artifact(run: JobRun, name: str) -> Path:
    return run.artifacts / "blcperf-verdict-3.12" / name


def test_github_fails_a_planted_regression_and_names_the_function(tmp_path: Path) -> None:
    _, run = on_github(tmp_path, "regression")
    assert run.code != 0, run.log
    assert "### ❌ blcperf: 1 regressed" in run.summary
    assert "guilty: weight (lib&#46;py" in run.summary or "<code>weight</code>" in run.summary
    assert re.search(r"::error.*lib\.py|error .*file=lib\.py", run.log) or "performance regression: weight" in run.log
    assert "blcperf: FAILED: 1 regressed" in run.log
    verdict = json.loads(artifact(run, "verdict.json").read_text())
    assert [one["name"] for one in verdict["benchmarks"][0]["functions"] if one["guilty"]] == ["weight"]
    assert ElementTree.parse(artifact(run, "junit.xml")).getroot().get("failures") == "1"
    assert json.loads(artifact(run, "blcperf.sarif").read_text())["runs"][0]["results"]


def test_github_passes_a_harmless_change(tmp_path: Path) -> None:
    _, run = on_github(tmp_path, "harmless")
    assert run.code == 0, run.log
    assert "### ✅ blcperf: 1 unchanged" in run.summary
    assert "blcperf: PASSED: 1 unchanged" in run.log
    assert artifact(run, "verdict.json").exists()


@slow
def test_github_bootstraps_and_says_so(tmp_path: Path) -> None:
    _, run = on_github(tmp_path, "first")
    assert run.code == 0, run.log
    assert "NOTHING WAS COMPARED" in run.summary
    assert "No stored baseline yet: the next push to main saves one." in run.summary
    assert "PASSED as a first run: the base has no benchmark yet" in run.log


@slow
def test_github_is_not_green_when_the_base_does_not_build(tmp_path: Path) -> None:
    _, run = on_github(tmp_path, "broken")
    assert run.code != 0, run.log
    assert "### ⚠️ blcperf: NOTHING WAS COMPARED" in run.summary
    assert re.search(r"blcperf: FAILED: NOTHING WAS COMPARED: 1 not compared; .*SyntaxError", run.log)
    assert artifact(run, "verdict.json").exists()


@slow
def test_github_accepts_a_labelled_regression_with_the_reason(tmp_path: Path) -> None:
    api = Platform()
    api.on("/repos/team/project/issues/7/labels", [{"name": "blcperf-accept"}])
    event = {"event": "labeled", "label": {"name": "blcperf-accept"}, "actor": {"login": "maintainer"}}
    api.on("/repos/team/project/issues/7/events", [event])
    body = "x\nblcperf-accept: correct now $(touch /tmp/x) `y` ${{ github.token }}\n"
    _, run = on_github(tmp_path, "regression", api, body=body)
    assert run.code == 0, run.log
    assert "label blcperf-accept, put on by maintainer: correct now" in run.summary
    assert "blcperf: PASSED: 1 regressed (1 of them not failing the gate)" in run.log
    assert not Path("/tmp/x").exists()
    verdict = json.loads(artifact(run, "verdict.json").read_text())
    assert verdict["benchmarks"][0]["gate"] == "accepted"


@slow
def test_github_an_accept_file_overrides_with_the_reason(tmp_path: Path) -> None:
    repo = ci_scratch.make(tmp_path / "repo", "regression")
    repo.git("remote", "add", "origin", "https://github.com/team/project")
    text = (
        '[[accept]]\nbenchmark = "*test_total"\nfunction = "weight"\nreason = "correct at last"\nuntil = 2999-12-31\n'
    )
    repo.write({".blcperf-accept.toml": text})
    init(repo, "github")
    with serving(Platform()) as api:
        run = act(repo, "pull_request", pull_request(repo), GATE, tmp_path / "artifacts", GITHUB_API_URL=api.root)
    assert run.code == 0, run.log
    assert "accepted until 2999-12-31: correct at last" in run.summary


def zipped(folder: Path) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    return data.getvalue()


@slow
def test_github_a_pushed_baseline_is_fetched_and_shown_by_a_pull_request(tmp_path: Path) -> None:
    repo = ci_scratch.make(tmp_path / "repo", "regression")
    repo.git("remote", "add", "origin", "https://github.com/team/project")
    repo.checkout("main")
    init(repo, "github")
    repo.git("update-ref", "refs/remotes/origin/main", "HEAD")
    base = repo.head
    event = {"ref": "refs/heads/main", "after": base}
    with serving(Platform()) as api:
        pushed = act(repo, "push", event, GATE, tmp_path / "pushed" / "artifacts", GITHUB_API_URL=api.root)
        assert pushed.code == 0, pushed.log
        assert "### blcperf: baseline of main saved" in pushed.summary
        made = pushed.artifacts / "blcperf-baseline-3.12"
        assert [path.name for path in made.iterdir()] == ["main.blcperf"]

        run = {"id": 5, "head_sha": base, "head_branch": "main", "event": "push"}
        run["head_repository"] = {"full_name": "team/project"}
        api.on("/repos/team/project/actions/runs", [run], key="workflow_runs")
        listed = [{"id": 9, "name": "blcperf-baseline-3.12", "expired": False}]
        api.on("/repos/team/project/actions/runs/5/artifacts", listed, key="artifacts")
        api.on("/repos/team/project/actions/artifacts/9/zip", lambda _: Reply(raw=zipped(made)))
        repo.checkout("change")
        repo.git("rebase", "--quiet", "main")
        run_ = act(
            repo, "pull_request", pull_request(repo), GATE, tmp_path / "pull" / "artifacts", GITHUB_API_URL=api.root
        )
    assert run_.code != 0
    assert f"fetched baseline main: commit {base[:9]}, measured on a machine like this one" in run_.log
    assert "Against the stored baseline (shown only)" in run_.summary
    assert (run_.artifacts / "blcperf-verdict-3.12" / "against-stored-baseline.md").exists()


@slow
def test_github_comments_on_a_forks_pull_request_afterwards(tmp_path: Path) -> None:
    repo, run = on_github(tmp_path, "regression")
    data = zipped(artifact(run, "verdict.json").parent)
    api, posted = Platform(), []
    head = {"sha": repo.head, "ref": "change", "repo": {"full_name": "stranger/project"}}
    pull = {"number": 7, "head": head, "base": {"repo": {"full_name": "team/project"}}}
    api.on("/repos/team/project/pulls", [pull])
    listed = [{"id": 9, "name": "blcperf-verdict-3.12", "expired": False}]
    api.on("/repos/team/project/actions/runs/5/artifacts", listed, key="artifacts")
    api.on("/repos/team/project/actions/artifacts/9/zip", lambda _: Reply(raw=data))
    api.on("/repos/team/project/issues/7/comments", [])

    def post(request: Request) -> Reply:
        posted.append(request.body["body"])
        return Reply(201, {})

    api.on("/repos/team/project/issues/7/comments", post, "POST")
    triggering = {
        "id": 5,
        "name": "blcperf",
        "event": "pull_request",
        "conclusion": "failure",
        "head_sha": repo.head,
        "head_branch": "change",
        "head_repository": {"full_name": "stranger/project"},
        "pull_requests": [],
    }
    event = {"action": "completed", "workflow_run": triggering}
    with serving(api):
        done = act(repo, "workflow_run", event, COMMENT, tmp_path / "comment" / "artifacts", GITHUB_API_URL=api.root)
    assert done.code == 0, done.log
    assert "blcperf: commented on #7" in done.log
    assert len(posted) == 1
    assert "<code>weight</code>" in posted[0]


@slow
def test_github_the_set_up_action_serves_a_workflow_of_ones_own(tmp_path: Path) -> None:
    repo = ci_scratch.make(tmp_path / "repo", "harmless")
    init(repo, "github")
    own = {
        "name": "own",
        "on": "push",
        "jobs": {
            "own": {
                "runs-on": "ubuntu-24.04",
                "steps": [
                    {"uses": "actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd"},
                    {
                        "uses": "./.github/actions/blcperf-setup",
                        "id": "setup",
                        "with": {"install": "echo installed by me"},
                    },
                    {
                        "run": 'python -c \'import json, sys; print(json.load(open(sys.argv[1]))["schema"])\' "$FOUND"',
                        "env": {"FOUND": "${{ steps.setup.outputs.doctor }}"},
                    },
                ],
            }
        },
    }
    repo.write({".github/workflows/own.yml": yaml.safe_dump(own)}).commit("own")
    run = act(repo, "push", {"ref": "refs/heads/change"}, ".github/workflows/own.yml", tmp_path / "artifacts")
    assert run.code == 0, run.log
    assert "installed by me" in run.log
    assert "blcperf.doctor/1" in run.log


@slow
def test_github_the_matrix_gates_on_every_python(tmp_path: Path) -> None:
    repo = ci_scratch.make(tmp_path / "repo", "harmless")
    repo.write({"pyproject.toml": ci_scratch.SETTINGS + '\n[project]\nname = "x"\nversion = "1"\nclassifiers = [\n'
                '"Programming Language :: Python :: 3.11", "Programming Language :: Python :: 3.12"]\n'})  # fmt: skip
    command = [BIN / "blcperf", "init", "github", "--matrix", "--quiet"]
    subprocess.run(command, cwd=repo.path, env=environment(), check=True)
    caller = repo.path / ".github/workflows/blcperf-matrix.yml"
    # The scratch project is not installable; the caller's own input says what to do instead.
    caller.write_text(caller.read_text().rstrip() + '\n      install: "true"\n')
    repo.commit("ci")
    with serving(Platform()) as api:
        path = ".github/workflows/blcperf-matrix.yml"
        run = act(repo, "pull_request", pull_request(repo), path, tmp_path / "artifacts", GITHUB_API_URL=api.root)
    assert run.code == 0, run.log
    assert sorted(path.name for path in run.artifacts.iterdir()) == ["blcperf-verdict-3.11", "blcperf-verdict-3.12"]


@slow
def test_github_installs_from_a_wheel_into_a_fresh_environment(tmp_path: Path) -> None:
    """Nothing but Python is there: what the templates install is enough for every step."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "fresh"], check=True)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path / "wheels", ROOT]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheels").iterdir()
    repo = ci_scratch.make(tmp_path / "repo", "harmless")
    repo.git("remote", "add", "origin", "https://github.com/team/project")
    init(repo, "github")
    given = {"BLCPERF_PACKAGE": f"{wheel}[ci]", "BLCPERF_TEST_BIN": str(tmp_path / "fresh" / "bin")}
    with serving(Platform()) as api:
        given["GITHUB_API_URL"] = api.root
        run = act(repo, "pull_request", pull_request(repo), GATE, tmp_path / "artifacts", **given)
        assert api.asked("/repos/team/project/issues/7/labels")  # requests came with the extra
    assert run.code == 0, run.log
    assert "Successfully installed" in run.log
    assert "blcperf: PASSED: 1 unchanged" in run.log


# ---- executed by gitlab-ci-local

MERGE_REQUEST = {"CI_PIPELINE_SOURCE": "merge_request_event", "CI_MERGE_REQUEST_IID": "7"}


def on_gitlab(tmp_path: Path, scenario: str, **variables: str) -> JobRun:
    """The gate of a merge request of that scenario, without any token."""
    repo = ci_scratch.make(tmp_path / "repo", scenario)
    repo.git("remote", "add", "origin", "https://gitlab.com/team/project.git")
    init(repo, "gitlab")
    repo.write({".gitlab-ci.yml": "include:\n  - local: ci/blcperf.gitlab-ci.yml\n"}).commit("ci")
    base = repo.git("rev-parse", "main")
    return gitlab(repo, "blcperf", **{**MERGE_REQUEST, "CI_MERGE_REQUEST_DIFF_BASE_SHA": base, **variables})


def test_gitlab_fails_a_planted_regression_and_names_the_function(tmp_path: Path) -> None:
    run = on_gitlab(tmp_path, "regression")
    assert run.code != 0, run.log
    assert "guilty: weight" in run.log
    assert "blcperf: FAILED: 1 regressed" in run.log
    made = run.artifacts / ".blcperf" / "ci"
    assert ElementTree.parse(made / "junit.xml").getroot().get("failures") == "1"
    (issue,) = json.loads((made / "gl-code-quality-report.json").read_text())
    assert issue["location"] == {"path": "lib.py", "lines": {"begin": 7}}
    assert "### ❌ blcperf: 1 regressed" in (made / "summary.md").read_text()


def test_gitlab_passes_a_harmless_change(tmp_path: Path) -> None:
    run = on_gitlab(tmp_path, "harmless")
    assert run.code == 0, run.log
    assert "blcperf: PASSED: 1 unchanged" in run.log
    assert json.loads((run.artifacts / ".blcperf" / "ci" / "gl-code-quality-report.json").read_text()) == []


@slow
def test_gitlab_bootstraps_and_says_so(tmp_path: Path) -> None:
    run = on_gitlab(tmp_path, "first")
    assert run.code == 0, run.log
    assert "PASSED as a first run: the base has no benchmark yet" in run.log


@slow
def test_gitlab_is_not_green_when_the_base_does_not_build(tmp_path: Path) -> None:
    run = on_gitlab(tmp_path, "broken")
    assert run.code != 0, run.log
    assert "FAILED: NOTHING WAS COMPARED" in run.log
    assert (run.artifacts / ".blcperf" / "ci" / "verdict.json").exists()


@slow
def test_gitlab_accepts_a_labelled_regression(tmp_path: Path) -> None:
    run = on_gitlab(tmp_path, "regression", CI_MERGE_REQUEST_LABELS="perf,blcperf-accept")
    assert run.code == 0, run.log
    assert "accepted for this run: label blcperf-accept on !7" in run.log


@slow
def test_gitlab_saves_the_baseline_of_a_push(tmp_path: Path) -> None:
    repo = ci_scratch.make(tmp_path / "repo", "harmless")
    repo.checkout("main")
    init(repo, "gitlab")
    repo.write({".gitlab-ci.yml": "include:\n  - local: ci/blcperf.gitlab-ci.yml\n"}).commit("ci")
    run = gitlab(repo, "blcperf", CI_COMMIT_BRANCH="main", CI_DEFAULT_BRANCH="main")
    assert run.code == 0, run.log
    assert "blcperf: baseline of main saved" in run.log
    assert (run.artifacts / ".blcperf" / "ci" / "main.blcperf").exists()


@slow
def test_gitlab_writes_a_note_with_a_token(tmp_path: Path) -> None:
    api = Platform()
    api.on("/projects/3/merge_requests/7/notes", [])
    api.on("/projects/3/merge_requests/7/notes", {"id": 1}, "POST")
    api.on("/user", {"id": 42})
    api.on("/projects/3/pipelines", [])
    api.on("/projects/3/merge_requests/7", {"sha": "c" * 40})
    with serving(api):
        variables = {"CI_API_V4_URL": api.root, "CI_PROJECT_ID": "3", "BLCPERF_GITLAB_TOKEN": "token"}
        run = on_gitlab(tmp_path, "harmless", CI_MERGE_REQUEST_SOURCE_BRANCH_SHA="c" * 40, **variables)
    assert run.code == 0, run.log
    assert "blcperf: wrote a note on !7" in run.log
    assert "no stored baseline of main in gitlab" in run.log
    (note,) = api.asked("/projects/3/merge_requests/7/notes", "POST")
    assert "1 unchanged" in note.body["body"]


@slow
def test_gitlab_component(tmp_path: Path) -> None:
    """Included by `local:` with inputs, which gitlab-ci-local interpolates as GitLab does for a component."""
    repo = ci_scratch.make(tmp_path / "repo", "regression")
    init(repo, "gitlab-component")
    include = {
        "local": "templates/blcperf/template.yml",
        "inputs": {"job_name": "perf", "install": "echo installed by me"},
    }
    repo.write({".gitlab-ci.yml": yaml.safe_dump({"include": [include]})}).commit("ci")
    base = repo.git("rev-parse", "main")
    run = gitlab(repo, "perf", **{**MERGE_REQUEST, "CI_MERGE_REQUEST_DIFF_BASE_SHA": base})
    assert run.code != 0, run.log
    assert "installed by me" in run.log
    assert "guilty: weight" in run.log


# ---- everyone else: the shell parts, run by the shell with the platform's variables


def shell_parts(platform: str, file: Path) -> str:
    """What the platform would run, in its order, as one script."""
    text = file.read_text()
    if platform == "jenkins":
        parts = re.findall(r"sh '''(.*?)'''", text, re.DOTALL)
        return "\n".join(part.replace("\\\\", "\\") for part in parts)  # what Groovy's quotes do
    data = yaml.safe_load(text.replace("<< pipeline.parameters.base >>", "main"))
    if platform == "azure":
        return "\n".join(step["bash"] for step in data["steps"] if "bash" in step)
    if platform == "buildkite":
        return str(data["steps"][0]["command"]).replace("$$", "$")
    if platform == "circleci":
        steps = [step["run"] for step in data["jobs"]["blcperf"]["steps"] if "run" in step]
        return "\n".join([f"export BASE={steps[1]['environment']['BASE']}", *(step["command"] for step in steps)])
    if platform == "woodpecker":
        return "\n".join(data["steps"][0]["commands"]).replace("$$", "$")
    return "\n".join(step["run"] for step in data["jobs"]["blcperf"]["steps"] if "run" in step)


VARIABLES: Mapping[str, Mapping[str, str]] = {
    "jenkins": {"CHANGE_TARGET": "main"},
    "azure": {"SYSTEM_PULLREQUEST_TARGETBRANCH": "refs/heads/main"},
    "buildkite": {"BUILDKITE_PULL_REQUEST_BASE_BRANCH": "main"},
    "circleci": {},
    "woodpecker": {"CI_COMMIT_TARGET_BRANCH": "main"},
    "forgejo": {"BASE": "origin/main"},
}


@slow
@pytest.mark.parametrize("scenario", ["regression", "harmless"])
@pytest.mark.parametrize("platform", VARIABLES)
def test_the_shell_parts_of_the_others_gate(platform: str, scenario: str, tmp_path: Path) -> None:
    repo = ci_scratch.make(tmp_path / "repo", scenario)
    origin = tmp_path / "origin.git"
    repo.git("clone", "--quiet", "--bare", str(repo.path), str(origin))
    repo.git("remote", "add", "origin", str(origin))
    init(repo, platform)
    (made,) = (path for path in repo.path.rglob("*") if path.is_file() and "blcperf-out" in _text(path))
    script = shell_parts(platform, made)
    # The environment that the script makes is the tests' own: what is run is the gate, not pip.
    script = re.sub(r"python3? -m venv .*", "true", script).replace(". .blcperf-venv/bin/activate", "true")
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=repo.path,
        env=environment(PATH=path, CI="true", **VARIABLES[platform]),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (done.returncode == 0) == (scenario == "harmless"), done.stdout + done.stderr
    said = "PASSED: 1 unchanged" if scenario == "harmless" else "FAILED: 1 regressed"
    assert f"blcperf: {said}" in done.stdout
    assert ElementTree.parse(repo.path / "blcperf-out" / "junit.xml")


def _text(path: Path) -> str:
    return "" if ".git/" in path.as_posix() else path.read_text(errors="replace")


@slow
@pytest.mark.parametrize("scenario", ["regression", "harmless"])
def test_the_hook_stops_a_push(scenario: str, tmp_path: Path) -> None:
    repo = ci_scratch.make(tmp_path / "repo", scenario)
    repo.git("init", "--quiet", "--bare", str(tmp_path / "origin.git"))
    repo.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    init(repo, "pre-push")
    repo.git("config", "core.hooksPath", ".githooks")
    done = subprocess.run(
        ["git", "push", "origin", "change"],
        cwd=repo.path,
        env=environment(PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}", BLCPERF_LAUNCHES="2"),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (done.returncode == 0) == (scenario == "harmless"), done.stdout + done.stderr
    assert bool(repo.git("ls-remote", "origin", "change")) == (scenario == "harmless")
    repo.git("push", "--no-verify", "--quiet", "origin", "change")
    assert repo.git("push", "origin", "--delete", "change") == ""

"""Profiles a running process, a control group, the whole system, or a command, and says what it saw.

Needs no root for your own processes where the kernel allows that (`blcperf doctor`). The capture is on disk before
anything is shown; `blcperf report FILE` shows it again.

For example:
  blcperf record --pid 4711 --duration 30s
  blcperf record --process mariadbd --preset mariadb --delay-start 30s --profile-window 60s
  blcperf record --process postgres --all --children --preset postgresql
  blcperf record --process app --trigger 'cpu > 80% for 5s and not file:/tmp/quiet' --max-wait 1h
  blcperf record --pid 4711 --repeat 5 --every 10m --duration 20s --output-dir captures
  blcperf record -- python app.py

A trigger is conditions joined by `and`, `or`, `not` and brackets, each with `for DURATION` where it must hold:
  cpu > 80%            CPU use of the target, percent of one CPU      file:PATH           a file is there
  rss > 2GB            resident memory                                log:PATH:REGEX      a new line matches
  threads > 100        threads                                        signal:USR1         we receive the signal
  io > 50MB/s          bytes read and written                         http:8125           POST /trigger with our token
  psi.cpu > 20%        some tasks stalled; also .memory, .io          probe:URL [REGEX]   their server answers so
                                                                      command:'CMD' [> 3] exit code 0, or a number
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from pytest_blcperf.cli import common
from pytest_blcperf.errors import BlcperfError, ExitCode, TargetError, UsageError
from pytest_blcperf.options import duration

if TYPE_CHECKING:
    from pytest_blcperf.capture.perf_attach import Target
    from pytest_blcperf.capture.recording_plan import RecordingPlan
    from pytest_blcperf.capture_session import Captured, Order
    from pytest_blcperf.detect.rules import Rules
    from pytest_blcperf.model.capture import Capture

NAME = "record"
SUMMARY = "profile any process, and say what it does"

TOKEN_VARIABLE = "BLCPERF_TRIGGER_TOKEN"
_DEFAULT_SECONDS = 10.0
_MODES = {"both": (True, True), "user": (True, False), "kernel": (False, True)}


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    _add_target(parser)
    _add_when(parser)
    _add_how(parser)
    _add_output(parser)


def _add_target(parser: argparse.ArgumentParser) -> None:
    target = parser.add_argument_group("what (one of these, or a command after --)")
    target.add_argument("--pid", metavar="N", type=int, action="append", help="a process; may be given again")
    target.add_argument("--process", metavar="NAME", help="by name: the exact one, else a part of it")
    target.add_argument("--cgroup", metavar="PATH", help="a control group and those below it")
    target.add_argument("--system", action="store_true", help="everything that runs (takes rights)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="with --process: all that match")
    which.add_argument("--newest", action="store_true", help="with --process: the one that started last")
    parser.add_argument("--children", action="store_true", help="child processes too, also those to come")
    parser.add_argument("command", nargs="*", metavar="-- COMMAND", help="a command to start; its exit code is kept")


def _add_when(parser: argparse.ArgumentParser) -> None:
    when = parser.add_argument_group("when")
    when.add_argument("--delay-start", metavar="TIME", type=_duration, default=0.0, help="wait first, such as 30s")
    when.add_argument(
        "--profile-window",
        "--duration",
        dest="duration",
        metavar="TIME",
        type=_duration,
        help="length of a window (default: 10s; of a command: to its end)",
    )
    when.add_argument("--repeat", metavar="N", type=int, default=1, help="so many windows (default: 1)")
    when.add_argument("--every", metavar="TIME", type=_duration, default=0.0, help="from one window to the next")
    when.add_argument("--trigger", metavar="CONDITION", help="open a window when it comes true; see below")
    when.add_argument("--max-wait", metavar="TIME", type=_duration, help="give up on the trigger after so long")
    when.add_argument("--control", metavar="fd:IN[,OUT]", help="enable, disable and stop as with perf record --control")


def _add_how(parser: argparse.ArgumentParser) -> None:
    how = parser.add_argument_group("how")
    how.add_argument("--preset", metavar="NAME", help="mariadb, mysql, postgresql, or a TOML file of your own")
    how.add_argument("--rate", metavar="N", type=int, help="samples a second and CPU, up to 4000 (default: 1000)")
    how.add_argument("--event", metavar="NAME", default="cpu-clock", help="cpu-clock, task-clock, cycles, a tracepoint")
    how.add_argument(
        "--backend", choices=("perf", "py-spy"), default="perf", help="py-spy: one Python process, without perf events"
    )
    how.add_argument("--mode", choices=sorted(_MODES), default="both", help="user, kernel, or both (default)")
    how.add_argument(
        "--syscalls",
        choices=("auto", "trace", "symbols"),
        default="auto",
        help="count system calls: by tracepoints in stretches where permitted (auto, the default), by tracepoints all "
        "the time (trace: slows down what calls often), or only their time by kernel entry symbols",
    )
    how.add_argument("--stack-bytes", metavar="N", type=int, help="stack copied with a sample (default: 16384)")


def _add_output(parser: argparse.ArgumentParser) -> None:
    output = parser.add_argument_group("output")
    output.add_argument("--output", "-o", metavar="PATH", type=Path, help="the file to write (one window only)")
    output.add_argument("--output-dir", metavar="DIR", type=Path, default=Path(), help="where files go (default: .)")
    output.add_argument("--top", metavar="N", type=int, default=20, help="functions shown (default: 20)")
    shape = output.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print JSON alone (schema blcperf.analysis/1, a list)")
    shape.add_argument("--quiet", action="store_true", help="print the paths of the files alone")


def _duration(text: str) -> float:
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


def run(arguments: argparse.Namespace) -> int:
    """Records, keeps, shows. Returns 0, the command's exit code, 3 when the target died, 5 without samples, or 130."""
    from pytest_blcperf.capture.refusal import for_record
    from pytest_blcperf.capture_session import record
    from pytest_blcperf.detect import rules as presets

    _check(arguments)
    rules = presets.load(arguments.preset)
    command = _start(arguments.command) if arguments.command else None
    stop = _Stop()
    try:
        order = _order(arguments, rules, command)
        progress = _Progress(arguments)
        captured: list[_Kept] = []
        with stop.listening():
            for one in record(order, tell=progress.tell, stopped=stop, ready=lambda: _let_go(command)):
                progress.clear()
                captured.append(_keep(one, arguments, len(captured)))
        progress.clear()
        _show(captured, arguments, rules)
        return _exit_code(captured, stop, command, arguments)
    except BlcperfError as error:
        raise for_record(error) from error.__cause__
    finally:
        _end(command)


def _check(arguments: argparse.Namespace) -> None:
    given = [name for name in ("pid", "process", "cgroup", "system", "command") if getattr(arguments, name)]
    if len(given) != 1:
        names = " and ".join("-- COMMAND" if name == "command" else f"--{name}" for name in given) or "nothing"
        raise UsageError(
            f"{names} given: one target is needed", "--pid N, --process NAME, --cgroup PATH, --system, or -- COMMAND"
        )
    if (arguments.all or arguments.newest) and not arguments.process:
        raise UsageError("--all and --newest go with --process", "blcperf record --process postgres --all")
    if not 1 <= arguments.repeat <= 100_000:
        raise UsageError(f"--repeat {arguments.repeat}: not a number of windows", "choose 1 to 100000")
    if arguments.output is not None and arguments.repeat > 1:
        raise UsageError("--output names one file, but there are several windows", "use --output-dir")
    if arguments.max_wait is not None and not arguments.trigger:
        raise UsageError("--max-wait goes with --trigger", "--delay-start waits for a time")
    if arguments.control and arguments.trigger:
        raise UsageError("--control and --trigger cannot be combined", "let whoever has the control wait")
    if arguments.backend == "py-spy" and arguments.command:
        raise UsageError("py-spy looks at a process that runs already", "start the command, then --pid N")
    if arguments.duration == 0:
        raise UsageError("a window of no length", "--duration 10s")


class _Stop:
    """Whether somebody has had enough: SIGINT or SIGTERM. The second one ends the program at once."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self) -> bool:
        return bool(self.number)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch both signals inside the block."""
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.number:
            raise KeyboardInterrupt
        self.number = number


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """The command, stopped before its first instruction, so that nothing of it is missed."""
    hold = [sys.executable, "-c", _HOLD, *command]
    try:
        process = subprocess.Popen(hold, stdin=None, pass_fds=(), preexec_fn=None)
    except OSError as error:
        raise TargetError(f"{command[0]}: cannot be started: {error.strerror}", "check the command") from None
    os.waitpid(process.pid, os.WUNTRACED)
    return process


_HOLD = """\
import os, signal, sys
os.kill(os.getpid(), signal.SIGSTOP)
try:
    os.execvp(sys.argv[1], sys.argv[1:])
except OSError as error:
    print(f"{sys.argv[1]}: {error.strerror}", file=sys.stderr)
    os._exit(127)
"""


def _let_go(command: subprocess.Popen[bytes] | None) -> None:
    if command is not None:
        command.send_signal(signal.SIGCONT)


def _end(command: subprocess.Popen[bytes] | None) -> None:
    """A command whose recording ended early goes on no further than it must."""
    if command is None or command.returncode is not None:
        return
    if command.poll() is None:
        command.send_signal(signal.SIGCONT)
        command.terminate()
        try:
            command.wait(5)
        except subprocess.TimeoutExpired:
            command.kill()
            command.wait()


def _order(arguments: argparse.Namespace, rules: Rules, command: subprocess.Popen[bytes] | None) -> Order:
    from pytest_blcperf.capture_session import Order
    from pytest_blcperf.window.schedule import Plan

    windows = Plan(
        duration=_window(arguments),
        delay=arguments.delay_start,
        triggered=bool(arguments.trigger or arguments.control),
        max_wait=arguments.max_wait,
        repeat=100_000 if arguments.control else arguments.repeat,
        every=arguments.every,
    )
    target, description = _target(arguments, rules, command)
    return Order(
        target=target,
        description=description,
        plan=_plan(arguments, rules),
        windows=windows,
        trigger=arguments.trigger,
        token=os.environ.get(TOKEN_VARIABLE, ""),
        control=arguments.control,
        preset=arguments.preset or "",
        syscalls=arguments.syscalls,
        backend=arguments.backend,
    )


def _target(arguments: argparse.Namespace, rules: Rules, command: subprocess.Popen[bytes] | None) -> tuple[Target, str]:
    """What to record, and how reports call it."""
    from pytest_blcperf.target import cgroup, choose, process
    from pytest_blcperf.target.process import Processes, WholeSystem

    if arguments.system:
        return WholeSystem(), "the whole system"
    if arguments.cgroup:
        return cgroup.find(arguments.cgroup), f"cgroup {arguments.cgroup}"
    if command is not None:
        return Processes((process.find(command.pid),), children=True), " ".join(arguments.command)[:200]
    children = arguments.children or bool(rules.capture.get("children", False))
    if arguments.process:
        chosen = choose.by_name(arguments.process, every=arguments.all, newest=arguments.newest)
    else:
        chosen = tuple(process.find(pid) for pid in dict.fromkeys(arguments.pid))
    return Processes(chosen, children), choose.describe(chosen, children)


def _window(arguments: argparse.Namespace) -> float | None:
    if arguments.duration is not None:
        return float(arguments.duration)
    return None if arguments.command or arguments.control else _DEFAULT_SECONDS


def _plan(arguments: argparse.Namespace, rules: Rules) -> RecordingPlan:
    from pytest_blcperf.capture.recording_plan import RecordingPlan

    user, kernel = _MODES[arguments.mode]
    default = RecordingPlan()
    stack = (
        arguments.stack_bytes
        if arguments.stack_bytes is not None
        else int(rules.capture.get("stack_bytes", default.stack_bytes))
    )
    return RecordingPlan(
        events=(arguments.event,),
        rate=arguments.rate if arguments.rate is not None else int(rules.capture.get("rate", default.rate)),
        user=user,
        kernel=kernel,
        stack_bytes=stack if user else 0,
    )


@dataclass(frozen=True)
class _Kept:
    path: Path
    capture: Capture
    ended: str


def _keep(one: Captured, arguments: argparse.Namespace, number: int) -> _Kept:
    """On disk before anything is shown."""
    from pytest_blcperf.store import capture_file

    path = arguments.output or arguments.output_dir / _file_name(one.capture, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    capture_file.write([one.capture], path)
    return _Kept(path, one.capture, one.ended)


def _file_name(capture: Capture, number: int) -> str:
    """`mariadbd-20260102T030405Z.blcperf`; what a process calls itself is not to be trusted with a path."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", capture.target).strip("-.")[:60] or "capture"
    now = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    return f"{name}-{now}{f'-{number + 1}' if number else ''}.blcperf"


class _Progress:
    """A line on standard error that is written over, on a terminal; nothing elsewhere."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._shown = sys.stderr.isatty() and not arguments.quiet and os.environ.get("TERM") != "dumb"
        self._next = 0.0

    def tell(self, line: str, lasting: bool) -> None:
        """Show a line for now; a lasting one stays, on any standard error."""
        from pytest_blcperf.report.text import clean

        if lasting:
            self.clear()
            print(f"blcperf: {clean(line, 500)}", file=sys.stderr)
        elif self._shown and time.monotonic() >= self._next:
            self._next = time.monotonic() + 0.2
            print(f"\r\x1b[K{clean(line, 120)}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _show(kept: Sequence[_Kept], arguments: argparse.Namespace, rules: Rules) -> None:
    from pytest_blcperf.detect.analysis import analyse
    from pytest_blcperf.report import capture_json, capture_text

    if arguments.quiet:
        for one in kept:
            print(one.path)
        return
    analyses = [analyse(one.capture, rules, arguments.preset or "") for one in kept]
    if arguments.json:
        pairs = zip(kept, analyses, strict=True)
        common.print_json([{"path": str(one.path), **capture_json.as_data(analysis)} for one, analysis in pairs])
        return
    shown = common.terminal()
    for one, analysis in zip(kept, analyses, strict=True):
        for line in capture_text.render(analysis, width=shown.width, top=max(arguments.top, 1), unicode=shown.unicode):
            print(shown.show(line))
        print(shown.show(f"\ncapture saved: {one.path} (blcperf report {one.path})"))


def _exit_code(
    kept: Sequence[_Kept], stop: _Stop, command: subprocess.Popen[bytes] | None, arguments: argparse.Namespace
) -> int:
    if stop.number:
        return ExitCode.INTERRUPTED
    if command is not None and command.poll() is not None:
        return command.returncode if command.returncode >= 0 else 128 - command.returncode
    if not kept:
        raise TargetError("no window was opened", "the trigger did not fire in time" if arguments.trigger else "")
    if not any(len(one.capture) for one in kept):
        print("blcperf: no samples: the target did not run on a CPU in the window", file=sys.stderr)
        print("hint: capture for longer, or trigger on load: --trigger 'cpu > 10% for 1s'", file=sys.stderr)
        return ExitCode.NO_SAMPLES
    if kept[-1].ended == "target" and _window(arguments) is not None:
        print("blcperf: the target ended before the window did: what was captured is kept", file=sys.stderr)
        return ExitCode.TARGET
    return ExitCode.OK

"""Python functions of live processes, seen from outside, on every Python of this machine."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import interpreters
import pytest

from pytest_blcperf.bench.calibration import CalibrationProcess
from pytest_blcperf.bench.channel import pair
from pytest_blcperf.bench.choose_backend import Interpreter, choose_backend
from pytest_blcperf.bench.outside import OutsideProfile
from pytest_blcperf.capture import probe
from pytest_blcperf.capture.backends import BYTECODE, OUTSIDE, PERF_SIGNAL, PY_SPY, SAMPLING, TIMER, TRAMPOLINE
from pytest_blcperf.capture.recorder import Recorder
from pytest_blcperf.capture.recording_plan import RecordingPlan
from pytest_blcperf.capture.spy import Spy
from pytest_blcperf.errors import BlcperfError
from pytest_blcperf.model.capture import profile_of
from pytest_blcperf.model.hottest import hottest
from pytest_blcperf.symbols.live_stacks import LiveStacks
from pytest_blcperf.symbols.objects import Objects
from pytest_blcperf.symbols.resolve import Resolver
from pytest_blcperf.target.process import Processes, find

PROGRAMS = Path(__file__).parent / "programs"
REFUSAL = probe.perf_refusal(1000)
pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="tried on x86-64 only"),
    pytest.mark.skipif(REFUSAL is not None, reason=REFUSAL.message if REFUSAL else ""),
]


class Side:
    """`programs/python_side.py`, as a side that can be asked."""

    def __init__(self, channel):
        self._channel = channel
        self.process = channel.receive(30)["process"]

    def request(self, op, **arguments):
        self._channel.send({"op": op, **arguments})
        answer = self._channel.receive(60)
        if answer["op"] == "raised":
            raise ValueError(answer["text"])
        return answer


@contextmanager
def side(python, function, **variables):
    channel, theirs = pair()
    environment = {**os.environ, **variables, "PYTHON_SIDE_FD": str(theirs.fileno())}
    packages = [path for path in sys.path if path.endswith("-packages")]
    environment["PYTHONPATH"] = os.pathsep.join(packages)
    with theirs:
        command = [python, str(PROGRAMS / "python_side.py"), function]
        process = subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()])
    try:
        yield Side(channel)
    finally:
        channel.close()
        process.kill()
        process.wait()


def tools_of(backend, python):
    """What the backend needs on that interpreter; skips where it does not work, with the reason."""
    interpreter = Interpreter((python,))
    try:
        return choose_backend(backend, 1000, [interpreter]).tools[interpreter]
    except BlcperfError as error:
        pytest.skip(error.message)


class Shares:
    """A profile: shares of self time by function, and the stacks as functions."""

    def __init__(self, profile):
        self.profile = profile
        self.functions = profile["functions"]
        self.total = sum(profile["weight"])
        self.stacks = [([self.functions[index] for index in stack], weight) for stack, weight in self._rows()]

    def _rows(self):
        return zip(self.profile["stacks"], self.profile["weight"], strict=True)

    def self_time(self, name):
        return sum(weight for stack, weight in self.stacks if stack[0][1] == name) / self.total

    def total_time(self, name):
        return sum(weight for stack, weight in self.stacks if any(frame[1] == name for frame in stack)) / self.total

    def function(self, name):
        (found,) = [function for function in self.functions if function[1] == name]
        return found


def profiled(one, backend, tools, rounds, rate=2000):
    profile = OutsideProfile(one, backend, rate, tools)
    for _ in range(rounds):
        profile.round(1)
    return Shares(profile.close())


@pytest.mark.parametrize("backend", [BYTECODE, TRAMPOLINE])
@pytest.mark.parametrize("version", interpreters.VERSIONS)
def test_functions_of_known_cost_get_it_on_every_python(version, backend):
    python = interpreters.of(version)
    tools = tools_of(backend, python)
    with CalibrationProcess([python], []) as process:
        found = profiled(process, backend, tools, rounds=25)
    # Five phases of equal CPU time. A function without a loop or a call has its own, not its caller.
    assert found.self_time("straight") == pytest.approx(0.2, abs=0.06)
    assert found.self_time("straight_line") < 0.03
    assert found.self_time("loop") == pytest.approx(0.2, abs=0.06)
    assert found.self_time("c_call") == pytest.approx(0.2, abs=0.06)
    assert found.total_time("tiny_calls") == pytest.approx(0.2, abs=0.06)
    assert 0.03 < found.self_time("tiny") < 0.17
    assert found.total_time("generator") == pytest.approx(0.2, abs=0.06)
    assert 0.03 < found.self_time("generate") < 0.19
    assert found.profile["lost"] == 0
    assert found.function("straight")[0] == "<string>"
    assert found.function("loop")[2] > 0 and found.function("loop")[3]


@pytest.mark.parametrize("backend", [PY_SPY, SAMPLING])
def test_profilers_that_read_memory_see_the_same_functions(backend):
    python = interpreters.of("3.15") if backend == SAMPLING else sys.executable
    tools = tools_of(backend, python)
    with CalibrationProcess([python], []) as process:
        found = profiled(process, backend, tools, rounds=15, rate=500)
    for name in ("straight_line", "loop", "c_call", "tiny_calls", "generator"):
        assert 0.05 < found.total_time(name) < 0.45, name
    assert found.function("loop")[2] > 0 and found.function("loop")[3]


def test_they_end_when_told_to_also_where_interrupts_are_ignored():
    """As in what a shell starts in the background."""
    tools = tools_of(PY_SPY, sys.executable)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with CalibrationProcess([sys.executable], []) as process:
            spy = Spy(PY_SPY, process.ask("open", backend=PY_SPY)["process"], 100, tools.python)
            masks = Path(f"/proc/{spy.process_id}/status").read_text()
            spy.stop()
    finally:
        signal.signal(signal.SIGINT, before)
    (ignored,) = [int(line.split()[1], 16) for line in masks.splitlines() if line.startswith("SigIgn:")]
    assert not ignored >> (signal.SIGINT - 1) & 1


@pytest.fixture(scope="module", params=["3.12", "3.13"])
def everything(request):
    """A trampoline profile of all kinds of Python code."""
    python = interpreters.of(request.param)
    tools = tools_of(TRAMPOLINE, python)
    with side(python, "everything") as one:
        return profiled(one, TRAMPOLINE, tools, rounds=40)


def test_generators_coroutines_and_code_made_at_run_time_have_names_and_lines(everything):
    program = "tests/live/programs/python_side.py"
    lines = (PROGRAMS / "python_side.py").read_text().splitlines()
    for name, definition in (
        ("Work.loop", "    @staticmethod"),
        ("generate", "def generate(number):"),
        ("coroutine", "async def coroutine(number):"),
    ):
        assert everything.function(name)[:3] == [program, name, lines.index(definition) + 1]
        assert everything.self_time(name) > 0.03
    assert everything.function("made")[:3] == ["<made>", "made", 1]


def test_a_function_that_is_gone_has_its_name_and_its_callers(everything):
    stacks = [[frame[1] for frame in stack] for stack, _ in everything.stacks if stack[0][1] == "gone"]
    assert stacks
    assert all(names == ["gone", "vanishing", "everything"] for names in stacks)
    # The last one may still be there, with its line.
    assert {tuple(function[:2]) for function in everything.functions if function[1] == "gone"} == {("<gone>", "gone")}


def test_other_threads_are_there_with_their_own_stacks(everything):
    (stack,) = {tuple(frame[1] for frame in stack) for stack, _ in everything.stacks if stack[-1][1] == "Thread._bootstrap" and stack[0][1] == "Work.loop"}  # fmt: skip
    assert stack[:2] == ("Work.loop", "in_thread")
    assert everything.total_time("in_thread") > 0.03


def test_extension_modules_stand_above_the_function_that_calls_them(everything):
    native = [stack for stack, _ in everything.stacks if stack[0][4] == "native" and "_json" in stack[0][0]]
    assert native, everything.functions
    for stack in native:
        python = next(frame for frame in stack if frame[4] == "python")
        assert python[1] == "JSONDecoder.raw_decode"


def test_nothing_of_the_interpreter_is_left(everything):
    # A thread that begins has not called a Python function yet: there is none to hide behind.
    stacks = [stack for stack, _ in everything.stacks if any(frame[4] == "python" for frame in stack)]
    assert not [frame for stack in stacks for frame in stack if "libpython" in frame[0]]
    assert not [function for function in everything.functions if "blcperf/" in function[0] or function[0] == "[jit]"]


def test_native_frames_stand_above_the_function_with_the_bytecode_pointer_too():
    python = sys.executable
    tools = tools_of(BYTECODE, python)
    with side(python, "everything") as one:
        found = profiled(one, BYTECODE, tools, rounds=30)
    native = [stack for stack, _ in found.stacks if stack[0][4] == "native" and "_json" in stack[0][0]]
    assert native
    assert {next(frame[1] for frame in stack if frame[4] == "python") for stack in native} == {"JSONDecoder.raw_decode"}
    # The thread's time is nobody's here, which is said.
    assert "other-threads" in {code for code, _ in found.profile["warnings"]}


@pytest.mark.parametrize("backend", [BYTECODE, TRAMPOLINE])
def test_a_process_survives_a_benchmark_that_fails_while_it_is_profiled(backend):
    python = interpreters.of("3.12")
    tools = tools_of(backend, python)
    with side(python, "failing") as one:
        profile = OutsideProfile(one, backend, 1000, tools)
        with pytest.raises(ValueError, match="the third call"):
            profile.round(5)
        # Signals that were still under way would have ended it.
        assert one.request("round", iterations=10)["cpu"] > 0


def test_children_of_a_profiled_benchmark_leave_nothing_behind():
    python = interpreters.of("3.12")
    tools = tools_of(TRAMPOLINE, python)
    before = set(Path("/tmp").glob("perf-*.map"))
    with side(python, "forking") as one:
        found = profiled(one, TRAMPOLINE, tools, rounds=10)
    assert found.self_time("Work.loop") > 0.3
    mine = [path for path in set(Path("/tmp").glob("perf-*.map")) - before if path.stat().st_uid == os.getuid()]
    assert not [path for path in mine if "python_side" in path.read_text()]


def test_a_program_whose_trampoline_is_always_on_is_profiled_as_well():
    python = interpreters.of("3.12")
    tools = tools_of(TRAMPOLINE, python)
    with side(python, "everything", PYTHONPERFSUPPORT="1") as one:
        try:
            found = profiled(one, TRAMPOLINE, tools, rounds=10)
        finally:
            Path(f"/tmp/perf-{one.process}.map").unlink(missing_ok=True)
    assert found.self_time("Work.loop") > 0.03
    assert found.self_time("made") > 0.03


def test_a_profile_can_be_taken_many_times_in_one_process():
    """sys.activate_stack_trampoline fails after seven times on 3.14, and after 254 times on 3.12."""
    python = interpreters.of("3.13")
    script = (
        "from pytest_blcperf.capture.python_trampoline import trampoline\n"
        "def f(): return 1\n"
        "for _ in range(400):\n"
        "    trampoline().switch(True); f(); trampoline().switch(False)\n"
        "assert trampoline().stub(f.__code__)\n"
        "import sys; assert not sys.is_stack_trampoline_active()\n"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run([python, "-c", script], cwd=root, check=True)


@pytest.mark.parametrize("backend", [BYTECODE, TRAMPOLINE])
def test_subinterpreters_are_refused_with_a_sentence(backend):
    python = interpreters.of("3.13")
    script = (
        "import _interpreters; _interpreters.create()\n"
        "from pytest_blcperf.capture.observed import Observed\n"
        "from pytest_blcperf.errors import PermissionDenied\n"
        "try:\n"
        f"    Observed({backend!r}, (lambda: None).__code__)\n"
        "except PermissionDenied as error: print(error.message)\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([python, "-c", script], cwd=root, check=True, capture_output=True, text=True)
    assert "a subinterpreter is running, whose functions cannot be listed from here" in done.stdout


def test_the_best_backend_is_chosen_by_trying_and_says_why():
    choice = choose_backend("auto", 1000, [Interpreter((sys.executable,))])
    assert choice.backend in (BYTECODE, TRAMPOLINE, PERF_SIGNAL)
    assert choice.reason
    both = choose_backend("auto", 1000, [Interpreter((sys.executable,)), Interpreter((interpreters.of("3.12"),))])
    assert both.backend in (*OUTSIDE, PERF_SIGNAL)
    assert choose_backend("auto", 1000, [Interpreter(("/nowhere/python",))]).backend in (PERF_SIGNAL, TIMER)


@contextmanager
def service(python, *options):
    process = subprocess.Popen(
        [python, *options, str(PROGRAMS / "python_service.py")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        Path(f"/tmp/perf-{process.pid}.map").unlink(missing_ok=True)


def capture_of(pid, seconds):
    """A capture of a process that knows nothing of us, as `blcperf record` makes it, and the hints."""
    with Recorder(Processes((find(pid),)), RecordingPlan(rate=1000)) as recorder, Objects() as objects:
        stacks = LiveStacks(os.uname().machine, objects, Resolver())
        recorder.enable()
        for _ in range(2):
            time.sleep(seconds / 2)
            for batch in recorder.take():
                stacks.add(batch, *recorder.so_far)
        recorder.stop()
        for batch in recorder.take():
            stacks.add(batch, *recorder.so_far)
        capture = stacks.build(recorder.finish())
    return capture, tuple(warning.text for warning in capture.warnings if warning.code == "python-frames")


def test_a_foreign_program_with_its_trampoline_on_shows_python_and_native_frames():
    with service(interpreters.of("3.13"), "-X", "perf") as process:
        # Functions that are called for the first time while it is recorded have a stub that nobody has seen before.
        capture, hints = capture_of(process.pid, 0.7)
    assert hints == ()
    hot = {one.name: one for one in hottest(profile_of(capture), 30)}
    assert hot["loop"].self_share > 0.3
    functions = capture.functions
    lines = (PROGRAMS / "python_service.py").read_text().splitlines()
    (parse,) = [function for function in functions if function.name == "Handler.parse"]
    assert (parse.kind, parse.line) == ("python", lines.index("    @classmethod") + 1)
    stacks = [[functions[index] for index in capture.stack_of(stack)] for stack in set(capture.stack.tolist())]
    scan = [[frame.name for frame in stack] for stack in stacks if stack and "_json" in stack[0].file]
    assert scan
    python = ["JSONDecoder.raw_decode", "JSONDecoder.decode", "loads", "Handler.parse", "<module>"]
    assert all(names[-5:] == python for names in scan)
    assert any([frame.name for frame in stack][:2] == ["loop", "in_thread"] for stack in stacks)
    late = [[frame.name for frame in stack] for stack in stacks if any(frame.name == "late" for frame in stack)]
    assert late and all(names[-2:] == ["late", "<module>"] for names in late)


def test_a_foreign_program_without_it_shows_native_frames_and_a_hint():
    with service(sys.executable) as process:
        capture, hints = capture_of(process.pid, 0.2)
    assert len(hints) == 1 and f"process {process.pid}" in hints[0]
    assert any("_PyEval" in function.name for function in capture.functions)

"""What py-spy and profiling.sampling write, read back."""

from hypothesis import given
from hypothesis import strategies as st

from pytest_blcperf.capture.spied_stacks import MAX_LINE, Places, SpiedFrame, read_spied


def test_py_spy_gives_name_file_and_first_line():
    found = read_spied(
        [
            "<module> (/srv/app.py:1);main (/srv/app.py:10);A.m (/srv/my (old).py:4) 148\n",
            "<module> (/srv/app.py:1) 2\n",
        ]
    )
    assert found.stacks[0] == (
        SpiedFrame("A.m", "/srv/my (old).py", 4),
        SpiedFrame("main", "/srv/app.py", 10),
        SpiedFrame("<module>", "/srv/app.py", 1),
    )
    assert found.counts == (148, 2)
    assert found.broken == 0


def test_profiling_sampling_begins_with_the_thread_and_names_the_file_first():
    found = read_spied(["tid:790;spin.py:<module>:12;spin.py:A.m:6;~:<GC>:0 30\n", "tid:791;spin.py:f:3 4\n"])
    assert found.stacks[0] == (
        SpiedFrame("<GC>", "~", 0),
        SpiedFrame("A.m", "spin.py", 6),
        SpiedFrame("<module>", "spin.py", 12),
    )
    assert found.stacks[1] == (SpiedFrame("f", "spin.py", 3),)


def test_equal_stacks_of_two_threads_are_one():
    found = read_spied(["tid:1;a.py:f:3 4", "tid:2;a.py:f:3 5"])
    assert found.counts == (9,)


def test_frames_the_tools_make_up_keep_their_text_and_broken_lines_are_counted():
    found = read_spied(["process 12:python;f (a.py:3) 1", "no count here", "", "x" * (MAX_LINE + 1) + " 1"])
    assert found.stacks == ((SpiedFrame("f", "a.py", 3), SpiedFrame("process 12:python", "", 0)),)
    assert found.broken == 2


@given(st.lists(st.text(), max_size=20))
def test_any_text_is_read(lines):
    found = read_spied(lines)
    assert len(found.stacks) == len(found.counts)
    assert found.broken <= len(lines)


PLACES = Places(
    [
        ("/srv/app.py", 10, "main"),
        ("/srv/app.py", 20, "main"),
        ("/other/app.py", 15, "main"),
        ("<string>", 1, "made"),
        ("/srv/app.py", 5, "m"),
    ]
)


def test_a_function_is_found_by_its_first_line_or_one_within():
    assert PLACES.find(SpiedFrame("main", "/srv/app.py", 10)) == 0
    assert PLACES.find(SpiedFrame("A.m", "/srv/app.py", 7)) == 4
    assert PLACES.find(SpiedFrame("main", "/other/app.py", 16)) == 2


def test_with_the_base_name_only_the_last_one_before_the_line_is_taken():
    assert PLACES.find(SpiedFrame("main", "app.py", 19)) == 2
    assert PLACES.find(SpiedFrame("main", "app.py", 25)) == 1
    assert PLACES.find(SpiedFrame("made", "<string>", 3)) == 3


def test_a_function_that_is_gone_is_not_found():
    assert PLACES.find(SpiedFrame("main", "app.py", 3)) is None
    assert PLACES.find(SpiedFrame("unknown", "app.py", 30)) is None
    assert PLACES.find(SpiedFrame("<GC>", "~", 0)) is None

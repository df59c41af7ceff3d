"""Records and clock readings charged to handler calls, stacks cut and interned."""

import sys
from types import CodeType

from pytest_blcperf.capture.interval_timer import weigh
from pytest_blcperf.capture.perf_signal import pair
from pytest_blcperf.capture.signals import caught_signals
from pytest_blcperf.capture.stacks import OUTSIDE, ROOT, StackTable


def test_each_record_is_charged_to_the_first_call_at_or_after_it():
    records = [(10, 5), (20, 5), (21, 5)]
    calls = [(10, 1), (22, 2)]
    assert list(pair(records, calls, end_ns=30)) == [(1, 5), (2, 5), (2, 5)]


def test_a_long_c_call_gets_the_weight_of_all_its_records():
    records = [(moment, 1) for moment in range(100, 200)]
    calls = [(99, 1), (200, 2), (210, 3)]
    assert sum(weight for stack, weight in pair(records, calls, end_ns=300) if stack == 2) == 100


def test_a_record_without_a_call_in_the_rest_of_its_window_belongs_to_nobody():
    assert list(pair([(10, 5), (20, 7)], [(12, 1), (31, 2)], end_ns=30)) == [(1, 5), (-2, 7)]
    assert list(pair([(10, 5)], [], end_ns=30)) == [(-2, 5)]


def test_records_out_of_order_are_charged_all_the_same():
    assert sorted(pair([(20, 1), (10, 2)], [(15, 1), (25, 2)], end_ns=30)) == [(1, 2), (2, 1)]


def test_a_timer_call_stands_for_the_cpu_time_since_the_one_before():
    calls = [(1_010, 510, 1), (1_030, 530, 2)]
    assert list(weigh(calls, start_ns=1_000, cpu_start_ns=500, carry_ns=0)) == [(1, 10), (2, 20)]


def test_cpu_time_before_the_window_is_not_counted_and_what_was_carried_is():
    assert list(weigh([(1_010, 510, 1)], start_ns=1_000, cpu_start_ns=400, carry_ns=3)) == [(1, 13)]


def test_time_asleep_weighs_nothing():
    calls = [(1_010, 510, 1), (9_000, 511, 2)]
    assert list(weigh(calls, start_ns=1_000, cpu_start_ns=500, carry_ns=0)) == [(1, 10), (2, 1)]


def leaf(table: StackTable) -> int:
    return table.note(sys._getframe())


def middle(table: StackTable) -> int:
    return leaf(table)


def root(table: StackTable, action) -> int:
    return action(table)


def test_stacks_are_leaf_first_and_end_below_the_root():
    table = StackTable(root.__code__)
    number = root(table, middle)
    table.charge(number, 7)
    codes, stacks, weights, counts = table.columns()
    assert [[codes[index].co_name for index in stack] for stack in stacks] == [["leaf", "middle"]]
    assert (weights, counts) == ([7], [1])


def test_a_stack_without_the_root_is_outside():
    assert leaf(StackTable(root.__code__)) == OUTSIDE


def test_the_root_alone_is_the_empty_stack():
    table = StackTable(leaf.__code__)
    assert leaf(table) == ROOT
    table.charge(ROOT, 3)
    assert table.columns() == ([], [()], [3], [1])


def test_without_a_root_stacks_are_whole():
    table = StackTable(None)
    table.charge(root(table, leaf), 1)
    codes, [stack], *_ = table.columns()
    names = [codes[index].co_name for index in stack]
    assert names[:3] == ["leaf", "root", "test_without_a_root_stacks_are_whole"]
    assert len(names) > 3


def test_equal_stacks_share_a_number_and_uncharged_ones_are_left_out():
    table = StackTable(root.__code__)
    numbers = {root(table, leaf) for _ in range(3)}
    assert len(numbers) == 1
    assert table.columns() == ([], [], [], [])


def test_functions_that_compare_equal_stay_apart():
    source = "def twin(table):\n    import sys\n    return table.note(sys._getframe())\n"
    twins: list[dict] = [{}, {}]
    for namespace, file in zip(twins, ("a.py", "b.py"), strict=True):
        exec(compile(source, file, "exec"), namespace)
    one, other = (namespace["twin"] for namespace in twins)
    assert one.__code__ == other.__code__
    table = StackTable(test_functions_that_compare_equal_stay_apart.__code__)
    for twin in (one, other):
        table.charge(twin(table), 1)
    codes, stacks, *_ = table.columns()
    assert [codes[index].co_filename for (index,) in stacks] == ["a.py", "b.py"]
    assert all(isinstance(code, CodeType) for code in codes)


def test_signals_in_use_are_read_from_the_process_status():
    status = "SigPnd:\tffff\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\nSigCgt:\t8000000000000002\n"
    assert caught_signals(status) == {1, 13, 2, 64}

"""Tasks run in order, a few at a time, on whatever executor is in use."""

import threading

import dask
import pytest

from genoweave import cluster, execution
from genoweave.errors import ConfigError


def double(factor, x):
    return factor * x


def add(state, index, result):
    state["seen"].append((index, result))


class Memory:
    """Checkpoints in a dictionary; `save` may be told to fail, as if the process was killed."""

    def __init__(self, die_at=None):
        self.kept, self.die_at = {}, die_at

    def load(self, label):
        return self.kept.get(label)

    def save(self, label, done, state, *, final):
        self.kept[label] = (done, {k: list(v) for k, v in state.items()})
        if done == self.die_at:
            raise KeyboardInterrupt

    def folder(self):
        raise AssertionError("not asked for here")


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_run_in_order__results_come_in_the_order_of_the_items(slots):
    executor = execution.ThreadExecutor(slots)
    with execution.use(executor):
        items = [(i,) for i in range(50)]
        assert list(execution.run_in_order(double, items, shared=(2,))) == [2 * i for i in range(50)]
    executor.close()


def test_run_in_order__few_tasks_are_in_flight():
    started = []

    def items():
        for i in range(100):
            started.append(i)
            yield (i,)

    executor = execution.ThreadExecutor(2)
    with execution.use(executor):
        results = execution.run_in_order(double, items(), shared=(1,))
        for _ in range(10):
            next(results)
        assert len(started) <= 10 + 2 * execution.WINDOW_PER_SLOT
        results.close()
    executor.close()


def fail_at_three(x):
    if x == 3:
        raise ValueError("three")
    return x


def test_run_in_order__an_error_of_a_task_reaches_the_caller():
    with pytest.raises(ValueError, match="three"):
        list(execution.run_in_order(fail_at_three, [(i,) for i in range(10)]))


def test_run_in_order__tells_its_progress():
    told = []
    with execution.report_to(lambda *words: told.append(words)):
        list(execution.run_in_order(double, [(1,), (2,)], shared=(1,), label="twice", done=3, total=5))
    assert told == [("twice", 4, 5), ("twice", 5, 5)]


def test_run_in_order__own_threads_end_with_the_work():
    before = threading.active_count()
    list(execution.run_in_order(double, [(1,)], shared=(1,)))
    assert threading.active_count() == before


def test_fold__goes_on_where_a_killed_run_stopped():
    items = [(i,) for i in range(8)]
    memory = Memory(die_at=5)
    with execution.checkpoint_to(memory), pytest.raises(KeyboardInterrupt):
        execution.fold("work", double, items, {"seen": []}, add, shared=(3,))
    memory.die_at = None
    with execution.checkpoint_to(memory):
        state = execution.fold("work", double, items, {"seen": []}, add, shared=(3,))
    assert state["seen"] == [(i, 3 * i) for i in range(8)]


def test_fold__without_items_gives_the_state_back():
    assert execution.fold("none", double, [], {"seen": []}, add) == {"seen": []}


def test_scratch_folder__is_gone_afterwards():
    with execution.scratch_folder() as folder:
        (folder / "x").write_text("x")
    assert not folder.exists()


@pytest.mark.parametrize("address", ["nonsense", "nosuch://here:1"])
def test_executor__a_bad_address_leaves_dask_as_it_was(address):
    # otherwise every later dask computation of this process waits for a scheduler that is not there
    before = dask.config.get("scheduler", None)
    try:
        with pytest.raises(ConfigError, match="no Dask scheduler"), cluster.executor(scheduler=address):
            pass
        assert dask.config.get("scheduler", None) == before
    finally:
        dask.config.set(scheduler=before)

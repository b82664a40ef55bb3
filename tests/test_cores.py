"""How many processes work at once."""

import os

import pytest

from uniformer_video.cores import usable_cores
from uniformer_video.data.loading.loader import resolve_workers


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no such call on this platform")
def test_cores_that_the_process_is_not_bound_to_do_not_count(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 5, 7})
    assert usable_cores() == 3
    assert [resolve_workers(n) for n in (-1, 0, 2, 40)] == [3, 0, 2, 40]
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(99)))
    assert resolve_workers(-1) == 16


def test_where_processes_are_not_bound_all_cores_count(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1

"""Freed memory stays with a process that computes, and with nobody else."""

import ctypes
import os
import platform
import subprocess
import sys

import pytest

from uniformer_video import memory

SCRIPT = """
import os
from uniformer_video.memory import give_back_freed, kept_for_the_next_step

def left_behind():
    before = held()
    block = bytearray(b"1") * (80 << 20)  # more than glibc keeps by itself
    assert held() > before + 70
    del block
    return held() > before + 70

def held():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

with kept_for_the_next_step(False):
    print(left_behind())
with kept_for_the_next_step(True):
    child = os.fork()
    if not child:
        os._exit(left_behind())
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1)
    before = held()
    print(left_behind())
    with kept_for_the_next_step(True):
        pass
    print(held() > before + 70)
print(held() > before + 70, left_behind())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's allocator")
def test_freed_memory_is_kept_inside_and_by_this_process_alone():
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    outside, by_a_child, inside, after_one_within, afterwards, outside_again = done.stdout.split()
    assert inside == after_one_within == "True"
    assert {outside, by_a_child, afterwards, outside_again} == {"False"}


def test_another_c_library_changes_nothing(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    memory._of_the_c_library.cache_clear()
    try:
        with memory.kept_for_the_next_step(True):
            pass
    finally:
        memory._of_the_c_library.cache_clear()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="of processes that are forked")
def test_a_child_that_is_forked_loads_no_library(monkeypatch):
    """Another thread may have held the loader's lock."""
    parent = os.getpid()
    load = ctypes.CDLL
    refuse = lambda name: load(name) if os.getpid() == parent else os._exit(3)  # noqa: E731
    monkeypatch.setattr(memory.ctypes, "CDLL", refuse)
    with memory.kept_for_the_next_step(True):
        child = os.fork()
        if not child:
            os._exit(len(memory._uses))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

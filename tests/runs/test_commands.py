"""What the run command says about itself."""

import pytest

from uniformer_video.distributed.environment import launcher
from uniformer_video.program import run_again


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("tools/run_net.py", ["tools/run_net.py"]),
        ("my_run.py", ["my_run.py"]),
        ("/usr/bin/uniformer-video", ["-m", "uniformer_video", "run"]),
        ("/lib/uniformer_video/__main__.py", ["-m", "uniformer_video", "run"]),
    ],
)
def test_a_run_is_gone_on_with_by_the_program_that_began_it(program, words, monkeypatch):
    """A script of somebody's own may have registered the model that the run is of."""
    monkeypatch.setattr("sys.argv", [program])
    assert run_again() == words


@pytest.mark.parametrize(
    ("size", "on_machine", "words"),
    [
        ("1", "1", "python"),
        ("4", "4", "torchrun --nproc_per_node 4"),
        ("8", "4", "torchrun --nnodes 2 --nproc_per_node 4"),
    ],
)
def test_what_stands_before_it(size, on_machine, words, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", on_machine)
    assert launcher() == words

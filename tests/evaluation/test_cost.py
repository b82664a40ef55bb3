"""What a test took: passes, reading, and several tests as one."""

import pytest
import torch

from uniformer_video.data.loading.dataset import VideoRead
from uniformer_video.evaluation import cost
from uniformer_video.evaluation.cost import (
    MeasuredTimes,
    Passes,
    PassTimer,
    joined_cost,
    measured_cost,
    seconds_of_views,
)

CONDITIONS = {"device": "d", "threads": 1, "processes": 2, "workers": 3, "batch_size": 8}


def test_the_first_pass_does_not_count_but_where_it_is_alone(monkeypatch):
    clock = iter([0.0, 9.0, 10.0, 12.0, 20.0, 23.0])
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(clock))
    timer = PassTimer(torch.device("cpu"))
    assert timer.read() == (0, 0)
    with timer.timing(4):
        pass
    assert timer.read() == (9, 4)
    for views in (4, 2):
        with timer.timing(views):
            pass
    assert timer.read() == (5, 6)


def test_a_pass_that_fails_does_not_count():
    timer = PassTimer(torch.device("cpu"))
    with pytest.raises(ValueError), timer.timing(4):
        raise ValueError
    assert timer.read() == (0, 0)


@pytest.mark.gpu
def test_passes_on_a_gpu_are_timed_by_its_stream():
    timer = PassTimer(torch.device("cuda"))
    for _ in range(3):
        with timer.timing(5):
            torch.cuda._sleep(10_000_000)
    found = timer.read()
    assert found.views == 10 and found.seconds > 0


def test_means_are_of_videos_and_of_views():
    reads = [VideoRead((8, 6), 1.0, 0.5), VideoRead((8, 6), 2.0, 0.7)]
    times = MeasuredTimes(reads, [Passes(3.0, 20), Passes(1.0, 20)])
    found = measured_cost(times, **CONDITIONS)
    assert found == CONDITIONS | {
        "videos": 2,
        "decode_seconds": 1.5,
        "crop_seconds": pytest.approx(0.6),
        "views": 40,
        "model_seconds": 0.1,
    }
    assert seconds_of_views(found, 3, 12) == pytest.approx(1.5 + 0.6 / 4 + 0.3)
    assert measured_cost(MeasuredTimes(), **CONDITIONS) is None


def test_tests_are_joined_where_they_ran_alike():
    first = CONDITIONS | {"videos": 1, "decode_seconds": 4.0, "crop_seconds": 1.0}
    first |= {"views": 10, "model_seconds": 0.2}
    second = CONDITIONS | {"videos": 3, "decode_seconds": 8.0, "crop_seconds": 1.0}
    second |= {"views": 30, "model_seconds": 0.6}
    assert joined_cost([first, second]) == CONDITIONS | {
        "videos": 4,
        "decode_seconds": 7.0,
        "crop_seconds": 1.0,
        "views": 40,
        "model_seconds": pytest.approx(0.5),
    }
    assert joined_cost([first, second | {"device": "another"}]) is None
    assert joined_cost([first, None]) is None and joined_cost([]) is None

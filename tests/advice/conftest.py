"""Videos for advice, and a network that is never asked."""

import shutil

import pytest

from uniformer_video.advice import advise as story
from uniformer_video.advice import start, videos
from uniformer_video.prepare.jobs import Outcome


@pytest.fixture(autouse=True)
def no_weights(monkeypatch, tmp_path):
    """Neither the hub nor a folder of weights has any."""
    monkeypatch.setattr(start, "is_on_hub", lambda weights: False)
    monkeypatch.setenv("UNIFORMER_WEIGHTS", str(tmp_path / "no_weights"))


@pytest.fixture
def no_scratch_recipe(monkeypatch):
    """As where the recipe from scratch is absent, so that all rules speak."""
    monkeypatch.setattr(story, "SCRATCH_RECIPE", "scratch/none")


@pytest.fixture
def in_process(monkeypatch):
    """Videos are opened in this process, which is quicker."""

    def run(function, tasks, report, workers=0, timeout=None):
        for task in list(tasks):
            try:
                report(Outcome(task, function(task)))
            except ValueError as error:
                report(Outcome(task, reason=str(error)))

    monkeypatch.setattr(videos, "run_jobs", run)


@pytest.fixture
def film(make_video):
    """One short video, 25 frames a second, 64x48."""
    return make_video("film.mp4", frames=30)


@pytest.fixture
def class_folder(tmp_path, film):
    """A function: a folder `my videos` with copies of a video by class, {class: how many}; its path."""

    def make(**counts):
        root = tmp_path / "my videos"
        for name, count in counts.items():
            (root / name).mkdir(parents=True)
            for number in range(count):
                shutil.copy(film, root / name / f"{number}.mp4")
        return root

    return make

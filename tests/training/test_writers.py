"""TensorBoard and Weights & Biases: what they get of a run, and that none of them ends one."""

import logging
import sys
import textwrap

import numpy as np
import pytest

from uniformer_video.config.settings import load_config
from uniformer_video.errors import ConfigError, MissingLibraryError
from uniformer_video.runs.run import run
from uniformer_video.training.tensorboard import TensorBoardWriter
from uniformer_video.training.weights_and_biases import RUN_FILE, WandbWriter
from uniformer_video.training.writers import Writers


class Notes:
    """A writer that remembers, and fails at the call of the name `fails`."""

    def __init__(self, first_step=0, fails=""):
        self.first_step, self.fails, self.calls = first_step, fails, []

    def __getattr__(self, name):
        def note(*arguments):
            self.calls.append((name, *arguments))
            if name == self.fails:
                raise OSError(28, "No space left on device")

        return note


def test_a_writer_is_opened_when_there_is_something_to_write():
    opened = []

    def opener(first_step):
        opened.append(Notes(first_step))
        return opened[-1]

    writers = Writers({"notes": opener}, {"LOG_PERIOD": 10}, ["val/top1"])
    writers.begin(7)
    writers.close()
    assert not opened
    writers.scalars({"train/loss": 1.5, "train/hit1": None, "name": "x"}, 8)
    writers.scalars({"test/top1": 0.5})
    writers.close()
    assert opened[0].first_step == 7
    assert opened[0].calls == [
        ("settings", {"LOG_PERIOD": 10}, ["val/top1"]),
        ("scalars", {"train/loss": 1.5}, 8),
        ("scalars", {"test/top1": 0.5}, 8),
        ("close",),
    ]


@pytest.mark.parametrize("fails", ["settings", "scalars", "picture", "close"])
def test_a_writer_that_fails_is_left_out_with_one_message(fails, caplog):
    broken, sound = Notes(fails=fails), Notes()
    writers = Writers({"Broken": lambda step: broken, "Sound": lambda step: sound})
    for step in (1, 2):
        writers.scalars({"train/loss": 1.0}, step)
        writers.picture("confusion", np.zeros((2, 2, 3), np.uint8))
    writers.close()
    assert caplog.text.count("Broken fails") == 1 and "No space left on device" in caplog.text
    assert len(sound.calls) == 6


def test_one_that_cannot_be_opened_is_left_out_too(caplog):
    def refuse(step):
        raise ConnectionError("no network")

    writers = Writers({"Broken": refuse})
    writers.scalars({"train/loss": 1.0}, 1)
    writers.scalars({"train/loss": 1.0}, 2)
    assert caplog.text.count("Broken fails") == 1 and "no network" in caplog.text


@pytest.mark.parametrize(
    ("module", "make", "said"),
    [
        (
            "torch.utils.tensorboard",
            TensorBoardWriter,
            "TensorBoard is not installed, and metrics.jsonl alone holds the curves; for it, run: "
            'pip install "uniformer-video[report]"',
        ),
        (
            "wandb",
            lambda folder, step: WandbWriter(folder, "p", "offline", step),
            'wandb is not installed; set it to False, or run: pip install "uniformer-video[wandb]"',
        ),
    ],
)
def test_without_its_library_one_line_says_so(module, make, said, tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setitem(sys.modules, module, None)
    writers = Writers({"It": lambda step: make(tmp_path, step)})
    for step in (1, 2):
        writers.scalars({"train/loss": 1.0}, step)
    assert caplog.text.count(said) == 1


def read_events(folder):
    """(scalars by tag, tags of pictures, the plugins that have data) of a folder of event files."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder), {"scalars": 0, "images": 0})
    events.Reload()
    tags = events.Tags()
    scalars = {tag: [event.value for event in events.Scalars(tag)] for tag in tags["scalars"]}
    return scalars, tags["images"], events.PluginTagToContent("hparams")


def steps_of(tag, folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return [event.step for event in events.Scalars(tag)]


@pytest.mark.parametrize(
    ("first_step", "steps"),
    [(2, [1, 2, 3]), (0, [3]), (None, [1, 2, 3, 4, 3])],
)
def test_tensorboard_shows_an_earlier_attempt_up_to_where_the_next_one_begins(
    first_step, steps, tmp_path
):
    pytest.importorskip("tensorboard")
    for number, first in enumerate((0, first_step)):
        writer = TensorBoardWriter(tmp_path, first)
        for step in (1, 2, 3, 4) if number == 0 else (3,):
            writer.scalars({"train/loss": 1.0}, step)
        writer.close()
    assert steps_of("train/loss", tmp_path) == steps


def test_tensorboard_gets_curves_settings_confusion_and_results(tiny):
    pytest.importorskip("tensorboard")
    run(load_config(overrides=tiny(TENSORBOARD__ENABLE=True, TEST__ENABLE=False)), "tiny")
    folder = run(load_config(overrides=tiny(TENSORBOARD__ENABLE=True)), "tiny")
    scalars, pictures, hparams = read_events(folder / "tensorboard")
    assert len(scalars["train/loss"]) == 8 and len(scalars["val/top1"]) == 2
    assert len(scalars["test/top1"]) == 1 and scalars["test/videos"] == [8]
    assert pictures == ["test/confusion"]
    assert steps_of("test/top1", folder / "tensorboard") == [8]  # as the last validation
    content = b"".join(hparams.values())
    assert b"SOLVER.BASE_LR" in content and b"test/top1" in content


def test_weights_and_biases_gets_the_same(tiny, tmp_path, monkeypatch):
    """By a stand-in for wandb that notes its calls; the next test has the real one."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "wandb.py").write_text(
        textwrap.dedent(
            """
            run, calls = None, []

            class Image:
                def __init__(self, pixels):
                    self.shape = pixels.shape

            class Run:
                config = property(lambda self: self)
                def __getattr__(self, name):
                    return lambda *values, **named: calls.append((name, values, named))

            def init(**named):
                calls.append(("init", (), named))
                return Run()
            """
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    settings = {"WANDB__ENABLE": True, "WANDB__PROJECT": "mine", "WANDB__MODE": "offline"}
    folder = run(load_config(overrides=tiny(**settings)), "tiny")
    calls = sys.modules.pop("wandb").calls
    assert [name for name, _, _ in calls][:3] == ["init", "define_metric", "update"]
    started = calls[0][2]
    assert started["project"] == "mine" and started["mode"] == "offline"
    assert started["id"] == (folder / RUN_FILE).read_text()
    assert calls[2][1][0]["SOLVER.MAX_EPOCH"] == 2
    logged = [values[0] for name, values, _ in calls if name == "log"]
    assert sum("train/loss" in values for values in logged) == 8
    assert sum("val/top1" in values for values in logged) == 2
    assert any("test/top1" in values and values["step"] == 8 for values in logged)
    picture = next(values["test/confusion"] for values in logged if "test/confusion" in values)
    assert picture.shape[2] == 3
    assert calls[-1][0] == "finish"


def test_a_run_that_needs_wandb_and_lacks_it_does_not_begin(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(
        MissingLibraryError, match="wandb is not installed; set it to False, or run"
    ):
        run(load_config(overrides=tiny(WANDB__ENABLE=True)), "tiny")
    assert not (tmp_path / "run").exists()


def test_a_name_that_is_none_of_a_project(tiny, tmp_path, monkeypatch):
    (tmp_path / "wandb.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    settings = tiny(WANDB__ENABLE=True, WANDB__PROJECT="team/videos")
    with pytest.raises(
        ConfigError, match=r"WANDB.PROJECT team/videos is no project .* leave out /"
    ):
        run(load_config(overrides=settings), "tiny")


def test_weights_and_biases_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    for key, place in (("WANDB_DIR", "w"), ("WANDB_CACHE_DIR", "c"), ("WANDB_CONFIG_DIR", "s")):
        monkeypatch.setenv(key, str(tmp_path / place))
    writers = Writers({"W&B": lambda step: WandbWriter(tmp_path, "p", "offline", step)}, {"A.B": 1})
    writers.scalars({"train/loss": 1.0}, 1)
    writers.picture("confusion", np.zeros((8, 8, 3), np.uint8))
    writers.close()
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert (tmp_path / RUN_FILE).read_text() in "".join(map(str, (tmp_path / "wandb").iterdir()))

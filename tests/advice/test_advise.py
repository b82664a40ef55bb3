"""Advice as a user gets it: what is said, and a command that runs as it is printed."""

import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_run import TINY

import uniformer_video as uv
from uniformer_video.advice import advise as story
from uniformer_video.advice import cost, start
from uniformer_video.advice.cost import Cost
from uniformer_video.advice.groups import find_groups
from uniformer_video.advice.notes import guess_classes, notes_on
from uniformer_video.advice.source import Source
from uniformer_video.advice.videos import VideoFacts, evenly
from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import CheckpointError, UserError
from uniformer_video.prepare.jobs import Outcome
from uniformer_video.runs import build_model
from uniformer_video.runs.build_data import build_data
from uniformer_video.zoo.published import PUBLISHED

ROOT = Path(__file__).parents[2]
SIZES = {key: value for key, value in TINY.items() if key.startswith("UNIFORMER")}
FAST = {
    **TINY,
    "SOLVER.MAX_EPOCH": "1",
    "SOLVER.WARMUP_EPOCHS": "0",
    "TRAIN.BATCH_SIZE": "2",
    # of the recipe from scratch: ten minutes, and frames all over the video
    "TRAIN.MINUTES": "0",
    "DATA.SAMPLING": "dense",
}


def words(settings):
    return [word for pair in settings.items() for word in pair]


def command_in(printed):
    """The last line that is printed: the command."""
    return printed.rstrip().splitlines()[-1]


def typed(command):
    """The words of a command behind the program's name, as a list."""
    return shlex.split(re.sub(r"^(uniformer-video|python -m uniformer_video) ", "", command))


def run(command, folder):
    """Type a command into a shell, in `folder`, as printed."""
    programs = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    environment = {**os.environ, "PATH": programs, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_the_command_runs_as_it_is_printed(call, class_folder, tmp_path, monkeypatch):
    class_folder(run=4, walk=4)
    monkeypatch.chdir(tmp_path)
    status, printed, errors = call("advise", "my videos", "--workers", 1, *words(FAST))
    assert status == 0, errors
    command = command_in(printed)
    assert "DATA.PATH_TO_DATA_DIR 'my videos'" in command
    assert "finetune/tiny" in command or "scratch/small" in command
    assert "Time" in printed and "measured" in printed
    done = run(command, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "have no effect" not in done.stderr
    assert (tmp_path / "runs" / "my videos" / "report.html").is_file()
    # the folder is taken now, so the next advice names another
    _, printed, _ = call("advise", "my videos", "--quick", *words(FAST))
    assert "OUTPUT_DIR 'runs/my videos-2'" in command_in(printed)


def test_weights_that_are_given(call, class_folder, tmp_path, monkeypatch, in_process):
    """Another list than train.csv, and weights of one's own: both are in the command, which trains."""
    root = class_folder(run=3, walk=3)
    videos = sorted(root.rglob("*.mp4"))
    lines = [f"{video.relative_to(root)},{video.parent.name}\n" for video in videos]
    (root / "all videos.csv").write_text("".join(lines))
    small = load_config("finetune/tiny", [*words(SIZES), "UNIFORMER.LOCAL_KERNEL", "[5,5,5]"])
    model, _ = build_model.build_model(small, 7)
    torch.save({"model_state": model.state_dict()}, tmp_path / "uniformer_small_k400_16x4.pth")
    monkeypatch.chdir(tmp_path)
    status, printed, errors = call(
        "advise", "my videos/all videos.csv", "--weights", "uniformer_small_k400_16x4.pth", "--quick",
        *words(FAST),
    )  # fmt: skip
    assert status == 0, errors
    command = command_in(printed)
    assert command.startswith("cp 'my videos/all videos.csv' 'my videos/train.csv' && ")
    assert "TRAIN.EVAL_PERIOD 0 TEST.ENABLE False" in command
    copying, _, training = command.partition(" && ")
    subprocess.run(copying, shell=True, check=True)
    status, _, errors = call(*typed(training))
    assert status == 0, errors
    assert "replaced" in errors and (tmp_path / "runs/all videos/last.pt").is_file()


def test_what_is_said_of_videos(call, class_folder, tmp_path, make_video, in_process):
    root = class_folder(run=9, walk=3)
    shutil.copy(make_video("b.mp4", frames=90, fps=50, size=(64, 48)), root / "run" / "tall.mp4")
    (root / "run" / "empty.mp4").touch()
    status, printed, _ = call("advise", root, "--quick", "--weights", "none")
    assert status == 0
    assert "2, of 3 to 11 videos" in printed
    assert "25 fps (12), 50 fps (1)" in printed and "64x48 (12), 48x64 (1); 1 higher" in printed
    assert "median 1.2 s, 5 % below 1.2 s, 5 % above" in printed
    flat = " ".join(printed.split())
    assert f"1 of 14 videos cannot be read ({Path('run', 'empty.mp4')}: cannot be opened" in flat
    assert "prepare check" in flat and "DATA.BALANCE 0.5: 'run' has 9 training videos" in flat


def test_a_sample_is_called_one(call, class_folder, in_process):
    root = class_folder(run=5, walk=5)
    _, printed, _ = call("advise", root, "--quick", "--sample", 3)
    assert "10 videos, format folder; looked at 3 of them" in printed


def test_as_data(call, class_folder, tmp_path, in_process):
    root = class_folder(run=3, walk=2)
    status, printed, _ = call("advise", root, "--quick", "--json", "SOLVER.MAX_EPOCH", "3")
    found = json.loads(printed)
    assert status == 0 and found["format"] == "folder" and found["classes"] == {"run": 3, "walk": 2}
    assert found["facts"]["looked_at"] == 5 and found["facts"]["frames"]["middle"] == 30
    assert found["settings"]["SOLVER.MAX_EPOCH"] == "3"
    # a warm-up of 5 epochs would not fit in
    assert shlex.split(found["command"])[-4:] == [
        "SOLVER.MAX_EPOCH",
        "3",
        "SOLVER.WARMUP_EPOCHS",
        "0.3",
    ]
    assert found["cost"] is None


def test_in_python(class_folder, in_process, no_scratch_recipe):
    root = class_folder(run=3, walk=3)
    advice = uv.advise(root, weights="none", settings={"DATA.BALANCE": 0.25}, measure=False)
    assert isinstance(advice, uv.Advice) and advice.recipe == "finetune/tiny"
    assert advice.settings["DATA.BALANCE"] == "0.25" and advice.settings["SOLVER.BASE_LR"] == 1e-3
    with pytest.raises(dataclasses.FrozenInstanceError):
        advice.recipe = ""
    cfg = uv.load_config(advice.recipe, **advice.settings)
    assert str(root) == cfg.DATA.PATH_TO_DATA_DIR
    assert str(advice).endswith(advice.command)


def test_without_labels_it_says_how_to_give_them(call, film, tmp_path, in_process):
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("jump 1.mp4", "jump 2.mp4", "walk_01.mp4", "walk_02.mp4"):
        shutil.copy(film, videos / name)
    status, printed, _ = call("advise", videos)
    flat = " ".join(printed.split())
    assert status == 0 and "these 4 videos have no labels" in flat
    assert f"one sub-folder a class ({videos / 'running' / 'jump 1.mp4'})" in flat
    assert "there are 2: jump (2), walk (2)" in flat and "Run" not in printed.splitlines()
    status, printed, _ = call("advise", film, "--json")
    found = json.loads(printed)
    assert (status, found["command"], found["facts"]["videos"]) == (0, "", 1)
    assert "this video has no labels" in found["notes"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no folder or list nowhere"),
        (["{}", "--sample", "0"], "--sample is 0"),
        (["{}", "--workers", "-1"], "--workers is -1"),
        (["{}", "--weights", "nothing.pth"], "nothing.pth"),
        (["{}", "--weights", "uniformer_small_k400_16x4"], "download it in a browser from"),
        (["{}", "SOLVER.MAX_EPOC", "3"], "did you mean"),
        (["{}", "SOLVER.MAX_EPOCH"], "SOLVER.MAX_EPOCH"),
        (["{}", "TRAIN.DATASET", "kinetic"], "did you mean 'kinetics'"),
        (["{}", "DATA.PATH_TO_DATA_DIR", "b"], "leave it out"),
        (["{}/run/0.mp4"], "no video can be read, out of 1 video"),
    ],
    ids=str,
)
def test_bad_input(call, class_folder, in_process, arguments, message):
    root = class_folder(run=2, walk=2)
    (root / "run/0.mp4").write_bytes(b"no video")
    status, _, errors = call("advise", *(argument.format(root) for argument in arguments))
    assert status == 2 and message in errors and "Traceback" not in errors
    assert len(errors.strip().splitlines()) == 1


def test_published_weights_are_looked_for(tmp_path, monkeypatch):
    assert start.find_start(None).name == ""
    monkeypatch.setattr(start, "is_on_hub", lambda weights: bool(weights.hub))
    on_hub = start.find_start(None)
    assert PUBLISHED[on_hub.name].hub and (on_hub.num_frames, on_hub.stride) == (16, 8)
    monkeypatch.setenv("UNIFORMER_WEIGHTS", str(tmp_path))
    (tmp_path / "uniformer_small_k600_16x4.pth").touch()
    assert start.find_start(None).name == "uniformer_small_k600_16x4"
    # another model's weights are not taken for those
    assert not start.find_start(None, "x3d_s").name and not start.find_start(start.SCRATCH).name
    with pytest.raises(UserError, match="unknown model"):
        start.find_start(None, "x3d_z")


def test_weights_tell_their_own_input(tmp_path):
    light = tmp_path / "uniformer_xxs16_128_k400.pth"
    light.touch()  # its name tells
    found = start.find_start(str(light))
    assert (found.model, found.crop_size, found.rule) == ("uniformer_xxs", 128, "segment")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="NAME behind the command"):
        start.find_start(str(tmp_path / "other.pth"))


def test_a_step_that_cannot_be_measured_is_told(class_folder, in_process, monkeypatch):
    failed = Cost("", reason="its process was killed")
    monkeypatch.setattr(story, "estimate", lambda *_: failed)
    advice = uv.advise(class_folder(run=2, walk=2), weights="none")
    assert any("its process was killed" in note for note in advice.notes) and advice.command


GROUPED = {
    "person": "walk/{0}_person{1:02d}_{2}.mp4",
    "group": "Archery/v_Archery_g{1:02d}_c{2:02d}.avi",
    "day": "{0}/2024-05-{1:02d}_{2}.mp4",
    "video": "{0}/abcdefghi{1:02d}_00000{2}_00001{2}.mp4",
    "folder": "{0}/kitchen{1}x/{2}.mp4",
}


@pytest.mark.parametrize("kind", GROUPED)
def test_signs_of_groups(kind):
    names = [GROUPED[kind].format("ab"[n % 2], 1 + n % 5, n // 5) for n in range(20)]
    records = [VideoRecord(name, name, (n % 2,)) for n, name in enumerate(names)]
    found = find_groups(records)
    assert found and (found[0], found[2]) == (kind, 5)
    held = {re.search(found[1], name)[1] for name in names}
    assert len(held) == 5 and len(found[1]) < 60


def test_groups_that_are_told_are_not_guessed():
    names = [f"walk/person{n % 5}_{n}.mp4" for n in range(20)]
    records = [VideoRecord(name, name, (n % 2,)) for n, name in enumerate(names)]
    told = [dataclasses.replace(record, group="a") for record in records]
    for listed, notes in ((records, 1), (told, 0)):
        source = Source("videos", splits={"train": listed}, class_names=["run", "walk"])
        found = [note for note in notes_on(source, VideoFacts(20, 20), {}) if "persons" in note]
        assert len(found) == notes


@pytest.mark.parametrize(
    "pattern", ["run/{}.mp4", "run/clip_{:03d}.mp4", "train/run/{}.mp4", "{}.mp4"]
)
def test_numbered_videos_are_no_groups(pattern):
    names = [pattern.format(number) for number in range(20)]
    assert find_groups([VideoRecord(name, name, (0,)) for name in names]) is None


def test_classes_in_names():
    assert guess_classes(["jump1.mp4", "jump2.mp4", "a b-3.mp4", "a b-4.mp4"]) == {
        "a b": 2,
        "jump": 2,
    }
    assert guess_classes(["again.mkv", "nice.mkv"]) == {} == guess_classes(["v1.mp4", "v2.mp4"])


def test_memory_is_that_of_a_model_and_of_each_clip(monkeypatch):
    """On a GPU: two sizes of a step tell both."""
    taken = []
    for name in ("reset_peak_memory_stats", "get_device_name"):
        monkeypatch.setattr(torch.cuda, name, lambda: "toy")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 100 + 10 * taken[-1])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (5000, 9000))

    def step(clips):
        taken.append(clips)
        return 0.5 * clips

    measured = cost.time_on_gpu(step)
    assert (measured.base_bytes, measured.clip_bytes, measured.available) == (100, 10, 5000)
    assert measured.seconds == 0.5 and measured.device == "cuda (toy)"


def test_time_counts_training_validation_and_test(monkeypatch, class_folder):
    root = class_folder(run=5, walk=5)
    settings = {
        **FAST,
        "DATA.PATH_TO_DATA_DIR": str(root),
        "SOLVER.MAX_EPOCH": "4",
        "AUG.NUM_SAMPLE": "2",
    }
    settings |= {"TRAIN.EVAL_PERIOD": "2", "TRAIN.BATCH_SIZE": "3", "TEST.NUM_SPATIAL_CROPS": "3"}
    step = cost.Step("cpu", 2.0, 1e9, 1e6, 8e9)
    monkeypatch.setattr(
        cost, "run_jobs", lambda function, tasks, report, *_: report(Outcome(tasks[0], step))
    )
    monkeypatch.setattr(cost, "usable_cores", lambda: 2)
    monkeypatch.setattr(cost, "_time_decoding", lambda cfg, records: 0.5)
    cfg = load_config("finetune/tiny", words(settings))
    records = build_data(cfg).train
    found = cost.estimate(cfg, ("finetune/tiny", (), 2), records, validated=2, tested=2)
    # 4 epochs of 2 steps of 3 videos, twice each; 2 validations of 2 videos; 2 clips x 3 crops of 2
    assert len(records) == 8 and found.clips == 48
    assert found.seconds == pytest.approx(2.0 * (48 + (4 + 12) / 3) + 0.5 * (24 + 4 + 4) / 2)
    assert found.memory == pytest.approx(1e9 + 6e6)


@pytest.mark.gpu
def test_a_step_on_a_gpu_is_timed():
    measured = cost.measure_step(("finetune/tiny", tuple(words(SIZES)), 3))
    assert measured.device.startswith("cuda") and measured.seconds > 0
    assert measured.clip_bytes > 0 and measured.available


def test_a_sample_is_even():
    assert evenly(5, 9) == [0, 1, 2, 3, 4] and evenly(101, 3) == [0, 50, 100]


def test_the_commands_in_notes_can_be_typed(
    call, class_folder, make_video, tmp_path, monkeypatch, in_process
):
    """The check of all frames, and the smaller copies of large videos."""
    root = class_folder(run=1, walk=2)
    large = make_video("large.mp4", frames=2, size=(480, 640))
    for video in root.rglob("*.mp4"):
        shutil.copy(large, video)
    (root / "run" / "broken.mp4").touch()
    (root / "train.csv").write_text("run/0.mp4,0\nwalk/0.mp4,1\nrun/broken.mp4,1\n")
    monkeypatch.chdir(root)
    for data, bad in ((".", 2), ("train.csv", 2)):
        _, printed, _ = call("advise", data, "--quick")
        flat = " ".join(printed.split())
        check = re.search(r"look at every frame of all: (.*?) - ", flat)
        assert call(*typed(check[1]), "--workers", 1)[0] == bad
        resize = re.search(r"cheaper to decode: (.*? --short-side \d+)", flat)
        words = typed(resize[1])
        assert words[:2] == ["prepare", "resize"] and os.path.isdir(words[2])
    assert typed(check[1]) == ["prepare", "check", "train.csv"]

"""Training runs that learn from a teacher: what they see and record, and teachers that cannot be used."""

import json
import logging
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import alone
from same import assert_same
from tiny_run import tiny_overrides

from uniformer_video.config.settings import load_config
from uniformer_video.data.loading.dataset import ClipOrigin, TrainKey
from uniformer_video.distributed.ranks import join_ranks
from uniformer_video.errors import CheckpointError, ConfigError, DataError, DecodeError, UserError
from uniformer_video.inference.teacher import LiveTeacher, StoredTeacher
from uniformer_video.runs import build_clips
from uniformer_video.runs.build_data import build_data
from uniformer_video.runs.build_task import build_training_task
from uniformer_video.runs.build_teacher import build_lessons, protocol_of_teacher
from uniformer_video.runs.run import run
from uniformer_video.signals import Interrupted
from uniformer_video.tasks.single_label import SingleLabel
from uniformer_video.training.precision import autocast_for
from uniformer_video.training.state import TrainingOutputs
from uniformer_video.weights.checkpoint import Weights, read_weights, write_checkpoint
from uniformer_video.zoo.create import build_network

ROOT = Path(__file__).parents[2]
BEST, SCORES, NO_TEST = "TEACHER.CHECKPOINT", "TEACHER.SCORES", ("TEST.ENABLE", "False")
CPU = torch.device("cpu")
# One epoch of four steps.
SHORT = (*NO_TEST, "SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_EPOCHS", "0", "TRAIN.EVAL_PERIOD", "0")


def go(overrides, *changes):
    return run(load_config(overrides=[*overrides, *map(str, changes)]), "tiny")


@pytest.fixture(scope="module")
def teachers(demo, tmp_path_factory):
    """The folder of a finished run, and of its test over the training list: to be left unchanged."""
    folder = tmp_path_factory.mktemp("teachers")
    overrides = tiny_overrides(demo, folder / "run")
    go(overrides, *NO_TEST)
    checkpoint = ("TEST.CHECKPOINT_FILE_PATH", folder / "run/best.pt")
    go(overrides, "TRAIN.ENABLE", "False", "TEST.SPLIT", "train", *checkpoint,
       "OUTPUT_DIR", folder / "said")  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def data(demo):
    """The lists of a tiny run."""
    return build_data(load_config(overrides=tiny_overrides(demo, "unused")))


def lessons(overrides, data, *changes):
    """What a run would learn from."""
    cfg = load_config(overrides=[*overrides, *map(str, changes)])
    task = build_training_task(cfg, data, CPU)
    with join_ranks(120.0, 0.0) as ranks:
        return build_lessons(cfg, data, task, ranks, autocast_for("fp32", CPU))


@pytest.fixture
def best(teachers):
    return teachers / "run" / "best.pt"


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_test_over_the_training_list_says_so(teachers, demo):
    record = json.loads((teachers / "said/results.json").read_text())
    names = [line.split(",")[0] for line in (demo / "train.csv").read_text().splitlines()]
    assert [video["name"] for video in record["videos"]] == names
    assert "The videos tested are those of the train list (TEST.SPLIT)." in record["notes"]


def spy_on(monkeypatch, owner, method, seen):
    original = getattr(owner, method)

    def spied(self, *arguments):
        seen.append((self, *arguments))
        return original(self, *arguments)

    monkeypatch.setattr(owner, method, spied)


@pytest.mark.parametrize("mixup", ["True", "False"])
def test_a_teacher_of_the_same_protocol_sees_the_very_clips(tiny, best, monkeypatch, mixup):
    """Mixed, augmented and mirrored ones, as the learner sees them; twice as many with two copies."""
    taught, learnt = [], []
    spy_on(monkeypatch, LiveTeacher, "__call__", taught)
    spy_on(monkeypatch, TrainingOutputs, "forward", learnt)
    views = []
    original = LiveTeacher.__init__

    def with_view(self, model, view, *rest):
        original(self, model, lambda clips: views.append(view(clips)) or views[-1], *rest)

    monkeypatch.setattr(LiveTeacher, "__init__", with_view)
    go(tiny(MIXUP__ENABLE=mixup, AUG__NUM_SAMPLE=2), BEST, best, *SHORT)
    assert len(taught) == len(learnt) == len(views) == 4
    for (_, clips), (_, own), view in zip(taught, learnt, views, strict=True):
        assert view is clips is own and len(clips) == 8


def test_what_a_run_records_of_its_teacher(tiny, best, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    go(tiny(), BEST, best)
    assert f"Teacher: uniformer_s of {best}, weight 0.5, temperature 2." in caplog.text
    assert re.search(r"loss \d\.\d{3}  from the teacher \d\.\d{3}  top-1", caplog.text)
    for line in lines(tmp_path / "run"):
        assert ("distillation_loss" in line) == (line["kind"] == "train")
    record = json.loads((tmp_path / "run/results.json").read_text())["training"]
    assert record["teacher"] == str(best) and len(record["teacher_sha256"]) == 64
    page = (tmp_path / "run/report.html").read_text()
    assert "Teacher SHA-256" in page and "Loss from the teacher" in page
    alone = read_weights(best)
    last = read_weights(tmp_path / "run/last.pt")
    assert last.state.keys() == alone.state.keys()
    assert "teacher" not in json.dumps([*last.training])


def test_without_a_teacher_nothing_of_it_is_recorded(teachers):
    assert "teacher" not in " ".join(read_weights(teachers / "run/best.pt").metadata["training"])
    assert not any("distillation_loss" in line for line in lines(teachers / "run"))


def test_weight_and_temperature_count(tiny, best, tmp_path):
    """The logged loss is made of both parts by the weight."""
    runs = {}
    for name, given in {
        "alone": (),
        "half": ("TEACHER.WEIGHT", "0.5"),
        "all": ("TEACHER.WEIGHT", "1.0"),
        "hot": ("TEACHER.WEIGHT", "0.5", "TEACHER.TEMPERATURE", "5"),
    }.items():
        teacher = (BEST, best, *given) if given else ()
        go(tiny(), *teacher, *SHORT, "OUTPUT_DIR", tmp_path / name)
        runs[name] = lines(tmp_path / name)[0]  # all have taken the same first step
    label, half, whole = (runs[name]["loss"] for name in ("alone", "half", "all"))
    assert half == pytest.approx((label + whole) / 2, rel=1e-5)
    assert whole == pytest.approx(runs["all"]["distillation_loss"])
    assert runs["half"]["distillation_loss"] == pytest.approx(whole)
    assert runs["hot"]["distillation_loss"] != pytest.approx(whole, rel=1e-3)


def test_another_model_gets_its_own_input(tiny, tmp_path, caplog, monkeypatch):
    """Another family, with other frames, size and pixels: all from the clip that is decoded once."""
    caplog.set_level(logging.INFO)
    other = ("MODEL.MODEL_NAME", "x3d_xs", "DATA.NUM_FRAMES", 6, "DATA.TRAIN_CROP_SIZE", 48)
    pixels = ("DATA.TEST_CROP_SIZE", 48, "DATA.CHANNEL_ORDER", "BGR", "DATA.MEAN", "[.4,.5,.3]")
    given = tiny()
    unread = [i for i, word in enumerate(given[::2]) if word.startswith("UNIFORMER.")]
    kept = [w for i, w in enumerate(given) if i // 2 not in unread]
    go(kept, *other, *pixels, *SHORT, "OUTPUT_DIR", tmp_path / "other")
    seen = []
    original = LiveTeacher.__init__

    def spied(self, model, view, *rest):
        original(self, model, lambda clips: seen.append(view(clips)) or seen[-1], *rest)

    monkeypatch.setattr(LiveTeacher, "__init__", spied)
    caplog.clear()
    go(given, BEST, tmp_path / "other/best.pt", *SHORT)
    assert {tuple(clips.shape) for clips in seen} == {(4, 3, 6, 48, 48)}
    told = "Teacher: x3d_xs of .*Its input of 6 x 48 x 48 is made of the clips that are learnt from, 4 x 32"
    assert re.search(told, caplog.text, re.S)
    assert "pixels are normalised anew" in caplog.text
    assert "clips were of 12 frames of the video, and it sees clips of 8 frames" in caplog.text


def test_classes_in_another_order_are_arranged_by_name(
    tiny, best, teachers, tmp_path, demo, monkeypatch
):
    """Of both kinds of teachers: the losses are those of a training in the teacher's order."""
    names = (demo / "classes.txt").read_text().split("\n")[:8]
    turned = names[::-1]
    data = tmp_path / "turned"
    data.mkdir()
    (data / "classes.txt").write_text("\n".join(turned))
    for split in ("train", "val", "test"):
        rows = [line.rsplit(",", 1) for line in (demo / f"{split}.csv").read_text().splitlines()]
        (data / f"{split}.csv").write_text("\n".join(f"{p},{7 - int(label)}" for p, label in rows))
    answers = {}
    for kind, given in ((LiveTeacher, (BEST, best)), (StoredTeacher, (SCORES, teachers / "said"))):
        for place in (demo, data):
            said = answers[kind, place] = []
            with monkeypatch.context() as patch:
                original = kind.__call__
                patch.setattr(
                    kind,
                    "__call__",
                    lambda self, x, f=original, s=said: s.append(f(self, x)) or s[-1],
                )
                overrides = tiny(MIXUP__ENABLE=False, DATA__RANDOM_FLIP=False)
                folder = ("OUTPUT_DIR", tmp_path / f"{kind.__name__}-{place.name}")
                prefix = ("DATA.PATH_TO_DATA_DIR", place, "DATA.PATH_PREFIX", demo)
                go(overrides, *given, *prefix, *folder, *SHORT)
        for own, other in zip(answers[kind, demo], answers[kind, data], strict=True):
            assert torch.equal(own, other.flip(1)) and not torch.equal(own, other)


def test_stored_logits_are_found_by_name_and_turn_with_the_flip(
    tiny, teachers, tmp_path, demo, monkeypatch
):
    """The list in another order, with a video twice; mirrored clips have the classes' answers exchanged."""
    rows = (demo / "train.csv").read_text().splitlines()
    data = tmp_path / "shuffled"
    data.mkdir()
    shuffled = [*rows[::-1], rows[3]]
    (data / "train.csv").write_text("\n".join(shuffled))
    for name in ("val.csv", "test.csv", "classes.txt"):
        shutil.copy(demo / name, data)
    seen = []
    spy_on(monkeypatch, StoredTeacher, "__call__", seen)
    pairs = ("DATA.FLIP", "swap-labels")
    go(
        tiny(),
        SCORES,
        teachers / "said/scores.npz",
        *pairs,
        *SHORT,
        "DATA.PATH_TO_DATA_DIR",
        data,
        "DATA.PATH_PREFIX",
        demo,
    )
    with np.load(teachers / "said/scores.npz") as file:
        logits = dict(zip(file["names"], file["scores"].mean(axis=1), strict=True))
    teacher = seen[0][0]
    origins = [origin for _, batch in seen for origin in batch]
    assert {origin.mirrored for origin in origins} == {True, False}
    exchange = [1, 0, 2, 3, 4, 5, 7, 6]  # left and right, both turns
    for index, row in enumerate(shuffled):
        own = logits[row.rsplit(",", 1)[0]]
        found = teacher([ClipOrigin(index, False), ClipOrigin(index, True)])
        np.testing.assert_array_equal(found.numpy(), [own, own[exchange]])


def test_the_origins_of_clips_are_those_of_the_videos_that_were_decoded(tiny, data):
    """A broken video is replaced by another one, whose answers count."""
    cfg = load_config(overrides=tiny(AUG__NUM_SAMPLE=2))
    dataset = build_clips.build_train_dataset(cfg, data.train, data.class_names)
    original = dataset.decode

    def decode(record, rng):
        if record == data.train[5]:
            raise DecodeError("broken")
        return original(record, rng)

    dataset.decode = decode
    sample = dataset[TrainKey(0, 0, 5)]
    assert len(sample.origins) == 2
    assert {data.train[origin.record].path for origin in sample.origins} == {sample.path}
    assert sample.path != data.train[5].path


@pytest.mark.parametrize("changed", ["name", "path"])
def test_a_video_is_known_by_its_path_or_else_by_its_name(tiny, data, teachers, tmp_path, changed):
    """As where the test's list spells paths in another way, or was made on another machine."""
    record = json.loads((teachers / "said/results.json").read_text())
    for video in record["videos"]:
        video[changed] = "the same" if changed == "name" else f"/elsewhere{video['path']}"
    key, place = changed_record(tmp_path, teachers, videos=record["videos"])
    found = lessons(tiny(), data, key, place)
    plain = lessons(tiny(), data, SCORES, teachers / "said")
    assert torch.equal(found.objective.stored.logits, plain.objective.stored.logits)


def without_videos(source, target, *indices):
    """A copy of stored logits without some videos."""
    shutil.copytree(source, target)
    record = json.loads((target / "results.json").read_text())
    kept = [i for i in range(len(record["videos"])) if i not in indices]
    record["videos"] = [record["videos"][i] for i in kept]
    (target / "results.json").write_text(json.dumps(record))
    with np.load(target / "scores.npz") as file:
        arrays = {key: file[key][kept] for key in file.files}
    np.savez(target / "scores.npz", **arrays)
    return target


def test_videos_without_stored_logits_are_counted_and_named(tiny, data, teachers, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    lacking = without_videos(teachers / "said", tmp_path / "said", 2)
    with np.load(lacking / "scores.npz") as file:
        arrays = {key: file[key] for key in file.files}
    arrays["scores"][0] = np.nan
    np.savez(lacking / "scores.npz", **arrays)
    go(tiny(), SCORES, lacking, "DATA.MAX_BAD_RATIO", 0.2)
    assert (
        f"{lacking}/scores.npz holds no logits of 2 of 16 training videos (1 could not be decoded in the "
        "test): train/00000.mp4, train/00002.mp4. These learn from their labels alone."
    ) in caplog.text
    record = json.loads((tmp_path / "run/results.json").read_text())["training"]
    assert record["teacher_lacks_videos"] == 2
    assert all(np.isfinite(line["loss"]) for line in lines(tmp_path / "run"))
    with pytest.raises(DataError, match=r"no logits of 2 of 16 .* DATA\.MAX_BAD_RATIO 0\.1 allows"):
        lessons(tiny(), data, SCORES, lacking)
    of_fold = r"--cfg FILE DATA\.FOLDS 4 DATA\.FOLD 1 TRAIN\.ENABLE False TEST\.SPLIT train"
    with pytest.raises(DataError, match=of_fold):
        lessons(tiny(), data, SCORES, lacking, "DATA.FOLDS", 4, "DATA.FOLD", 1)


def of_classes(source, target, count=None, names=None, task=None):
    """A copy of a checkpoint with so many outputs, or other names, or for another task."""
    weights = read_weights(source)
    state, metadata = dict(weights.state), dict(weights.metadata)
    if count:
        state |= {key: state[key][:count] for key in ("head.weight", "head.bias")}
        metadata["class_names"] = metadata["class_names"][:count]
    if names is not None:
        metadata["class_names"] = names
    if task:
        metadata["task"] = task
    write_checkpoint(target, state, metadata)
    return target


def other_classes(best, teachers, path):
    return BEST, of_classes(best, path / "t.pt", count=6)


def other_names(best, teachers, path):
    return BEST, of_classes(best, path / "t.pt", names=[f"motion {i}" for i in range(8)])


def other_count_without_names(best, teachers, path):
    return BEST, of_classes(best, path / "t.pt", count=6, names=[])


def other_task(best, teachers, path):
    return BEST, of_classes(best, path / "t.pt", task="multi-label")


def no_protocol(best, teachers, path):
    weights = read_weights(best)
    told = {key: value for key, value in weights.metadata.items() if key != "protocol"}
    write_checkpoint(path / "t.pt", weights.state, told)
    return BEST, path / "t.pt"


def of_images(best, teachers, path):
    sizes = {"embed_dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "head_dim": 8}
    model = build_network("image_uniformer_s", 8, **sizes)
    told = {"name": "image_uniformer_s", "arguments": dict(model.arguments)}
    write_checkpoint(path / "t.pt", model.state_dict(), {"model": told})
    return BEST, path / "t.pt"


def bare_tensors(best, teachers, path):
    torch.save(read_weights(best).state, path / "bare.pth")
    return BEST, path / "bare.pth"


def damaged(best, teachers, path):
    content = bytearray(best.read_bytes())
    tensor = max(read_weights(best).state.values(), key=torch.numel).numpy().tobytes()
    content[content.index(tensor)] ^= 1  # elsewhere a bit may be one that fills a gap
    (path / "t.pt").write_bytes(content)
    return BEST, path / "t.pt"


def cut_off(best, teachers, path):
    (path / "t.pt").write_bytes(best.read_bytes()[:5000])
    return BEST, path / "t.pt"


def no_file(best, teachers, path):
    return BEST, path / "nowhere.pt"


def a_video(best, teachers, path):
    (path / "t.mp4").write_bytes(b"\0\0\0 ftypisom" + bytes(100))
    return BEST, path / "t.mp4"


def no_folder(best, teachers, path):
    return SCORES, path / "nowhere"


def no_results(best, teachers, path):
    shutil.copytree(teachers / "said", path / "said")
    (path / "said/results.json").unlink()
    return SCORES, path / "said/scores.npz"


def no_scores(best, teachers, path):
    shutil.copytree(teachers / "said", path / "said")
    (path / "said/scores.npz").unlink()
    return SCORES, path / "said"


def damaged_scores(best, teachers, path):
    shutil.copytree(teachers / "said", path / "said")
    (path / "said/scores.npz").write_bytes((teachers / "said/scores.npz").read_bytes()[:300])
    return SCORES, path / "said"


def flipped_bit_in_scores(best, teachers, path):
    shutil.copytree(teachers / "said", path / "said")
    content = bytearray((path / "said/scores.npz").read_bytes())
    content[400] ^= 1
    (path / "said/scores.npz").write_bytes(content)
    return SCORES, path / "said"


def scores_of_another_shape(best, teachers, path):
    shutil.copytree(teachers / "said", path / "said")
    np.savez(path / "said/scores.npz", scores=np.zeros((16, 8), np.float32))
    return SCORES, path / "said"


def infinite_scores(best, teachers, path):
    shutil.copytree(teachers / "said", path / "said")
    scores = np.zeros((16, 2, 8), np.float32)
    scores[3, 1, 4] = np.inf
    np.savez(path / "said/scores.npz", scores=scores)
    return SCORES, path / "said"


def changed_record(path, teachers, **changes):
    shutil.copytree(teachers / "said", path / "said")
    record = json.loads((path / "said/results.json").read_text())
    (path / "said/results.json").write_text(json.dumps({**record, **changes}))
    return SCORES, path / "said"


def backwards(best, teachers, path):
    return changed_record(path, teachers, playback="reverse")


def names_twice(best, teachers, path):
    record = json.loads((teachers / "said/results.json").read_text())
    record["videos"][1]["name"] = record["videos"][0]["name"]
    for video in record["videos"]:
        video["path"] = f"/elsewhere{video['path']}"
    return changed_record(path, teachers, videos=record["videos"])


def other_names_of_scores(best, teachers, path):
    return changed_record(path, teachers, class_names=[f"motion {i}" for i in range(8)])


def of_another_list(best, teachers, path):
    record = json.loads((teachers / "said/results.json").read_text())
    for video in record["videos"]:
        video |= {"name": f"other/{video['name']}", "path": f"/elsewhere{video['path']}"}
    return changed_record(path, teachers, videos=record["videos"])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (other_classes, CheckpointError, r"tells 6 classes apart, the data 8, .*only in the data: 'rot"),
        (other_names, CheckpointError, r"not the same ones: .*only in the teacher: 'motion 0'.*; take a"),
        (other_count_without_names, CheckpointError, r"tells 6 classes apart and the data has 8; take a"),
        (other_task, CheckpointError, r"trained for TRAIN\.TASK multi-label.*or take another teacher"),
        (no_protocol, CheckpointError, r"TEACHER\.CHECKPOINT .*does not record how its input .*convert"),
        (of_images, CheckpointError, r"TEACHER\.CHECKPOINT: .*image_uniformer_s, which takes images"),
        (bare_tensors, CheckpointError, r"TEACHER\.CHECKPOINT: .*bare\.pth"),
        (damaged, CheckpointError, r"TEACHER\.CHECKPOINT: .*is damaged"),
        (cut_off, CheckpointError, r"TEACHER\.CHECKPOINT: .*t\.pt is not a readable weights file"),
        (no_file, UserError, r"TEACHER\.CHECKPOINT: .*nowhere\.pt"),
        (a_video, CheckpointError, r"TEACHER\.CHECKPOINT: .*t\.mp4"),
        (no_folder, DataError, r"TEACHER\.SCORES: no results at .*nowhere/results\.json"),
        (no_results, DataError, r"TEACHER\.SCORES: no results at .*said/results\.json"),
        (no_scores, DataError, r"TEACHER\.SCORES: cannot read the scores .*scores\.npz"),
        (damaged_scores, DataError, r"TEACHER\.SCORES: cannot read the scores .*scores\.npz"),
        (flipped_bit_in_scores, DataError, r"TEACHER\.SCORES: cannot read the scores .*CRC"),
        (scores_of_another_shape, DataError, r"float32 of the shape \[16, 8\].*\[16, 2, 8\] logits"),
        (infinite_scores, DataError, r"TEACHER\.SCORES: .*not finite"),
        (backwards, DataError, r"TEACHER\.SCORES: .*played backwards"),
        (names_twice, DataError, r"several videos called train/00000\.mp4"),
        (other_names_of_scores, CheckpointError, r"not the same ones: .*only in the teacher: 'motion 0'"),
        (of_another_list, DataError, r"no logits of 16 of 16 .*TEST\.SPLIT train"),
    ],
)  # fmt: skip
def test_teachers_that_cannot_be_used(tiny, data, best, teachers, tmp_path, make, error, message):
    with pytest.raises(error, match=message) as found:
        lessons(tiny(), data, *make(best, teachers, tmp_path))
    assert "\n" not in str(found.value)


def test_published_weights_are_known_to_take_their_input():
    protocol = protocol_of_teacher(Weights("weights/uniformer_small_k400_16x4.pth", {}))
    assert (protocol.sampling.num_frames, protocol.views.crop_size) == (16, 224)


def test_a_task_that_cannot_learn_from_a_teacher(tiny, data, best, monkeypatch):
    monkeypatch.setattr(SingleLabel, "has_distillation", False)
    with pytest.raises(
        ConfigError, match=r"TRAIN\.TASK single-label has no way to learn from a te"
    ):
        lessons(tiny(), data, BEST, best)


def test_through_the_command_it_is_one_line(tiny, best, teachers, tmp_path, call):
    (tmp_path / "empty.yaml").write_text("")
    key, value = other_classes(best, teachers, tmp_path)
    status, _, err = call("run", "--cfg", tmp_path / "empty.yaml", *tiny(), key, value)
    assert status == 2 and "Traceback" not in err
    assert err.strip().splitlines()[-1].startswith("error: the teacher")
    assert not (tmp_path / "run/last.pt").exists()


def test_one_teacher_at_most_and_settings_without_one(tiny, best, teachers, caplog):
    with pytest.raises(ConfigError, match=r"are both set, and a training has one teacher"):
        load_config(overrides=[*tiny(), BEST, str(best), SCORES, str(teachers / "said")])
    with pytest.raises(ConfigError, match=r"TEACHER\.WEIGHT is 0\.0; it must be .*above 0"):
        load_config(overrides=[*tiny(), BEST, str(best), "TEACHER.WEIGHT", "0.0"])
    go(tiny(), "TEACHER.WEIGHT", 0.3, *SHORT)
    assert "no effect: TEACHER.WEIGHT 0.3 (TEACHER.CHECKPOINT is empty and TEACHER" in caplog.text


@pytest.mark.parametrize("kind", [BEST, SCORES])
def test_resume_equals_uninterrupted(tiny, best, teachers, tmp_path, interrupt_after, kind):
    given = (kind, best if kind == BEST else teachers / "said", *NO_TEST)
    go(tiny(), *given, "OUTPUT_DIR", tmp_path / "whole")
    with interrupt_after(3), pytest.raises(Interrupted):
        go(tiny(), *given, "OUTPUT_DIR", tmp_path / "parts")
    go(tiny(), *given, "OUTPUT_DIR", tmp_path / "parts")
    last = [read_weights(tmp_path / name / "last.pt") for name in ("whole", "parts")]
    assert_same(last[0].state, last[1].state)
    assert_same(last[0].training, last[1].training)


@pytest.mark.slow  # as any run does: a teacher has no state
def test_killed_in_mid_run_it_goes_on_to_the_same_weights(tiny, best, tmp_path):
    (tmp_path / "empty.yaml").write_text("")
    given = [
        *tiny(SOLVER__MAX_EPOCH=6, TRAIN__CHECKPOINT_MINUTES=0, TRAIN__EVAL_PERIOD=0),
        *(BEST, str(best), *NO_TEST),
    ]
    command = [ROOT / "tools/run_net.py", "--cfg", tmp_path / "empty.yaml", *given]
    process = alone(command, tmp_path / "log").process
    log, deadline = tmp_path / "run/metrics.jsonl", time.monotonic() + 60
    while not (log.exists() and len(lines(log.parent)) > 4) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    stopped = read_weights(tmp_path / "run/last.pt").training["progress"]
    assert 0 < stopped["epoch"] * 4 + stopped["step"] < 24
    go(given, "TRAIN.CHECKPOINT_MINUTES", "10")
    go(given, "TRAIN.CHECKPOINT_MINUTES", "10", "OUTPUT_DIR", tmp_path / "whole")
    parts, whole = (
        read_weights(folder / "last.pt") for folder in (tmp_path / "run", tmp_path / "whole")
    )
    assert_same(parts.state, whole.state)
    assert_same(parts.training["optimizer"], whole.training["optimizer"])


def test_a_run_does_not_go_on_with_another_teacher(tiny, best, tmp_path, interrupt_after):
    teacher = tmp_path / "teacher.pt"
    shutil.copy(best, teacher)
    with interrupt_after(3), pytest.raises(Interrupted):
        go(tiny(), BEST, teacher, *NO_TEST)
    weights = read_weights(best)
    state = {key: value * 1.5 if "head" in key else value for key, value in weights.state.items()}
    write_checkpoint(teacher, state, weights.metadata)
    for extra in ({}, {"from_best": True}):
        if extra:
            shutil.copy(tmp_path / "run/last.pt", tmp_path / "run/best.pt")
        with pytest.raises(
            ConfigError, match=r"whose teacher, .*teacher\.pt, had the SHA-256 \w{12}"
        ):
            run(load_config(overrides=[*tiny(), BEST, str(teacher), *NO_TEST]), "tiny", **extra)
    with pytest.raises(ConfigError, match=r"TEACHER\.CHECKPOINT was '.*', is ''"):
        go(tiny(), *NO_TEST)
    shutil.copy(best, teacher)
    go(tiny(), BEST, teacher, *NO_TEST)


def test_a_finished_run_needs_its_teacher_no_more(tiny, best, tmp_path, caplog):
    teacher = tmp_path / "teacher.pt"
    shutil.copy(best, teacher)
    go(tiny(), BEST, teacher, *NO_TEST)
    teacher.unlink()
    caplog.set_level(logging.INFO)
    go(tiny(), BEST, teacher)
    assert "Training is finished" in caplog.text


def test_several_labels_learn_from_both_kinds(tiny, demo, tmp_path):
    for split, count in (("train", 16), ("val", 8), ("test", 8)):
        rows = [
            f"{demo}/{split}/{i:05d}.mp4,{('0 1', '0', '1 2', '')[i % 4]}" for i in range(count)
        ]
        (tmp_path / f"{split}.csv").write_text("\n".join(["path,label", *rows]))
    (tmp_path / "classes.txt").write_text("turn left\nturn right\nmoves\n")
    given = tiny(
        DATA__PATH_TO_DATA_DIR=tmp_path, TRAIN__TASK="multi-label", DATA__FLIP="swap-labels"
    )
    go(given, *SHORT, "OUTPUT_DIR", tmp_path / "teacher")
    best = tmp_path / "teacher/best.pt"
    go(given, "TRAIN.ENABLE", "False", "TEST.SPLIT", "train", "TEST.CHECKPOINT_FILE_PATH", best,
       "OUTPUT_DIR", tmp_path / "said")  # fmt: skip
    for name, teacher in (("live", (BEST, best)), ("stored", (SCORES, tmp_path / "said"))):
        go(given, *teacher, *SHORT, "OUTPUT_DIR", tmp_path / name)
        assert all(line["distillation_loss"] > 0 for line in lines(tmp_path / name) if "lr" in line)

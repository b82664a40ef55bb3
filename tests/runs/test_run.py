"""The whole story on a tiny model: what is written, run again, refused, and kept."""

import json

import numpy as np
import pytest
import torch
from tiny_run import copy_run, tiny_overrides

from uniformer_video import memory
from uniformer_video.config.settings import load_config
from uniformer_video.errors import CheckpointError, ConfigError, DataError
from uniformer_video.inference.predictor import Predictor
from uniformer_video.inference.records import records_at
from uniformer_video.models.uniformer import UniFormer
from uniformer_video.runs import build_model, build_training
from uniformer_video.runs.build_data import build_data
from uniformer_video.runs.run import run

OPPOSITES = "[[0,1],[2,3],[4,5],[6,7]]"


def go(overrides, **changes):
    extra = [
        part for key, value in changes.items() for part in (key.replace("__", "."), str(value))
    ]
    return run(load_config(overrides=[*overrides, *extra]), "tiny")


@pytest.fixture(scope="module")
def template(demo, tmp_path_factory):
    """The folder of a finished run, to be left unchanged."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert go(tiny_overrides(demo, folder)) == folder
    return folder


@pytest.fixture
def finished(template, tiny, tmp_path):
    """A copy of a finished run; returns its overrides."""
    copy_run(template, tmp_path / "run")
    return tiny()


def results(folder):
    return json.loads((folder / "results.json").read_text())


def test_everything_a_run_leaves(template, demo):
    folder = template
    names = {path.name for path in folder.iterdir()}
    assert {
        ".lock",
        "config.yaml",
        "metrics.jsonl",
        "last.pt",
        "previous.pt",
        "best.pt",
        "results.json",
        "scores.npz",
        "strips.npz",
        "report.html",
    } == names
    record = results(folder)
    assert record["summary"]["videos"] == record["summary"]["decoded"] == 8
    assert record["protocol"]["num_clips"] == 2
    assert record["model"]["checkpoint_sha256"]
    assert record["training"]["epochs"] == 2
    (spent,) = record["training"]["costs"]["spent"]
    assert spent["seconds"] == record["training"]["seconds"] and spent["devices"] > 0
    assert record["training"]["costs"]["epoch_seconds"] > 0
    assert record["data"]["name"] == demo.name and record["data"]["split"] == "test"
    changed = {row["key"] for row in record["changed_settings"]["command_line"]}
    assert {"SOLVER.MAX_EPOCH", "DATA.PATH_TO_DATA_DIR"} <= changed and record["differs"] == []
    with np.load(folder / "scores.npz") as scores:
        assert scores["scores"].shape == (8, 2, 8)
        assert scores["labels"].tolist() == list(range(8))
        right = (scores["scores"].mean(1).argmax(1) == scores["labels"]).sum()
    assert right == record["summary"]["top1"]["correct"]
    assert load_config(folder / "config.yaml") == load_config(
        overrides=tiny_overrides(demo, folder)
    )


def test_the_licence_of_the_videos_may_be_told_later(finished, tmp_path):
    folder = tmp_path / "run"
    assert results(folder)["data"]["license"] == ""
    tested = (folder / "scores.npz").stat().st_mtime_ns
    go([*finished, "DATA.LICENSE", "CC BY 4.0"])
    assert results(folder)["data"]["license"] == "CC BY 4.0"
    assert "CC BY 4.0" in (folder / "report.html").read_text("utf-8")
    assert (folder / "scores.npz").stat().st_mtime_ns == tested
    go(finished)  # it stays
    assert results(folder)["data"]["license"] == "CC BY 4.0"


def test_a_finished_run_reports_again_without_training_or_testing(finished, tmp_path, caplog):
    caplog.set_level("INFO")
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()}
    (tmp_path / "run" / "report.html").unlink()
    (tmp_path / "run" / ".last.pt.0123abcd.tmp").write_bytes(b"left by a killed process")
    assert go(finished) == tmp_path / "run"
    assert not list((tmp_path / "run").glob(".*.tmp"))
    assert "Training is finished" in caplog.text
    assert "tested already" in caplog.text
    assert (tmp_path / "run" / "report.html").exists()
    for name in ("last.pt", "best.pt", "results.json", "metrics.jsonl"):
        assert (tmp_path / "run" / name).stat().st_mtime_ns == before[name]


def test_another_config_is_refused_and_nothing_is_touched(finished, tmp_path):
    before = (tmp_path / "run" / "config.yaml").read_text()
    with pytest.raises(ConfigError, match=r"SOLVER\.BASE_LR was 0\.001, is 0\.002.*OUTPUT_DIR"):
        go(finished, SOLVER__BASE_LR="2e-3")
    assert (tmp_path / "run" / "config.yaml").read_text() == before


def test_other_test_settings_get_a_folder_of_their_own(finished, tmp_path):
    first = (tmp_path / "run" / "results.json").read_text()
    other = go(finished, TEST__NUM_ENSEMBLE_VIEWS=3, TRAIN__ENABLE=False)
    assert other.parent == tmp_path / "run"
    assert results(other)["protocol"]["num_clips"] == 3
    assert go(finished, TEST__NUM_ENSEMBLE_VIEWS=3, TRAIN__ENABLE=False) == other
    assert (tmp_path / "run" / "results.json").read_text() == first


def test_backwards_in_a_test_run(finished, tmp_path):
    backwards = {"DATA__REVERSE_FRAMES": True, "DATA__OPPOSITE_CLASS_PAIRS": OPPOSITES}
    record = results(go(finished, TRAIN__ENABLE=False, **backwards))
    assert record["playback"] == "reverse"
    motion = record["motion"]
    assert motion["opposites"]["move left"] == "move right"
    checked = results(
        go(
            finished,
            TRAIN__ENABLE=False,
            TEST__MOTION_CHECK=True,
            DATA__OPPOSITE_CLASS_PAIRS=OPPOSITES,
        )
    )
    assert checked["motion"] == motion
    assert checked["summary"]["top1"]["correct"] == motion["forward"]["correct"]
    assert record["summary"]["top1"]["correct"] == motion["reversed_original"]["correct"]


def test_broken_test_videos_are_listed_and_never_replaced(finished, tmp_path, demo, caplog):
    caplog.set_level("INFO")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    lines = [f"{demo}/test/{i:05d}.mp4,{i}" for i in range(8)]
    (tmp_path / "test.csv").write_text("\n".join([*lines, "bad.mp4,0", "absent.mp4,1"]))
    folder = go(finished, TRAIN__ENABLE=False, DATA__PATH_TO_DATA_DIR=tmp_path)
    record = results(folder)
    assert record["summary"]["failed"] == 2
    assert record["summary"]["top1"]["of"] == 8
    assert record["summary"]["top1_all"]["of"] == 10
    assert [failure["name"] for failure in record["failures"]] == ["bad.mp4", "absent.mp4"]
    assert "1 of 10 test videos do not exist" in record["notes"][0]
    assert "failed: " in caplog.text
    for name in ("bad.mp4", "absent.mp4"):  # the second where the list is read
        assert caplog.text.count(name) == 1


def test_classes_in_another_order_are_mapped_by_name(finished, tmp_path, demo):
    names = (demo / "classes.txt").read_text().split("\n")[:8]
    order = [3, 1, 4, 0, 5, 2, 7, 6]
    (tmp_path / "classes.txt").write_text("\n".join(names[i] for i in order))
    lines = [f"{demo}/test/{i:05d}.mp4,{order.index(i)}" for i in range(8)]
    (tmp_path / "test.csv").write_text("\n".join(lines))
    folder = go(finished, TRAIN__ENABLE=False, DATA__PATH_TO_DATA_DIR=tmp_path)
    assert results(folder)["summary"] == results(tmp_path / "run")["summary"]
    assert "mapped by name" in results(folder)["notes"][0]
    (tmp_path / "classes.txt").write_text("\n".join(["swim", *names[1:]]))
    with pytest.raises(CheckpointError, match="only in the data: 'swim'"):
        go(finished, TRAIN__ENABLE=False, DATA__PATH_TO_DATA_DIR=tmp_path)


def test_a_run_does_not_go_on_with_another_training_list(finished, tmp_path, demo):
    lines = [f"{demo}/train/{i:05d}.mp4,{i % 8}" for i in range(15)]
    (tmp_path / "train.csv").write_text("\n".join(lines))
    (tmp_path / "val.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match="the training list is not the one"):
        go(finished, DATA__PATH_TO_DATA_DIR=tmp_path)


def test_evaluation_refuses_a_head_of_other_classes(finished, tmp_path, demo):
    (tmp_path / "test.csv").write_text(f"{demo}/test/00000.mp4,0\n")
    with pytest.raises(CheckpointError, match="8 classes apart and the data has 5"):
        go(finished, TRAIN__ENABLE=False, DATA__PATH_TO_DATA_DIR=tmp_path, MODEL__NUM_CLASSES=5)


@pytest.fixture
def allocator(monkeypatch):
    """What was asked of glibc's."""
    asked = []
    monkeypatch.setattr(memory, "_set_allocator", asked.append)
    return asked


def test_fine_tuning_from_a_finished_run_on_a_folder(finished, tmp_path, demo, caplog, allocator):
    caplog.set_level("INFO")
    for label, name in ((0, "left"), (1, "right"), (6, "turn")):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for i in (label, label + 8):
            source = demo / "train" / f"{i:05d}.mp4"
            (tmp_path / "mine" / name / f"{i}.mp4").write_bytes(source.read_bytes())
    folder = go(
        finished,
        TRAIN__DATASET="folder",
        DATA__PATH_TO_DATA_DIR=tmp_path / "mine",
        UNIFORMER__PRETRAIN_NAME=tmp_path / "run" / "best.pt",
        TRAIN__BATCH_SIZE=3,
        OUTPUT_DIR=tmp_path / "tuned",
    )
    assert "classifier replaced" in caplog.text
    assert results(folder)["class_names"] == ["left", "right", "turn"]
    on_cpu = not torch.cuda.is_available()
    assert (
        allocator == [memory._KEEPING, memory._GIVING_BACK] * 2 * on_cpu
    )  # for training, and test


def test_training_starts_from_image_weights(tiny, tmp_path, caplog):
    caplog.set_level("INFO")
    torch.manual_seed(0)
    image = UniFormer(10, [8, 16, 16, 32], [1, 1, 1, 1], 8, ndim=2)
    torch.save({"model": image.state_dict()}, tmp_path / "image.pth")
    cfg = load_config(overrides=tiny(UNIFORMER__PRETRAIN_NAME=tmp_path / "image.pth"))
    model, report = build_model.build_model(cfg, 8)
    assert any("inflated from 2D to 3D (average)" in line for line in report.lines())
    kernel = model.blocks1[0].attn.weight
    assert kernel.shape[2:] == (3, 5, 5)
    torch.testing.assert_close(kernel.sum(2), image.blocks1[0].attn.weight)
    go(tiny(UNIFORMER__PRETRAIN_NAME=tmp_path / "image.pth", SOLVER__MAX_EPOCH=2))
    assert "classifier replaced" in caplog.text


def test_kernel_conflicts_name_both_and_the_remedy(finished, tmp_path):
    start = {"UNIFORMER__PRETRAIN_NAME": tmp_path / "run" / "best.pt", "OUTPUT_DIR": tmp_path / "b"}
    with pytest.raises(CheckpointError, match=r"\[3, 5, 5\].*\[5, 5, 5\].*ADAPT_KERNEL"):
        go(finished, UNIFORMER__LOCAL_KERNEL="[5,5,5]", **start)
    go(finished, UNIFORMER__LOCAL_KERNEL="[5,5,5]", UNIFORMER__ADAPT_KERNEL=True, **start)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"DATA__PATH_TO_DATA_DIR": ""}, ConfigError, "PATH_TO_DATA_DIR is not set"),
        ({"DATA__PATH_TO_DATA_DIR": "nowhere"}, DataError, "not prepared: .*\n.*\n.*video guide"),
        ({"TRAIN__DATASET": "folder", "DATA__PATH_TO_DATA_DIR": "nowhere"}, DataError, "no folder"),
        ({"MODEL__NUM_CLASSES": 7}, ConfigError, "7 and there are 8 class names"),
        ({"MODEL__MODEL_NAME": "uniformer_z"}, ConfigError, "unknown model"),
        ({"UNIFORMER__PRETRAIN_NAME": "no.pth"}, CheckpointError, r"no weights file no\.pth"),
        ({"TRAIN__BATCH_SIZE": 40}, ConfigError, "the training list has 16"),
        ({"DATA__FLIP_CLASS_PAIRS": "[[jump,run]]"}, ConfigError, "names 'jump'"),
        ({"DATA__PATH_PREFIX": "/nowhere"}, DataError, "none of the 16 train videos exist"),
        ({"TEST__CHECKPOINT_FILE_PATH": "no.pt"}, CheckpointError, r"no weights file no\.pt"),
        ({"DATA__CLASS_NAMES": "no.txt"}, DataError, r"DATA\.CLASS_NAMES no\.txt"),
        ({"DATA__FLIP_CLASS_PAIRS": "[[0,1],[1,2]]"}, ConfigError, "twice"),
        ({"AUG__AA_TYPE": "autoaugment"}, ConfigError, r"AUG\.AA_TYPE"),
        ({"TRAIN__PRECISION": "fp16"}, ConfigError, "CUDA"),
        ({"TRAIN__ENABLE": False}, CheckpointError, r"no best\.pt to test"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_done(tiny, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        go(tiny(), **changes)
    assert not (tmp_path / "run" / "last.pt").exists()


def class_folders(root, demo, *parts):
    for part in parts:
        for label, name in enumerate(("left", "right")):
            (root / part / name).mkdir(parents=True)
            for i in (label, label + 8):
                source = demo / "train" / f"{i:05d}.mp4"
                (root / part / name / f"{part or 'all'}{i}.mp4").write_bytes(source.read_bytes())
    return root


def folder_data(tiny, root):
    return build_data(
        load_config(
            overrides=[*tiny(), "TRAIN.DATASET", "folder", "DATA.PATH_TO_DATA_DIR", str(root)]
        )
    )


@pytest.mark.parametrize(
    ("parts", "counts"),
    [
        (("",), (2, 2, 2)),
        (("train",), (2, 2, 2)),
        (("train", "val"), (4, 4, 4)),
        (("train", "test"), (2, 2, 4)),
        (("train", "val", "test"), (4, 4, 4)),
    ],
)
def test_layouts_of_a_folder_of_videos(tiny, tmp_path, demo, parts, counts):
    data = folder_data(tiny, class_folders(tmp_path / "videos", demo, *parts))
    assert data.class_names == ["left", "right"]
    assert (len(data.train), len(data.val), len(data.test)) == counts
    assert not {r.path for r in data.train} & {r.path for r in data.val + data.test}


def test_parts_are_not_taken_for_classes(tiny, tmp_path, demo):
    with pytest.raises(DataError, match="a folder validation and none called train"):
        folder_data(tiny, class_folders(tmp_path / "videos", demo, "training", "validation"))
    (tmp_path / "videos" / "validation").rename(tmp_path / "gone")
    with pytest.raises(DataError, match="only one class, 'training'"):
        folder_data(tiny, tmp_path / "videos")


def test_lists_that_overlap_are_pointed_out(tiny, tmp_path, demo):
    line = f"{demo}/train/00000.mp4,0\n{demo}/train/00001.mp4,1\n"
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").write_text(line)
    data = build_data(load_config(overrides=tiny(DATA__PATH_TO_DATA_DIR=tmp_path)))
    assert "2 of 2 val videos are train videos too." in data.notes


def test_weights_that_are_not_finite_are_refused(finished, tmp_path):
    weights = torch.load(tmp_path / "run" / "best.pt", weights_only=True)
    weights["model"]["head.weight"][0, 0] = float("nan")
    torch.save(weights, tmp_path / "nan.pt")
    nan = {"TEST__CHECKPOINT_FILE_PATH": tmp_path / "nan.pt", "TRAIN__ENABLE": False}
    with pytest.raises(CheckpointError, match=r"not finite, in head\.weight"):
        go(finished, **nan)


def test_a_test_without_one_decoded_video_is_an_error(finished, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "test.csv").write_text("bad.mp4,0\n")
    with pytest.raises(DataError, match="none of the test videos can be decoded"):
        go(finished, TRAIN__ENABLE=False, DATA__PATH_TO_DATA_DIR=tmp_path)


@pytest.mark.parametrize("content", [b"", b"a: [b", b"hello", b"\xff\x00"])
@pytest.mark.parametrize("name", ["config.yaml", "results.json", "metrics.jsonl", "last.pt"])
def test_damaged_files_in_the_folder_never_give_a_traceback(finished, tmp_path, name, content):
    (tmp_path / "run" / name).write_bytes(content)
    (tmp_path / "run" / "previous.pt").unlink()
    if name != "last.pt":  # the settings are in last.pt too
        assert go(finished) == tmp_path / "run"
    else:
        with pytest.raises((ConfigError, CheckpointError), match="damaged"):
            go(finished)
        assert (tmp_path / "run" / name).read_bytes() == content


def test_prediction_equals_the_test(finished, tmp_path, demo):
    predictor = Predictor.from_checkpoint(tmp_path / "run" / "best.pt")
    record = results(tmp_path / "run")
    for video in record["videos"][:3]:
        top = predictor(video["path"]).top(5)
        assert [name for name, _ in top] == [
            record["class_names"][entry["class"]] for entry in video["top5"]
        ]
        expected = [entry["score"] for entry in video["top5"]]
        assert [score for _, score in top] == pytest.approx(expected, abs=1e-4)
    assert len(records_at([demo / "test"])[0]) == 8
    with pytest.raises(DataError, match="holds no videos"):
        records_at([tmp_path / "run"])


def test_prediction_needs_a_checkpoint_that_says_how(tmp_path):
    torch.save({"head.weight": torch.zeros(2, 2)}, tmp_path / "bare.pth")
    with pytest.raises(CheckpointError, match="does not record how"):
        Predictor.from_checkpoint(tmp_path / "bare.pth")


def test_published_batches_are_kept_by_accumulation(tiny, caplog):
    caplog.set_level("INFO")
    go(tiny(NUM_GPUS=2, TEST__ENABLE=False, SOLVER__MAX_EPOCH=1, SOLVER__WARMUP_EPOCHS=0))
    assert "gradients accumulated" in caplog.text
    assert "torchrun --nproc_per_node 2" in caplog.text


def test_reading_the_config_of_a_run_gives_its_objects(tiny):
    cfg = load_config(overrides=tiny(NUM_SHARDS=4, SOLVER__BASE_LR_SCALE_NUM_SHARDS=True))
    schedule = build_training.build_schedule(cfg)
    assert schedule.base_lr == pytest.approx(4e-3)
    assert schedule.end_lr == pytest.approx(4e-6)

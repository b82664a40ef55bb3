"""Folds through the commands: what each run trains on and tests, and what `crossval` joins."""

import json
import shutil
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pages import Page
from processes import ROOT, Launch
from tiny_run import TINY

import uniformer_video as uv
from uniformer_video.config.settings import load_config
from uniformer_video.errors import AbsentError, ConfigError, DataError
from uniformer_video.evaluation.strips import Strips
from uniformer_video.runs import crossval
from uniformer_video.runs.build_data import build_data
from uniformer_video.runs.run import run

FAST = {
    **TINY,
    "SOLVER.MAX_EPOCH": "1",
    "SOLVER.WARMUP_EPOCHS": "0",
    "TEST.NUM_ENSEMBLE_VIEWS": "1",
}


@pytest.fixture(scope="module")
def grouped(demo, tmp_path_factory):
    """A folder with one list of all demo videos, four of each class, in groups a to h; one has no group."""
    folder = tmp_path_factory.mktemp("grouped")
    lines = [
        f"{demo}/{split}/{line}"
        for split in ("train", "val", "test")
        for line in [
            row.partition("/")[2] for row in (demo / f"{split}.csv").read_text().splitlines()
        ]
    ]
    rows = [f"{line},{'abcdefgh'[(i * 5 // 8) % 8]}" for i, line in enumerate(lines)]
    rows[7] = rows[7].rpartition(",")[0] + ","
    (folder / "train.csv").write_text("\n".join(["path,label,group", *rows]))
    (folder / "classes.txt").write_text((demo / "classes.txt").read_text())
    return folder


def words(data, output, **changes):
    values = {**FAST, "DATA.PATH_TO_DATA_DIR": data, "OUTPUT_DIR": output}
    values |= {key.replace("__", "."): value for key, value in changes.items()}
    return [str(part) for pair in values.items() for part in pair]


def files(folder):
    """The times of the files that hold finished work."""
    names = ("last.pt", "best.pt", "results.json", "scores.npz")
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name in names}


@pytest.fixture(scope="module")
def validated(grouped, tmp_path_factory):
    """The folder of a finished cross-validation of three folds."""
    folder = tmp_path_factory.mktemp("crossval") / "cv"
    uv.crossval(load_config(overrides=words(grouped, folder, DATA__FOLDS=3)))
    return folder


# One fold


def data_of(folder, **settings):
    return build_data(load_config(overrides=words(folder, "unused", **settings)))


def test_every_video_is_tested_once_and_never_trained_on_or_validated_in_its_fold(demo):
    tested = []
    for fold in range(4):
        data = data_of(demo, DATA__FOLDS=4, DATA__FOLD=fold)
        parts = [{r.path for r in part} for part in (data.train, data.val, data.test)]
        assert not parts[0] & parts[1] and not (parts[0] | parts[1]) & parts[2]
        assert Counter(r.label for r in data.test) == dict.fromkeys(range(8), 1)
        tested += [r.path for r in data.test]
        assert data.notes[0] == (
            f"Fold {fold} of 0 to 3: 8 of 32 videos of the lists train, val, test are tested, "
            f"{len(data.val)} of the others validate."
        )
    assert len(set(tested)) == len(tested) == 32


def test_the_seed_chooses_what_validates_and_not_the_folds(demo):
    first, second = (data_of(demo, DATA__FOLDS=2, RNG_SEED=seed) for seed in (0, 1))
    assert first.test == second.test and first.val != second.val
    alone = data_of(demo, DATA__FOLDS=2, TRAIN__EVAL_PERIOD=0)
    assert not alone.val and len(alone.train) == 16


@pytest.mark.parametrize("split", ["train", "val"])
def test_another_list_of_a_fold_is_tested_as_training_has_it(demo, split):
    trained = data_of(demo, DATA__FOLDS=4, DATA__FOLD=1)
    tested = data_of(demo, DATA__FOLDS=4, DATA__FOLD=1, TRAIN__ENABLE=False, TEST__SPLIT=split)
    assert tested.test == getattr(trained, split) and not tested.train
    assert tested.notes[0] == (
        "Fold 1 of 0 to 3: 8 of 32 videos of the lists train, val, test are its test list, "
        f"{len(trained.val)} of the others validate."
    )
    assert tested.notes[-1] == f"The videos tested are those of the {split} list (TEST.SPLIT)."


def test_without_a_share_to_validate_on_the_last_weights_are_tested(demo, tmp_path, caplog):
    caplog.set_level("INFO")
    chosen = words(demo, tmp_path / "run", DATA__FOLDS=2, DATA__VAL_RATIO=0)
    run(load_config(overrides=chosen), "tiny")
    assert "nothing is validated, the last weights are tested" in caplog.text
    assert "16 train, 16 test" in caplog.text and "validation top-1" not in caplog.text
    again = run(load_config(overrides=chosen), "tiny")
    assert again == tmp_path / "run"


def test_groups_stay_on_one_side_also_of_a_folder_that_is_split(demo, tmp_path):
    for i in range(32):
        name = ("train", i) if i < 16 else ("val", i - 16) if i < 24 else ("test", i - 24)
        source = demo / name[0] / f"{name[1]:05d}.mp4"
        link = tmp_path / "videos" / f"class{i % 2}" / f"p{i // 4}_{i}.mp4"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.write_bytes(source.read_bytes())
    chosen = {"TRAIN__DATASET": "folder", "DATA__GROUP_PATTERN": r"(p\d+)_"}
    for seed in range(3):
        data = data_of(tmp_path / "videos", RNG_SEED=seed, TEST__ENABLE=False, **chosen)
        assert len(data.val) == 8 and len({r.group for r in data.val}) == 2
        assert not {r.group for r in data.train} & {r.group for r in data.val}
    folds = [
        data_of(tmp_path / "videos", DATA__FOLDS=4, DATA__FOLD=fold, **chosen) for fold in range(4)
    ]
    assert [len({r.group for r in data.test}) for data in folds] == [2] * 4
    assert "held out" not in "".join(folds[0].notes)
    with pytest.raises(DataError, match="is found in none of the 32 paths"):
        data_of(tmp_path / "videos", **{**chosen, "DATA__GROUP_PATTERN": "person"})
    with pytest.raises(DataError, match=r"leaves no videos for val: it holds 32 in 1 group"):
        data_of(tmp_path / "videos", **{**chosen, "DATA__GROUP_PATTERN": "(class|p)"})


def test_one_list_alone_makes_folds_and_one_video_in_two_lists_counts_once(demo, place):
    train = (demo / "train.csv").read_text().replace("train/", f"{demo}/train/")
    folder = place({"train.csv": train})
    chosen = {"DATA__FOLDS": 2, "DATA__VAL_RATIO": 0}
    assert "16 videos of the train list" in data_of(folder, **chosen).notes[0]
    place({"val.csv": train.splitlines()[0], "test.csv": train})
    data = data_of(folder, **chosen)
    assert "of 16 videos of the lists train, val, test" in data.notes[0]
    assert "17 videos of the lists train, val, test stand there twice" in data.notes[1]
    with pytest.raises(DataError, match="The videos are not prepared"):
        data_of(folder / "nowhere", DATA__FOLDS=2)


def test_folds_of_a_format_from_outside(own_registries, demo):
    def read(root, split, **_):
        if split == "val":
            raise DataError("no such part")
        if split == "test":
            raise FileNotFoundError(2, "No such file", "test.txt")
        records = [
            uv.VideoRecord(f"{demo}/train/{i:05d}.mp4", f"{i}", (i % 8,), group=f"g{i // 2}")
            for i in range(16)
        ]
        return uv.VideoList(records, uv.class_names("demo"))

    uv.register_format(uv.ListFormat("own", read, "nothing"))
    chosen = {"TRAIN__DATASET": "own", "DATA__FOLDS": 2, "DATA__VAL_RATIO": 0}
    data = data_of(demo, **chosen, DATA__FOLD=1)
    assert len(data.train) == len(data.test) == 8
    assert not {r.group for r in data.train} & {r.group for r in data.test}

    class Own(uv.VideoRecord):
        pass

    given = []
    uv.register_format(uv.ListFormat("wrong", lambda *_, **__: uv.VideoList(given), "nothing"))
    for record, message in (
        (uv.VideoRecord("a.mp4", "a.mp4", (0,), group=3), "the group 3; it is a text"),
        (uv.VideoRecord(Path("a"), "a.mp4", (0,)), r"the path PosixPath\('a'\); it is a text"),
        (Own("a", "a.mp4", (0,)), "as a Own; it is a VideoRecord itself"),
    ):
        given[:] = [record]
        with pytest.raises(ConfigError, match=rf"format wrong gives a\.mp4 {message}"):
            data_of(demo, TRAIN__DATASET="wrong")


def test_a_pattern_that_fits_no_path_counts_each_of_them_once(tmp_path):
    """Validation and test are one list here, and a training list may repeat its videos."""
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").write_text("a.mp4,0\na.mp4,0\nb.mp4,1\n")
    with pytest.raises(DataError, match=r"'zzz' is found in none of the 2 paths, such as 'a\.mp4'"):
        data_of(tmp_path, TRAIN__DATASET="kinetics", DATA__GROUP_PATTERN="zzz")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("DATA.FOLD 5 DATA.FOLDS 5", "DATA.FOLD is 5; with DATA.FOLDS 5 .* from 0 to 4"),
        ("DATA.FOLD 1", "DATA.FOLDS is 0, so there are no folds"),
        ("DATA.FOLDS 1", "leaves nothing to train on"),
        ("DATA.FOLDS -2", "DATA.FOLDS is -2; it must be a whole number"),
        ("DATA.GROUP_PATTERN (a", "'\\(a', which is no regular expression: missing \\)"),
        ("DATA.FOLDS 2 TEST.DATASET folder", "leave TEST.DATASET empty, or set DATA.FOLDS 0"),
    ],
)
def test_settings_that_are_no_folds(settings, message):
    with pytest.raises(ConfigError, match=message):
        load_config(overrides=settings.split())


# All of them


def test_the_joined_results_hold_every_video_once(validated, grouped):
    results = uv.Results.load(validated)
    folds = [uv.Results.load(validated / f"fold{fold}") for fold in range(3)]
    assert len(results.videos) == len({video["path"] for video in results.videos}) == 32
    assert results.summary["top1"]["correct"] == sum(f.summary["top1"]["correct"] for f in folds)
    assert results.scores.shape == (32, 1, 8) and np.isfinite(results.scores).all()
    for fold, own in enumerate(folds):
        places = [i for i, video in enumerate(results.videos) if video["fold"] == fold]
        assert [results.videos[i]["name"] for i in places] == [v["name"] for v in own.videos]
        np.testing.assert_array_equal(results.scores[places], own.scores)
        strips = Strips.load(validated / f"fold{fold}", len(places))
        joined = Strips.load(validated, 32)
        assert all(strips[i] == joined[place] != b"" for i, place in enumerate(places))
    crossval = results.crossval
    shares = [fold.summary["top1"]["value"] for fold in folds]
    assert [fold["figure"]["value"] for fold in crossval["folds"]] == shares
    assert crossval["mean"] == pytest.approx(np.mean(shares))
    assert crossval["deviation"] == pytest.approx(np.std(shares, ddof=1))
    assert results.notes[0].startswith("Groups by the column group: 8 groups of 31 videos")
    assert not any("of 0 to 2" in note for note in results.notes)
    assert folds[0].crossval is None and "top1" in repr(results)


def test_the_interval_takes_groups_and_no_group_is_parted(validated):
    results = uv.Results.load(validated)
    assert results.crossval["groups"] == 9
    sides = {(video.get("group", ""), video["fold"]) for video in results.videos}
    assert len([1 for group, _ in sides if group]) == 8
    top1 = results.summary["top1"]
    assert top1["low"] <= top1["value"] <= top1["high"]
    assert (top1["low"], top1["high"]) != tuple(
        results.summary["top1_all"][key] for key in ("low", "high")
    )


def test_the_page_shows_the_joined_figure_and_the_folds(validated):
    text = (validated / "report.html").read_text()
    page = Page(text)
    links = [value for name, value in page.attributes if name == "href"]
    assert links == [f"fold{fold}/report.html" for fold in range(3)]
    assert all((validated / link).is_file() for link in links)
    words = page.text
    assert "Cross-validation report" in words and "Spread over the folds" in words
    assert "takes 9 groups of videos as drawn at random" in words
    assert "Top-1 accuracy by fold" in words and "of 32 videos" in words
    assert "Cross-validation" not in (validated / "fold0" / "report.html").read_text()


def test_again_nothing_is_trained_or_tested(validated, grouped, call, tmp_path):
    before = {path: when for path, when in files(validated).items() if path.parent != validated}
    record = json.loads((validated / "results.json").read_text())
    (tmp_path / "c.yaml").write_text("")
    given = words(grouped, validated, DATA__FOLDS=3)
    status, _, err = call("crossval", "--cfg", tmp_path / "c.yaml", *given)
    assert status == 0 and err.count("Training is finished") == 3
    assert err.count("tested already") == 3 and "mean" in err.splitlines()[-3]
    after = {path: when for path, when in files(validated).items() if path.parent != validated}
    assert after == before
    again = json.loads((validated / "results.json").read_text())
    for key in ("created", "title"):
        record.pop(key), again.pop(key)
    assert again == record
    # what the report command makes of it is the same page
    page = (validated / "report.html").read_text()
    assert call("report", validated)[0] == 0
    assert (validated / "report.html").read_text() == page


def test_variants_are_joined_too_and_those_of_some_folds_are_named(validated, grouped, tmp_path):
    output = tmp_path / "cv"
    shutil.copytree(validated, output)
    moved = {"DATA__FOLDS": 3, "TEST__MOTION_CHECK": True}
    for folder in output.glob("fold*"):
        text = (folder / "config.yaml").read_text()
        (folder / "config.yaml").write_text(text.replace(str(validated), str(output)))
    only = words(grouped, output / "fold1", DATA__FOLDS=3, DATA__FOLD=1, TEST__ROBUSTNESS="[rate]")
    run(load_config(overrides=only), "one fold", show_bars=False)
    uv.crossval(load_config(overrides=words(grouped, output, **moved)))
    joined = uv.Results.load(output)
    parts = [uv.Results.load(output / f"fold{fold}").motion for fold in range(3)]
    assert joined.motion["videos"] == len(joined.videos)
    assert joined.motion["forward"] == joined.summary["top1"]  # with the interval of groups
    for key in ("forward", "reversed_original", "still"):
        assert joined.motion[key]["correct"] == sum(part[key]["correct"] for part in parts)
    assert "robustness" not in json.loads((output / "results.json").read_text())["analyses"]
    assert sum("they are left out here: rate;" in note for note in joined.notes) == 1
    with np.load(output / "variants.npz") as file:
        assert file["kinds"].tolist() == ["reversed", "still"]
        assert np.isfinite(file["scores"]).all() and file["scores"].shape[1] == len(joined.videos)


def undisturbed(folder, validated):
    """Whether the joined results in `folder` are those of `validated`."""
    ours, theirs = (uv.Results.load(one) for one in (folder, validated))
    np.testing.assert_array_equal(ours.scores, theirs.scores)
    return ours.summary == theirs.summary


def test_interrupted_in_a_fold_it_goes_on_there(
    validated, grouped, tmp_path, interrupt_after, call
):
    (tmp_path / "c.yaml").write_text("")
    given = ["crossval", "--cfg", tmp_path / "c.yaml"]
    given += words(grouped, tmp_path / "cv", DATA__FOLDS=3)
    with interrupt_after(7):  # of 4 steps a fold
        status, _, err = call(*given)
    assert status == 130 and "To go on, run the same command" in err and " crossval --cfg " in err
    assert (tmp_path / "cv" / "fold1" / "last.pt").is_file()
    assert not (tmp_path / "cv" / "fold2").exists()
    before = files(tmp_path / "cv" / "fold0")
    status, _, err = call(*given)
    assert status == 0 and "Resuming at epoch 0.75" in err
    assert files(tmp_path / "cv" / "fold0") == before
    assert undisturbed(tmp_path / "cv", validated)


@pytest.mark.slow
def test_killed_in_a_fold_it_goes_on_and_ends_as_if_undisturbed(validated, grouped, tmp_path):
    (tmp_path / "c.yaml").write_text("")
    given = words(grouped, tmp_path / "cv", DATA__FOLDS=3)
    command = ["-m", "uniformer_video", "crossval", "--cfg", tmp_path / "c.yaml", *given]
    launch = Launch([sys.executable, *command], tmp_path / "log", {"PYTHONPATH": ROOT})
    launch.wait_for(r"fold 2 of 0 to 2[\s\S]*Training 0")
    launch.kill()
    assert not (tmp_path / "cv" / "results.json").exists()
    before = files(tmp_path / "cv")
    assert {path.parent.name for path in before} >= {"fold0", "fold1"}
    uv.crossval(load_config(overrides=given))
    now = files(tmp_path / "cv")
    assert all(now[path] == when for path, when in before.items() if path.parent.name != "fold2")
    assert undisturbed(tmp_path / "cv", validated)


def test_folds_of_different_lengths_have_no_epochs_in_common():
    lengths = [SimpleNamespace(training={"epochs": n, "seed": 0, "seconds": 1.5}) for n in (4, 9)]
    assert crossval._training(lengths) == {"folds": 2, "seed": 0, "seconds": 3.0}
    assert crossval._training(lengths[:1] * 2)["epochs"] == 4


def test_what_crossval_refuses(validated, grouped, call, tmp_path):
    (tmp_path / "c.yaml").write_text("")

    def refused(output=tmp_path / "cv", **changes):
        given = words(grouped, output, **{"DATA__FOLDS": 3, **changes})
        status, _, err = call("crossval", "--cfg", tmp_path / "c.yaml", *given)
        assert status == 2 and err.startswith("error: ")
        return err

    assert "set DATA.FOLDS, such as DATA.FOLDS 5" in refused(DATA__FOLDS=0)
    assert "leave DATA.FOLD out" in refused(DATA__FOLD=1)
    assert "TEST.ENABLE is False" in refused(TEST__ENABLE=False)
    assert "TEST.SPLIT val asks for others" in refused(TEST__SPLIT="val")
    no_validation = {"DATA__VAL_RATIO": 0, "TRAIN__PATIENCE": 2, "SOLVER__MAX_EPOCH": 9}
    assert "set DATA.VAL_RATIO, such as 0.2" in refused(**no_validation)
    assert "names one file for all" in refused(TEST__CHECKPOINT_FILE_PATH="k400.pt")
    assert "leave it out, or give it to `run`, with DATA.FOLD" in refused(TEST__SPLIT="train")
    assert "holds a run of its own" in refused(validated / "fold0")
    with pytest.raises(ConfigError, match="holds a cross-validation; choose another"):
        run(load_config(overrides=words(grouped, validated, DATA__FOLDS=3)), "tiny")
    assert not (tmp_path / "cv").exists()
    given = words(grouped, validated, DATA__FOLDS=4)
    _, _, err = call("crossval", "--cfg", tmp_path / "c.yaml", *given)
    assert "DATA.FOLDS was 3, is 4" in err


def test_a_teacher_of_all_folds_is_told_of_in_the_log_and_the_results(
    validated, grouped, tmp_path, caplog
):
    teacher = validated / "fold0" / "best.pt"
    given = words(grouped, tmp_path / "cv", DATA__FOLDS=2, TEACHER__CHECKPOINT=teacher)
    uv.crossval(load_config(overrides=given))
    said = f"All folds learn from one teacher, {teacher}. If it was trained on what is tested here"
    assert caplog.text.count(said) == 1
    notes = json.loads((tmp_path / "cv/results.json").read_text())["notes"]
    assert [note.startswith(said) for note in notes].count(True) == 1


def test_folds_of_videos_with_several_labels_that_partly_fail(demo, tmp_path, place):
    lines = (demo / "train.csv").read_text().replace("train/", f"{demo}/train/").splitlines()
    lines = [f"{line} {(int(line[-1]) + 1) % 8}" for line in lines]
    lines = ["path,label", *lines, "broken.mp4,0 1"]
    folder = place({"data/train.csv": "\n".join(lines)}) / "data"
    (folder / "broken.mp4").write_bytes(b"no video")
    chosen = {"DATA__FOLDS": 2, "TRAIN__TASK": "multi-label", "DATA__VAL_RATIO": 0}
    chosen |= {"MODEL__NUM_CLASSES": 8, "DATA__MAX_BAD_RATIO": 0.5, "TEST__NUM_ENSEMBLE_VIEWS": 2}
    cfg = load_config(overrides=words(folder, tmp_path / "cv", **chosen))
    results = uv.crossval(cfg)
    assert results.summary["videos"] == 17 and results.summary["failed"] == 1
    assert [failure["name"] for failure in results.failures] == ["broken.mp4"]
    assert results.crossval["short"] == "mAP" and results.crossval["groups"] == 0
    assert [video.get("size") for video in results.videos] == [[72, 72]] * 16 + [None]
    folds = [uv.Results.load(tmp_path / f"cv/fold{fold}") for fold in range(2)]
    for key, count in (("decode_seconds", "videos"), ("model_seconds", "views")):
        parts = [fold.cost[key] * fold.cost[count] for fold in folds]
        assert results.cost[key] * results.cost[count] == pytest.approx(sum(parts))
    assert results.model["gflops_view"] == folds[0].model["gflops_view"]
    rows = results.analyses["views"]["rows"]
    assert [row["views"] for row in rows] == [1, 2]
    assert rows[1]["value"] == results.summary["map"]["value"]
    assert "Mean average precision by fold" in Page((tmp_path / "cv/report.html").read_text()).text


def test_an_absent_list_is_told_apart_from_a_wrong_one(demo, place):
    folder = place({"train.csv": f"{demo}/train/00000.mp4,0\n", "val.csv": "a.mp4\n"})
    with pytest.raises(DataError, match=r"val\.csv:1") as error:
        data_of(folder, DATA__FOLDS=2)
    assert not isinstance(error.value, AbsentError)

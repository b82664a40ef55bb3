"""A stored test scored again: what changes, what stays, what is said of it, what is refused."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from pages import MODEL, PROTOCOL
from stored_tests import settings

from uniformer_video.cli import main
from uniformer_video.errors import ConfigError, DataError
from uniformer_video.evaluation.parts import proportion
from uniformer_video.evaluation.record import Results
from uniformer_video.evaluation.results import build_results, save_results
from uniformer_video.runs.build_teacher import read_stored_logits
from uniformer_video.runs.calibrate import calibrate
from uniformer_video.runs.recipes import recipe_settings
from uniformer_video.runs.rescore import Choice, rescore
from uniformer_video.tasks.multi_label import MultiLabel
from uniformer_video.tasks.single_label import SingleLabel

NAMES = ["jump", "run, fast", "sit", "stand", "walk"]
VIDEOS, CLIPS, CROPS, CLASSES = 40, 4, 3, 5
FAILED = 7


def logits():
    scores = np.random.default_rng(0).normal(size=(VIDEOS, CLIPS * CROPS, CLASSES)) * 2
    scores[range(VIDEOS), :, np.arange(VIDEOS) % CLASSES] += 1
    scores[FAILED] = np.nan
    return scores.astype(np.float32)


def make_test(folder, task=None, labels=None, **changes):
    """The folder of a stored test; video i is of class i modulo 5, and the 7th failed."""
    task = task or SingleLabel()
    labels = [i % CLASSES for i in range(VIDEOS)] if labels is None else labels
    results = build_results(
        task=task,
        title="run",
        names=[f"{'ab'[i % 2]}/{i}.mp4" for i in range(VIDEOS)],
        paths=[f"/data/{'ab'[i % 2]}/{i}.mp4" for i in range(VIDEOS)],
        labels=labels,
        view_scores=logits(),
        class_names=NAMES,
        protocol=PROTOCOL.with_views(CLIPS, CROPS),
        model=MODEL,
        videos_sha256="d" * 64,
        failures={FAILED: "cut short"},
        **changes,
    )
    save_results(folder, results, logits(), task)
    return folder


def softmax(scores):
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.fixture
def run(tmp_path):
    return make_test(tmp_path / "run")


def digest(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def test_without_a_choice_everything_is_the_same_and_the_test_stays(run, tmp_path):
    before = digest(run)
    again = Results.load(rescore(run, tmp_path / "again"))
    first = Results.load(run)
    assert digest(run) == before
    for key in ("summary", "videos", "failures", "protocol", "class_names", "videos_sha256"):
        assert getattr(again, key) == getattr(first, key), key
    assert again.task_parts["per_class"] == first.task_parts["per_class"]
    np.testing.assert_array_equal(again.scores, first.scores)
    assert (
        again.title == "run, rescored"
        and again.rescored["results_sha256"] == before["results.json"]
    )
    assert again.rescored["scores_sha256"] == before["scores.npz"]
    assert "all of its views, classes and videos" in again.notes[0]
    assert (again.folder / "report.html").exists()
    twice = Results.load(rescore(again.folder, tmp_path / "twice"))
    assert twice.title == "run, rescored" and twice.summary == first.summary
    rescore(run, again.folder)  # over what it wrote itself


@pytest.mark.usefixtures("no_page")
def test_a_record_of_an_earlier_version_gets_what_it_lacks(run, tmp_path):
    record = json.loads((run / "results.json").read_text())
    whole = json.dumps(record["summary"])
    del record["summary"]["macro_f1"], record["summary"]["mean_class_accuracy_interval"]
    for video in record["videos"]:
        del video["true_score"]
    (run / "results.json").write_text(json.dumps(record))
    again = Results.load(rescore(run, tmp_path / "again"))
    assert json.dumps(again.summary) == whole and again.videos[0]["true_score"] is not None


@pytest.mark.usefixtures("no_page")
def test_fewer_views_by_another_score(run, tmp_path):
    out = rescore(run, tmp_path / "out", Choice(score="softmax", clips="2", crops="centre"))
    results = Results.load(out)
    assert results.protocol == replace(PROTOCOL.with_views(2, 1), score="softmax")
    views = logits().reshape(VIDEOS, CLIPS, CROPS, CLASSES)[:, [1, 3], 1]  # evenly spread
    np.testing.assert_array_equal(results.scores, views)
    good = np.arange(VIDEOS) != FAILED
    means = softmax(views[good].astype(float)).mean(axis=1)
    right = (means.argmax(1) == np.arange(VIDEOS)[good] % CLASSES).sum()
    assert results.summary["top1"] == proportion(right, VIDEOS - 1)
    assert results.videos[0]["top5"][0]["score"] == round(means[0].max(), 6)
    assert results.failures == Results.load(run).failures
    assert results.rescored["clips"] == [1, 3] and results.rescored["crops"] == [1]
    note = results.notes[0]
    assert "softmax in place of logits; clips 1, 3 of 0 to 3; crop 1 of 0 to 2" in note
    assert read_stored_logits(out)[1].shape == (VIDEOS, 2, CLASSES)


@pytest.mark.usefixtures("no_page")
@pytest.mark.parametrize(
    ("clips", "chosen"),
    [
        ("0,2", [0, 2]),
        ("2,", [2]),
        ("first", [0]),
        ("last", [3]),
        ("middle", [2]),
        ("all", [0, 1, 2, 3]),
    ],
)
def test_which_clips(run, tmp_path, clips, chosen):
    results = Results.load(rescore(run, tmp_path / "out", Choice(clips=clips)))
    assert results.rescored["clips"] == chosen and results.protocol.num_clips == len(chosen)
    expected = logits().reshape(VIDEOS, CLIPS, CROPS, CLASSES)[:, chosen]
    np.testing.assert_array_equal(results.scores, expected.reshape(VIDEOS, -1, CLASSES))


@pytest.mark.usefixtures("no_page")
def test_a_part_of_the_classes(run, tmp_path):
    out = rescore(run, tmp_path / "out", Choice(classes=["walk", "run, fast"]))
    results = Results.load(out)
    assert results.class_names == ["run, fast", "walk"]
    kept = [i for i in range(VIDEOS) if i % CLASSES in (1, 4)]
    assert [video["name"] for video in results.videos] == [f"{'ab'[i % 2]}/{i}.mp4" for i in kept]
    labels = np.array([i % CLASSES == 4 for i in kept], int)
    np.testing.assert_array_equal(np.load(out / "scores.npz")["labels"], labels)
    means = logits()[kept][:, :, [1, 4]].mean(1)
    right = (means.argmax(1) == labels).sum()
    assert results.summary["top1"] == proportion(right, len(kept))
    assert results.videos_sha256 != "d" * 64
    assert (
        "the scores of 3 of 5 classes are left out; 24 of 40 videos are left out, 24 of"
        in results.notes[0]
    )
    file = tmp_path / "names.txt"
    file.write_text("walk\nrun, fast\n")
    same = Results.load(rescore(run, tmp_path / "by_file", Choice(classes=[str(file)])))
    assert same.summary == results.summary
    listed = Results.load(rescore(run, tmp_path / "listed", Choice(classes=["sit, walk"])))
    assert listed.class_names == ["sit", "walk"]


@pytest.mark.usefixtures("no_page")
def test_a_part_of_the_videos(run, tmp_path, caplog):
    kept = [i for i in range(VIDEOS) if i % 2 == 1]
    results = Results.load(rescore(run, tmp_path / "out", Choice(videos=["b/*"])))
    assert [video["path"] for video in results.videos] == [f"/data/b/{i}.mp4" for i in kept]
    assert results.summary["failed"] == 1 and results.failures[0]["name"] == "b/7.mp4"
    right = logits()[kept].mean(1).argmax(1) == np.array(kept) % CLASSES
    assert results.summary["top1_all"] == proportion(
        right[np.array(kept) != FAILED].sum(), len(kept)
    )
    lists = {
        "plain.txt": "a/0.mp4\n/data/b/1.mp4\nlost.mp4\n",
        "labels.csv": "a/0.mp4,0\nb/1.mp4 1\nlost.mp4,3\n",
        "table.csv": "path,label,name\nx,0,a/0.mp4\n/data/b/1.mp4,1,y\nlost.mp4,1,lost.mp4\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        out = rescore(run, tmp_path / f"{name}.out", Choice(videos=[str(tmp_path / name)]))
        results = Results.load(out)
        assert [video["name"] for video in results.videos] == ["a/0.mp4", "b/1.mp4"]
        assert results.rescored["videos_not_in_the_test"][0].startswith("lost.mp4")
        assert (
            "1 entry of the lists of --videos is no video of the test: lost.mp4" in results.notes[1]
        )


@pytest.mark.usefixtures("no_page")
def test_costs_are_of_the_views_that_are_left(tmp_path):
    cost = {"device": "cpu", "threads": 2, "batch_size": 8, "processes": 1, "workers": 0}
    cost |= {"videos": 39, "decode_seconds": 0.2, "crop_seconds": 0.12}
    cost |= {"views": 468, "model_seconds": 0.05}
    run = make_test(tmp_path / "run", cost=cost)
    results = Results.load(rescore(run, tmp_path / "out", Choice(clips="2", crops="centre")))
    assert results.cost == {**cost, "crop_seconds": pytest.approx(0.12 * 2 / 12)}
    most = results.analyses["views"]["rows"][-1]
    before = Results.load(run).analyses["views"]["rows"]
    (same,) = [row for row in before if (row["clips"], row["crops"]) == (2, 1)]
    assert most["seconds"] == pytest.approx(same["seconds"]) and most["value"] == same["value"]


@pytest.mark.usefixtures("no_page")
def test_other_names(tmp_path):
    motion = {key: proportion(3, 4) for key in ("forward", "reversed_opposite")}
    motion |= {"reversed_original": proportion(1, 4), "still": proportion(1, 4)}
    run = make_test(tmp_path / "run", motion={**motion, "opposites": {"sit": "stand"}})
    file = tmp_path / "names.txt"
    file.write_text("one\ntwo\nthree\nfour\nfive\n")
    results = Results.load(rescore(run, tmp_path / "out", Choice(class_names=str(file))))
    assert results.class_names == ["one", "two", "three", "four", "five"]
    assert results.task_parts["per_class"][1]["name"] == "two"
    assert results.motion["opposites"] == {"three": "four"} and results.rescored["renamed"]
    fewer = Results.load(rescore(run, tmp_path / "fewer", Choice(class_names=str(file), clips="1")))
    assert fewer.motion is None and fewer.rescored["left_out"] == ["motion"]
    assert fewer.notes[1].endswith("do not tell: motion.")


def test_several_labels(tmp_path):
    metrics = pytest.importorskip("sklearn.metrics")
    labels = [tuple(sorted({i % CLASSES, i // 2 % CLASSES})) for i in range(VIDEOS)]
    run = make_test(tmp_path / "run", task=MultiLabel(), labels=labels)
    choice = Choice(score="sigmoid", clips="0,3", classes=["sit", "walk"])
    results = Results.load(rescore(run, tmp_path / "out", choice))
    assert len(results.videos) == VIDEOS  # those without these labels still count, as without any
    assert results.videos[4]["labels"] == [0, 1] and results.videos[0]["labels"] == []
    views = logits().reshape(VIDEOS, CLIPS, CROPS, CLASSES)[:, [0, 3]][..., [2, 4]].astype(float)
    good = np.arange(VIDEOS) != FAILED
    shares = (1 / (1 + np.exp(-views[good]))).mean((1, 2))
    truth = np.array([[c in labels[i] for c in (2, 4)] for i in range(VIDEOS)])[good]
    expected = metrics.average_precision_score(truth, shares, average="macro")
    assert results.summary["map"]["value"] == pytest.approx(expected, abs=1e-12)
    f1 = metrics.f1_score(truth, shares >= 0.5, average=None)
    assert results.summary["macro_f1"] == pytest.approx(f1.mean())
    assert results.summary["micro_f1"] == pytest.approx(
        metrics.f1_score(truth, shares >= 0.5, average="micro")
    )
    assert [row["f1"] for row in results.task_parts["per_class"]] == pytest.approx(list(f1))
    lost = sum(label in (0, 1, 3) for own in labels for label in own)
    assert f"the scores of 3 of 5 classes are left out, with {lost} labels" in results.notes[0]


def test_groups_keep_their_interval(run, tmp_path):
    record = json.loads((run / "results.json").read_text())
    for place, video in enumerate(record["videos"]):
        video |= {"fold": place % 2, "group": f"person {place // 8}"}
    record["crossval"] = {"figure": "top1"}
    (run / "results.json").write_text(json.dumps(record))
    results = Results.load(rescore(run, tmp_path / "out"))
    plain = proportion(results.summary["top1"]["correct"], VIDEOS - 1)
    assert results.summary["top1"]["low"] != plain["low"]
    assert results.rescored["groups"] == 5 and results.videos[9]["group"] == "person 1"
    assert results.crossval is None and "takes 5 groups of videos" in results.notes[1]
    assert results.notes[2].endswith("do not tell: crossval.")


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (
            Choice(clips="0"),
            "--clips asks for 0, and the test has 4 clips of each video; give a number from 1",
        ),
        (Choice(clips="5"), "--clips asks for 5"),
        (Choice(clips="0,4"), "--clips asks for clip 4"),
        (Choice(clips="-1"), "--clips asks for -1"),
        (Choice(clips=","), "--clips is ','"),
        (Choice(clips=""), "--clips is ''"),
        (Choice(crops=""), "--crops is ''"),
        (Choice(score=""), "--score is ''; allowed"),
        (Choice(clips="1,1"), "--clips 1,1 names a clip twice"),
        (Choice(crops="0,1"), "--crops 0,1 takes 2 crops; a test has 1 or 3"),
        (Choice(score="softmx"), "--score is 'softmx'; allowed: .*; did you mean 'softmax'"),
        (
            Choice(classes=["wlak", "sit"]),
            "'wlak' is none of the test's 5 classes.*did you mean 'walk'",
        ),
        (
            Choice(classes=["walk"]),
            "--classes leaves 1 class, and the task single-label takes 2 or more",
        ),
        (
            Choice(videos=["c/*"]),
            r"'c/\*' is no file, and no name or path of the 40 videos.*'a/0.mp4'",
        ),
        (Choice(videos=["b/7.mp4"]), "no video that could be decoded is left"),
        (
            Choice(videos=["a/0.mp4"], classes=["sit", "walk"]),
            "no video that could be decoded is left",
        ),
        (
            Choice(class_names="k400"),
            "--class-names k400 has 400 names, and the test has 5 classes",
        ),
        (Choice(class_names="nowhere.txt"), "--class-names nowhere.txt is not a file"),
    ],
)
def test_what_cannot_be_is_refused(run, tmp_path, choice, told):
    with pytest.raises((ConfigError, DataError), match=told):
        rescore(run, tmp_path / "out", choice)
    assert not (tmp_path / "out").exists()


def test_folders_of_others_are_refused(run, tmp_path):
    other = make_test(tmp_path / "other")
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "config.yaml").write_text("")
    (tmp_path / "file").write_text("")
    (tmp_path / "empty.txt").write_text("\n")
    for out, told in [(run, "is the test itself"), (other, "results of a test")]:
        with pytest.raises(ConfigError, match=told):
            rescore(run, out)
    for name, told in [("training", "holds a run"), ("file", "is a file")]:
        with pytest.raises(ConfigError, match=told):
            rescore(run, tmp_path / name)
    with pytest.raises(DataError, match="it holds nothing"):
        rescore(run, tmp_path / "out", Choice(videos=[str(tmp_path / "empty.txt")]))
    (run / "scores.npz").unlink()
    with pytest.raises(DataError, match="cannot read the scores"):
        rescore(run, tmp_path / "out")


def test_the_command(run, tmp_path, capsys):
    out = str(tmp_path / "out")
    options = ["--clips", "1", "--classes", "sit", "walk", "--videos", "a/*", "b/*"]
    assert main(["rescore", str(run), "--out", out, *options]) == 0
    assert "top-1" in capsys.readouterr().err
    assert Results.load(out).protocol.num_clips == 1
    assert main(["rescore", str(run), "--out", out, "--clips", "0"]) == 2
    assert "error: --clips asks for 0" in capsys.readouterr().err


def test_names_with_commas_in_a_list_of_names(run, tmp_path):
    out = rescore(run, tmp_path / "out", Choice(classes=["sit,run, fast, walk"]))
    assert Results.load(out).class_names == ["run, fast", "sit", "walk"]
    with pytest.raises(ConfigError, match="'fast' is none of the test's 5 classes"):
        rescore(run, tmp_path / "other", Choice(classes=["sit, fast, walk"]))


def test_places_that_cannot_be_written(run, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be written: there is no folder .*give another"):
        rescore(run, tmp_path / "file" / "out")
    assert main(["rescore", str(run), "--out", ""]) == 2  # a variable of a shell that is not set
    assert "--out is empty" in capsys.readouterr().err


def test_a_file_of_the_test_stands_for_its_folder(run, tmp_path):
    out = rescore(run / "scores.npz", tmp_path / "out")
    assert Results.load(out).rescored["folder"] == str(run)


def test_no_temperature_for_a_part_of_the_classes_or_clips(run, tmp_path):
    few = rescore(run, tmp_path / "few", Choice(classes=["sit", "walk"]))
    again = rescore(few, tmp_path / "again")
    first = rescore(run, tmp_path / "first", Choice(clips="first"))
    classes = f"without some of the classes.*made from, {run}"
    for folder, said in ((few, classes), (again, classes), (first, "from some of the views")):
        with pytest.raises(DataError, match=said):
            calibrate(folder, tmp_path / "weights.pt")


def test_other_views_are_no_seed_of_the_same_recipe(tmp_path):
    run = make_test(tmp_path / "run", settings=settings(TEST__NUM_SPATIAL_CROPS=3))
    fewer = rescore(run, tmp_path / "fewer", Choice("softmax", crops="centre"))
    recipes = [recipe_settings(Results.load(folder)) for folder in (run, fewer)]
    changed = {key for key in recipes[0] if recipes[0][key] != recipes[1][key]}
    assert changed >= {"TEST.NUM_SPATIAL_CROPS", "TEST.SCORE"}
    assert recipes[1]["TEST.NUM_SPATIAL_CROPS"] == 1 and recipes[1]["TEST.SCORE"] == "softmax"

"""Comparisons of runs: what they are refused for, in which order they are brought, and every figure anew."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pages import PROTOCOL
from stored_tests import CLASSES, answers, settings, store_test

from uniformer_video import cli
from uniformer_video.errors import DataError
from uniformer_video.pages.compare_text import as_text
from uniformer_video.randomness import generator
from uniformer_video.runs.compare import compare
from uniformer_video.runs.compare_names import default_folder
from uniformer_video.tasks import multi_label
from uniformer_video.tasks.multi_label import MultiLabel

LABELS = [place % 4 for place in range(60)]


@pytest.fixture
def stored(tmp_path):
    """A function that stores a test of 60 videos of four classes under a name."""

    def store(name, seed=0, labels=LABELS, skill=1.5, **changes):
        logits = changes.pop("logits", None)
        if logits is None:
            logits = answers(labels, 4, seed, skill)
        return store_test(tmp_path / name, logits, labels, **changes)

    return store


def scores_of(folder):
    """The mean logits of a folder's scores.npz, `[video, class]`, and its labels."""
    with np.load(folder / "scores.npz") as file:
        return file["scores"].astype(np.float64).mean(axis=1), file["labels"]


def refused(*folders):
    with pytest.raises(DataError) as error:
        compare(folders)
    return str(error.value)


# Every figure, by other means


def test_a_pair_by_sklearn_and_scipy(stored):
    stats = pytest.importorskip("scipy.stats")
    metrics = pytest.importorskip("sklearn.metrics")
    first, second = stored("a", 0), stored("b", 1, skill=2.5)
    record = compare([first, second])
    (mine, labels), (theirs, _) = scores_of(second), scores_of(first)
    right, other = mine.argmax(1) == labels, theirs.argmax(1) == labels
    (pair,) = record["pairs"]
    accuracy = [metrics.accuracy_score(labels, one.argmax(1)) for one in (theirs, mine)]
    assert [run["figures"]["top1"]["value"] for run in record["runs"]] == pytest.approx(accuracy)
    assert pair["difference"] == pytest.approx(accuracy[1] - accuracy[0])
    assert pair["gained"] == (right & ~other).sum() > 0
    assert pair["lost"] == (other & ~right).sum() > 0
    assert pair["both"] == (other & right).sum()
    assert pair["gained"] + pair["lost"] + pair["both"] + pair["neither"] == 60
    fewer, of = min(pair["gained"], pair["lost"]), pair["gained"] + pair["lost"]
    assert pair["p"] == pytest.approx(stats.binomtest(int(fewer), int(of), 0.5).pvalue)
    assert pair["p_holm"] == pair["p"]
    drawn = stats.bootstrap(
        (right.astype(float) - other,), np.mean, method="percentile", n_resamples=10_000, rng=0
    ).confidence_interval
    assert (pair["low"], pair["high"]) == pytest.approx((drawn.low, drawn.high), abs=0.02)
    recalls = [metrics.recall_score(labels, one.argmax(1), average=None) for one in (theirs, mine)]
    assert [row["figures"] for row in record["per_class"]] == [
        pytest.approx(both) for both in zip(*recalls, strict=True)
    ]
    differing = {video["name"]: video["right"] for video in record["disagreements"]}
    assert differing == {
        f"test/{place}.mp4": [bool(other[place]), bool(right[place])]
        for place in np.flatnonzero(right != other)
    }


def test_ensembles_are_means_of_probabilities_and_of_logits(stored):
    special = pytest.importorskip("scipy.special")
    folders = [stored(name, seed) for seed, name in enumerate("abc")]
    record = compare(folders)
    logits = [scores_of(folder)[0] for folder in folders]
    assert [one["runs"] for one in record["ensembles"]] == [[0, 1], [0, 2], [1, 2], [0, 1, 2]]
    alone = [run["figures"]["top1"]["value"] for run in record["runs"]]
    for one in record["ensembles"]:
        own = [logits[run] for run in one["runs"]]
        joint = np.mean([special.softmax(part, axis=1) for part in own], axis=0)
        right = (joint.argmax(1) == LABELS).sum()
        assert one["figures"]["top1"]["correct"] == right
        of_logits = (np.mean(own, axis=0).argmax(1) == LABELS).sum()
        assert one["figures_of_logits"]["top1"]["correct"] == of_logits
        assert one["gain"] == pytest.approx(right / 60 - max(alone[run] for run in one["runs"]))
        assert one["gflops_video"] == len(own) * 2.0 * 4
    assert [run["gflops_video"] for run in record["runs"]] == [8.0] * 3
    assert any(one["figures"] != one["figures_of_logits"] for one in record["ensembles"])


def test_holm_counts_all_comparisons(stored):
    record = compare([stored(name, seed, skill=seed) for seed, name in enumerate("abc")])
    by_size = sorted(pair["p"] for pair in record["pairs"])
    assert by_size[0] < by_size[1]
    assert sorted(pair["p_holm"] for pair in record["pairs"]) == pytest.approx(
        [min(1, 2 * by_size[0]), min(1, max(2 * by_size[0], by_size[1]))]
    )


def test_multi_label_has_its_own_figures(stored, monkeypatch):
    monkeypatch.setattr(multi_label, "MAX_RESAMPLES", 100)
    metrics = pytest.importorskip("sklearn.metrics")
    labels = [tuple({place % 4, place // 3 % 4}) if place % 10 else () for place in range(60)]
    chosen = {"labels": labels, "task": MultiLabel()}
    folders = [stored("a", 0, skill=0.8, **chosen), stored("b", 1, skill=1.5, **chosen)]
    record = compare(folders)
    (pair,) = record["pairs"]
    (theirs, truth), (mine, _) = (scores_of(folder) for folder in folders)
    values = [
        metrics.average_precision_score(truth, one, average="macro") for one in (theirs, mine)
    ]
    assert [run["figures"]["map"] for run in record["runs"]] == pytest.approx(values)
    assert pair["figure"] == "map" and pair["difference"] == pytest.approx(values[1] - values[0])
    times = generator("paired", 60).multinomial(60, np.full(60, 1 / 60), 100)
    drawn = [np.repeat(np.arange(60), row) for row in times]
    differences = [
        metrics.average_precision_score(truth[rows], mine[rows], average="macro")
        - metrics.average_precision_score(truth[rows], theirs[rows], average="macro")
        for rows in drawn
    ]
    assert (pair["low"], pair["high"]) == pytest.approx(
        tuple(np.quantile(differences, (0.025, 0.975)))
    )
    hits = [truth[np.arange(60), one.argmax(1)] for one in (theirs, mine)]
    labelled = truth.any(axis=1)
    assert record["judged"] == labelled.sum() == 54
    assert pair["gained"] == (hits[1] & ~hits[0]).sum()
    assert pair["neither"] == (~hits[1] & ~hits[0] & labelled).sum()
    difference = (hits[1][labelled].astype(float) - hits[0][labelled]).mean()
    assert pair["hit1"]["difference"] == pytest.approx(difference)
    assert as_text(record).splitlines()[1].endswith("p of hit@1")
    by_class = metrics.average_precision_score(truth, mine, average=None)
    assert [row["figures"][1] for row in record["per_class"]] == pytest.approx(list(by_class))
    joint = np.mean([1 / (1 + np.exp(-one)) for one in (theirs, mine)], axis=0)
    assert record["ensembles"][0]["figures"]["map"] == pytest.approx(
        metrics.average_precision_score(truth, joint, average="macro")
    )


# Seeds of one recipe


def test_seeds_of_one_recipe_are_grouped(stored):
    def run(name, seed, **changes):
        own = {"RNG_SEED": seed, "OUTPUT_DIR": name, "DATA__PATH_TO_DATA_DIR": f"/{name}/data"}
        return stored(
            name, sum(map(ord, name)), settings=settings(**own, **changes), training={"seed": seed}
        )

    folders = [run("base_0", 0), run("base_1", 1), run("fast_0", 0, SOLVER__BASE_LR=1e-3)]
    folders.append(run("fast_1", 1, SOLVER__BASE_LR=1e-3, DATA_LOADER__NUM_WORKERS=3))
    record = compare(folders)
    assert [recipe["runs"] for recipe in record["recipes"]] == [[0, 1], [2, 3]]
    assert [recipe["name"] for recipe in record["recipes"]] == ["base", "fast"]
    assert list(record["settings"]) == ["SOLVER.BASE_LR"]
    values = [run["figures"]["top1"]["value"] for run in record["runs"]]
    for recipe, own in zip(record["recipes"], (values[:2], values[2:]), strict=True):
        assert recipe["mean"] == pytest.approx(np.mean(own))
        assert recipe["deviation"] == pytest.approx(np.std(own, ddof=1))
    (pair,) = record["recipe_pairs"]
    assert pair["difference"] == pytest.approx(np.mean(values[2:]) - np.mean(values[:2]))
    right = np.array([scores_of(folder)[0].argmax(1) == LABELS for folder in folders])
    rng, differences = np.random.default_rng(5), []
    for _ in range(4000):
        videos = rng.integers(60, size=60)
        shares = right[:, videos].mean(axis=1)
        differences.append(
            shares[rng.integers(2, 4, size=2)].mean() - shares[rng.integers(2, size=2)].mean()
        )
    expected = np.quantile(differences, (0.025, 0.975))
    assert (pair["low"], pair["high"]) == pytest.approx(tuple(expected), abs=0.03)


def test_only_seeds_are_runs_held_against_the_first(stored):
    text = settings()
    record = compare([stored(name, seed, settings=text) for seed, name in enumerate("ab")])
    assert [recipe["runs"] for recipe in record["recipes"]] == [[0, 1]]
    assert not record["recipe_pairs"] and len(record["pairs"]) == 1


def test_another_teacher_data_or_tested_file_is_another_recipe(stored):
    def recipes(one, other):
        folders = [stored(name, seed, **own) for seed, (name, own) in enumerate([one, other])]
        return len(compare(folders)["recipes"])

    text = settings()
    taught = [{"settings": text, "training": {"teacher_sha256": "ab"[k] * 64}} for k in range(2)]
    assert recipes(("a", taught[0]), ("b", taught[1])) == 2
    places = [{"settings": settings(DATA__PATH_TO_DATA_DIR=path)} for path in ("/x/one", "/x/two")]
    assert recipes(("a", places[0]), ("b", places[1])) == 2
    files = [
        {"settings": settings(TRAIN__ENABLE=False, TEST__CHECKPOINT_FILE_PATH=f"{k}.pt")}
        for k in range(2)
    ]
    assert recipes(("a", files[0]), ("b", files[1])) == 2
    assert recipes(("a", {}), ("b", {})) == 2


def test_a_rescored_test_and_a_cross_validation_are_no_seeds_of_a_run(stored):
    text = settings()
    folders = [stored(name, seed, settings=text) for seed, name in enumerate("abcd")]
    assert len(compare(folders)["recipes"]) == 1
    told = {"score": "softmax", "clips": [1, 2], "crops": [0]}
    for folder, parts in (
        (folders[2], {"rescored": told}),
        (folders[3], {"crossval": {"folds": [{}] * 5}}),
    ):
        path = folder / "results.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))
    record = compare(folders)
    assert [recipe["runs"] for recipe in record["recipes"]] == [[0, 1], [2], [3]]
    assert record["settings"] == {
        "rescored": [None, "logits, clips 1 2, crops 0", None],
        "cross-validation": [None, None, "5 folds"],
    }
    (note,) = [note for note in record["notes"] if "cross-validation" in note]
    assert "(d); whether a, b, c learned from any of these videos" in note


# One order of videos and classes


def test_order_of_videos_and_classes_does_not_matter(stored):
    first, second = stored("a", 0), stored("b", 1)
    expected = compare([first, second])
    order = np.random.default_rng(3).permutation(60)
    new = [2, 0, 3, 1]  # what the classes are called now
    logits = answers(LABELS, 4, 1)[order]
    turned = np.empty_like(logits)
    turned[..., new] = logits
    names = [f"test/{place}.mp4" for place in order]
    classes = [CLASSES[new.index(k)] for k in range(4)]
    labels = [new[LABELS[place]] for place in order]
    other = stored("c", logits=turned, labels=labels, names=names, class_names=classes)
    found = compare([first, other])
    for key in ("pairs", "per_class", "disagreements", "ensembles", "compared"):
        assert found[key] == expected[key], key


def test_a_list_may_hold_a_video_twice(stored):
    names = ["a.mp4", "a.mp4", *(f"{place}.mp4" for place in range(58))]
    turned = [names[1], names[0], *names[2:]]
    labels = [LABELS[1], LABELS[0], *LABELS[2:]]
    record = compare([stored("x", names=names), stored("y", 1, labels=labels, names=turned)])
    assert record["compared"] == 60


def test_segments_tell_videos_apart(stored):
    parts = [(float(place % 2), float(place % 2 + 1)) for place in range(60)]
    names = [f"{place // 2}.mp4" for place in range(60)]
    first = stored("a", names=names, segments=parts)
    assert compare([first, stored("b", 1, names=names, segments=parts)])["compared"] == 60
    other = [*parts[:-1], (1.0, 3.5)]
    message = refused(first, stored("c", 1, names=names, segments=other))
    assert "1 of 60 only in a: 29.mp4#1-2;" in message
    assert "1 of 60 only in c: 29.mp4#1-3.5." in message


# Refused


def test_one_video_more_or_another_one_is_named(stored):
    first = stored("a")
    more = stored("b", 1, labels=[*LABELS, 0])
    assert "a and b are tests of different videos; 1 of 61 only in b: test/60.mp4." in refused(
        first, more
    )
    names = [f"test/{place}.mp4" for place in range(60)]
    names[7] = "test/seven.mp4"
    message = refused(first, stored("c", 1, names=names))
    assert "1 of 60 only in a: test/7.mp4; 1 of 60 only in c: test/seven.mp4." in message
    far = refused(first, stored("d", 1, names=[f"x/{place}.mp4" for place in range(60)]))
    assert "60 of 60 only in a: test/0.mp4, test/1.mp4," in far and "and 55 more" in far
    assert "test one of them again" in far


def test_another_label_of_one_video_is_named(stored):
    labels = [*LABELS]
    labels[5] = 3
    message = refused(stored("a"), stored("b", 1, labels=labels))
    assert "different labels for 1 of 60 videos: test/5.mp4 is 'run' in a, 'wave' in b." in message


def test_other_classes_are_named(stored):
    names = ("jump", "run", "walk", "fly")
    message = refused(stored("a"), stored("b", 1, class_names=names))
    assert "only in a: 'wave'; only in b: 'fly'" in message


def test_other_tasks_are_refused(stored):
    labels = [(label,) for label in LABELS]
    message = refused(stored("a"), stored("b", labels=labels, task=MultiLabel()))
    assert "a is of the task single-label and b of multi-label" in message


def test_what_is_no_comparison_is_refused(stored, tmp_path):
    first = stored("a")
    assert "takes two runs or more, got 1 folder" in refused(first)
    assert "is named twice" in refused(first, tmp_path / "." / "a")
    assert "no results at" in refused(first, tmp_path / "none")
    (tmp_path / "link").symlink_to(first)
    assert "is named twice" in refused(first, tmp_path / "link")


def test_damaged_scores_are_refused(stored):
    first, second = stored("a"), stored("b", 1)
    with np.load(second / "scores.npz") as file:
        parts = dict(file)
    np.savez(second / "scores.npz", **{**parts, "scores": parts["scores"][:-1]})
    assert "holds float32 of the shape [59, 4, 4]" in refused(first, second)
    np.savez(second / "scores.npz", **{**parts, "names": parts["names"][::-1]})
    assert "are of different videos, or of a different order" in refused(first, second)
    parts["scores"][3, 0, 0] = np.inf
    np.savez(second / "scores.npz", **parts)
    assert "not finite" in refused(first, second)


# Said


def test_failed_videos_are_left_out_everywhere_and_named(stored):
    first = stored("a", 0, failures={3: "cut short"})
    second = stored("b", 1, failures={3: "cut short", 9: "gone"})
    record = compare([first, second])
    assert (record["videos"], record["compared"]) == (60, 58)
    assert [(video["name"], video["runs"]) for video in record["left_out"]] == [
        ("test/3.mp4", [0, 1]),
        ("test/9.mp4", [1]),
    ]
    kept = [place for place in range(60) if place not in (3, 9)]
    scores, labels = scores_of(first)
    right = (scores.argmax(1) == labels)[kept].sum()
    share = record["runs"][0]["figures"]["top1"]
    assert (share["correct"], share["of"]) == (right, 58)
    own = json.loads((first / "results.json").read_text())["summary"]["top1"]
    assert own["of"] == 59 and record["runs"][0]["as_tested"] == own["value"]
    (note,) = [note for note in record["notes"] if "decode" in note]
    assert "Compared are the 58 of 60 videos" in note
    assert "(a 1, b 2): test/3.mp4, test/9.mp4." in note
    nothing = stored("c", 2, failures=dict.fromkeys(kept, "gone"))
    assert "no video that all of a, b, c could decode" in refused(first, second, nothing)


def test_other_views_and_the_same_run_in_two_folders_are_said(stored):
    other = replace(PROTOCOL, score="softmax", num_clips=2)
    logits = answers(LABELS, 4, 0)
    first = stored("a", logits=logits)
    record = compare(
        [first, stored("b", logits=logits), stored("c", 1, protocol=other, logits=logits[:, :2])]
    )
    notes = " ".join(record["notes"])
    assert "b has the same scores as a, to the bit" in notes
    assert (
        "a and c were tested in different ways (num_clips 4 and 2, score logits and softmax)"
        in notes
    )
    special = pytest.importorskip("scipy.special")
    mean = special.softmax(logits[:, :2].astype(float), axis=2).mean(axis=1)
    right = (mean.argmax(1) == LABELS).sum()
    assert record["runs"][2]["figures"]["top1"]["correct"] == right


def test_classes_without_names_are_taken_in_order_and_that_is_said(stored):
    stand_ins = [f"class {k}" for k in range(4)]
    record = compare([stored("a"), stored("b", 1, class_names=stand_ins)])
    assert record["notes"][0].startswith("b does not name its classes")
    assert record["class_names"] == list(CLASSES)


def test_costs_are_those_of_the_record_or_counted_or_said_to_be_unknown(stored):
    tiny = {"UNIFORMER__EMBED_DIM": "[8,16,16,32]", "UNIFORMER__DEPTH": "[1,1,1,1]"}
    text = settings(**tiny, UNIFORMER__HEAD_DIM=8, MODEL__MODEL_NAME="uniformer_s")
    from uniformer_video.config.recorded import config_from_text
    from uniformer_video.models.flops import count_flops
    from uniformer_video.runs.build_model import model_options
    from uniformer_video.zoo.create import build_network, count_parameters

    model = build_network("uniformer_s", 4, **model_options(config_from_text(text)))
    known = {"name": "uniformer_s", "parameters": count_parameters(model)}
    other = {**known, "parameters": 7}
    folders = [stored("a"), stored("b", 1, model=known, settings=text)]
    record = compare([*folders, stored("c", 2, model=other, settings=text)])
    counted = 4 * count_flops(model, (1, 3, 8, 64, 64)) / 1e9
    assert [run["gflops_video"] for run in record["runs"]] == [8.0, pytest.approx(counted), None]
    assert any("What c costs is not known" in note for note in record["notes"])
    assert [one["gflops_video"] is None for one in record["ensembles"]] == [False, True, True, True]


def test_groups_of_a_cross_validation_are_drawn_together(stored):
    folders = [stored("a", 0), stored("b", 1)]
    alone = compare(folders)["pairs"][0]
    path = folders[0] / "results.json"
    results = json.loads(path.read_text())
    for place, video in enumerate(results["videos"]):
        video["group"] = f"person {place // 20}"
    path.write_text(json.dumps(results))
    record = compare(folders)
    (pair,) = record["pairs"]
    assert record["groups"] == 3 and pair["difference"] == alone["difference"]
    assert (pair["low"], pair["high"]) != (alone["low"], alone["high"])
    right = [scores_of(folder)[0].argmax(1) == LABELS for folder in folders]
    sums = [(right[1].astype(int) - right[0])[k : k + 20].sum() / 20 for k in (0, 20, 40)]
    assert min(sums) - 1e-9 <= pair["low"] <= pair["high"] <= max(sums) + 1e-9


# The command


def test_command_prints_a_table_and_writes_beside_the_first_run(
    stored, capsys, monkeypatch, tmp_path
):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    stored("a", 0), stored("b", 1)
    assert cli.main(["compare", "a", "b"]) == 0
    printed = capsys.readouterr().out
    record = json.loads((tmp_path / "compare-a-b" / "compare.json").read_text())
    assert (tmp_path / "compare-a-b" / "compare.html").is_file()
    assert printed.startswith("On the same 60 videos, held against a:\nrun  top-1")
    value = record["runs"][1]["figures"]["top1"]["value"]
    pair = record["pairs"][0]
    assert f"{value:.1%}" in printed and f"{pair['gained']} / {pair['lost']}" in printed
    assert cli.main(["compare", "a", "b", "--markdown", "--out", "here"]) == 0
    header, line, first, second = capsys.readouterr().out.splitlines()
    assert header.startswith("| run | top-1 |") and line.count("---") == header.count("|") - 1
    assert first.startswith("| a | ") and f"| {value:.1%} |" in second
    again = json.loads((tmp_path / "here" / "compare.json").read_text())
    assert {**again, "created": 0} == {**record, "created": 0}


def test_command_refuses_in_one_line(stored, capsys, tmp_path):
    stored("a"), stored("b", 1, labels=[*LABELS, 0])
    assert cli.main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    (tmp_path / "file").write_text("")
    good = [str(tmp_path / "a"), str(stored("c", 1))]
    assert cli.main(["compare", *good, "--out", str(tmp_path / "file")]) == 2
    told = capsys.readouterr()
    first, second = told.err.splitlines()
    assert not told.out and "test/60.mp4" in first and "choose another with --out" in second


def test_default_folders_tell_comparisons_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(default_folder(["runs/a", "runs/b"])) == "runs/compare-a-b"
    assert str(default_folder(["runs/a", "runs/a/test-12"])) == "runs/compare-a-test-12"
    assert str(default_folder(["runs/a/results.json", "runs/b"])) == "runs/compare-a-b"
    many = {str(default_folder([f"runs/{k}" for k in range(n)])) for n in (4, 5, 6)}
    assert len(many) == 3

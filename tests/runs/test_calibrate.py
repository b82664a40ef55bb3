"""`calibrate`: the temperature and the threshold of a test, what is refused, and what predictions do."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_run import tiny_overrides

from uniformer_video.config.recorded import config_text
from uniformer_video.config.settings import load_config
from uniformer_video.data.protocol import Protocol
from uniformer_video.evaluation.metrics import softmax
from uniformer_video.evaluation.results import build_results, load_results, save_results
from uniformer_video.inference.predictor import Predictor
from uniformer_video.runs import build_model, score_again
from uniformer_video.runs.calibrate import calibrate
from uniformer_video.runs.calibration_samples import halves
from uniformer_video.tasks.registry import task_by_name
from uniformer_video.weights.checkpoint import file_sha256, read_weights, write_checkpoint

NAMES = ["sit", "run", "eat"]
SCORES = {"single-label": ("logits", "softmax"), "multi-label": ("logits", "sigmoid")}


@pytest.fixture
def tested(tmp_path):
    """A function: the folder of a made-up test of an untrained model, whose logits are too sure."""

    def make(task="single-label", score="logits", videos=80, failed=2, scale=4.0, **changes):
        folder = tmp_path / "run"
        words = tiny_overrides(tmp_path, folder, TRAIN__TASK=task, TEST__SCORE=score)
        cfg = load_config(overrides=words)
        torch.manual_seed(0)
        model, _ = build_model.build_model(cfg, len(NAMES))
        torch.nn.init.normal_(model.head.weight)
        folder.mkdir(exist_ok=True)
        weights = folder / "best.pt"
        write_checkpoint(weights, model.state_dict(), build_model.build_metadata(cfg, model, NAMES))
        rng = np.random.default_rng(0)
        labels = rng.integers(3, size=videos)
        logits = rng.normal(size=(videos, 1, 3)) + 0.2 * rng.normal(size=(videos, 2, 3))
        logits[np.arange(videos), :, labels] += 0.8
        logits *= scale
        protocol = replace(Protocol.from_cfg(cfg), precision="fp32")
        if task == "multi-label":
            logits -= 0.8 * scale
            labels = [(int(own),) if place % 9 else () for place, own in enumerate(labels)]
        arguments = {
            "task": task_by_name(task),
            "title": "tiny",
            "names": [f"{i}.mp4" for i in range(videos)],
            "paths": [f"/data/{i}.mp4" for i in range(videos)],
            "labels": labels,
            "view_scores": logits,
            "class_names": NAMES,
            "protocol": protocol,
            "model": {"checkpoint": "gone/best.pt", "checkpoint_sha256": file_sha256(weights)},
            "failures": {videos - 1 - place: "broken" for place in range(failed)},
            "settings": config_text(cfg),
        }
        results = build_results(**arguments | changes)
        logits[videos - failed :] = np.nan
        save_results(folder, results, logits, task_by_name(task))
        return folder

    return make


def parts_of(folder, seed=0):
    """((logits, labels) of the half that is fitted on, those of the other), of decoded videos."""
    with np.load(folder / "scores.npz") as file:
        logits, labels = file["scores"].astype(np.float64), file["labels"]
    good = ~np.isnan(logits).any(axis=(1, 2))
    logits, labels = logits[good], labels[good]
    return [(logits[places], labels[places]) for places in halves(len(logits), seed)]


def shares_of(logits, score, temperature=1.0):
    """Probabilities of videos as docs/results.md has them."""
    logits = logits / temperature
    if score == "softmax":
        return softmax(logits).mean(axis=1)
    if score == "sigmoid":
        return (1 / (1 + np.exp(-logits))).mean(axis=1)
    return logits.mean(axis=1)


@pytest.mark.parametrize("task", SCORES)
@pytest.mark.parametrize("place", [0, 1])
def test_a_half_is_fitted_on_and_the_other_one_is_reported(call, tested, tmp_path, task, place):
    """Against scipy and scikit-learn, from the files."""
    optimize, metrics = map(pytest.importorskip, ("scipy.optimize", "sklearn.metrics"))
    score = SCORES[task][place]
    folder, out = tested(task, score), tmp_path / "out.pt"
    before = file_sha256(folder / "best.pt")
    status, text, errors = call("calibrate", folder, "--out", out, "--json")
    assert status == 0, errors
    record = json.loads(text)

    def loss(part, temperature):
        logits, labels = part
        shares = shares_of(logits, score, temperature)
        if task == "multi-label":
            shares = 1 / (1 + np.exp(-shares)) if score == "logits" else shares
            return metrics.log_loss(labels.ravel(), shares.ravel())
        shares = softmax(shares) if score == "logits" else shares
        return metrics.log_loss(labels, shares, labels=range(3))

    fitted, reported = parts_of(folder)
    best = optimize.minimize_scalar(
        lambda t: loss(fitted, t), bounds=(0.05, 50), options={"xatol": 1e-10}
    )
    assert record["temperature"] == pytest.approx(best.x, rel=1e-5)
    assert record["before"]["nll"]["value"] == pytest.approx(loss(reported, 1.0))
    assert record["after"]["nll"]["value"] == pytest.approx(loss(reported, record["temperature"]))
    assert record["after"]["ece"]["value"] < record["before"]["ece"]["value"]
    assert (record["videos"], record["videos_reported"], record["on"]) == (39, 39, "half")
    assert record["before"]["nll"]["low"] < record["before"]["nll"]["value"]
    assert file_sha256(folder / "best.pt") == before == record["weights_sha256"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.pt",
        "results.json",
        "scores.npz",
    ]
    written = read_weights(out)
    assert written.metadata["calibration"] == record
    own = read_weights(folder / "best.pt")
    assert all(torch.equal(value, own.state[key]) for key, value in written.state.items())


def test_the_other_half_depends_on_the_seed(tested, tmp_path):
    folder = tested()
    found = [calibrate(folder, tmp_path / f"{seed}.pt", seed=seed)[0] for seed in (0, 1)]
    assert found[0]["temperature"] != found[1]["temperature"]


def test_what_the_command_says(call, tested, tmp_path):
    status, text, errors = call("calibrate", tested(), "--out", tmp_path / "out.pt")
    assert status == 0, errors
    assert "left out: 2 test videos that could not be decoded" in text
    assert "fitted on 39 videos: a half of the test videos (seed 0)" in text
    assert "on 39 videos, the other half, before -> after:" in text
    assert "negative log-likelihood" in text and "95 % interval" in text


@pytest.mark.parametrize("score", SCORES["single-label"])
def test_predictions_of_the_same_views_are_divided_by_it(call, tested, tmp_path, make_video, score):
    folder, out, video = tested(score=score), tmp_path / "out.pt", make_video()
    record, _ = calibrate(folder, out)
    predictor, plain = (Predictor.from_checkpoint(path) for path in (out, folder / "best.pt"))
    assert plain.calibration is None and predictor.applied is not None
    seen = []
    predictor.model.register_forward_hook(lambda _, __, logits: seen.append(logits))
    found = predictor(video).probabilities
    logits = torch.cat(seen).double().numpy()[None]
    shares = shares_of(logits, score, record["temperature"])[0]
    expected = softmax(shares) if score == "logits" else shares
    assert found == pytest.approx(expected, abs=1e-9)
    assert np.abs(found - plain(video).probabilities).max() > 0.01

    status, text, errors = call("predict", video, "--checkpoint", out, "--json")
    assert status == 0 and "Scores are calibrated: temperature" in errors
    assert json.loads(text)["temperature"] == record["temperature"]
    status, text, errors = call("predict", video, "--checkpoint", out, "--json", "--clips", 3)
    assert status == 0 and json.loads(text)["temperature"] is None
    assert "temperature is not applied" in errors and "num_clips is 3, not 2" in errors
    other = Predictor.from_checkpoint(folder / "best.pt", num_clips=3)(video).probabilities
    assert Predictor.from_checkpoint(out, num_clips=3)(video).probabilities == pytest.approx(other)


def test_another_score_is_another_protocol(tested, tmp_path):
    out = tmp_path / "out.pt"
    calibrate(tested(), out)
    weights = read_weights(out)
    protocol = {**weights.metadata["protocol"], "score": "softmax"}
    write_checkpoint(out, weights.state, {**weights.metadata, "protocol": protocol})
    assert Predictor.from_checkpoint(out).applied is None


@pytest.mark.parametrize(
    "damage",
    [{"temperature": 0.0}, {"temperature": "2"}, {"threshold": "high"}, {"protocol": {}}],
)
def test_a_damaged_calibration(call, tested, tmp_path, make_video, damage):
    out = tmp_path / "out.pt"
    calibrate(tested(), out)
    weights = read_weights(out)
    record = {**weights.metadata["calibration"], **damage}
    write_checkpoint(out, weights.state, {**weights.metadata, "calibration": record})
    status, _, errors = call("predict", make_video(), "--checkpoint", out)
    assert status == 2 and "damaged" in errors and str(out) in errors


def test_a_threshold_by_wrong_answers(call, tested, tmp_path, make_video):
    folder, out = tested(), tmp_path / "out.pt"
    words = ["calibrate", folder, "--out", out, "--false-accepts", 0.25]
    status, text, errors = call(*words)
    assert status == 0, errors
    assert "at most 25.0% of the wrong answers are accepted" in text
    assert "a false accept is here a wrong answer" in text
    record = read_weights(out).metadata["calibration"]
    found, value = record["threshold"], record["threshold"]["value"]

    def answers(part):
        logits, labels = part
        shares = softmax(logits.mean(axis=1) / record["temperature"])
        return shares.max(axis=1), shares.argmax(axis=1) == labels

    (own, right), (confidence, others) = map(answers, parts_of(folder))
    wrong = np.sort(own[~right])[::-1]
    allowed = int(0.25 * len(wrong))
    assert wrong[allowed] < value <= wrong[allowed - 1]
    assert found["accepted"]["correct"] == (own[~right] >= value).sum() == allowed
    assert found["lost_right_answers"]["correct"] == (others & (confidence < value)).sum()
    assert found["lost_right_answers"]["of"] == others.sum()
    assert found["wrong_answers_accepted"]["correct"] == (confidence[~others] >= value).sum()

    video = make_video()
    predictor = Predictor.from_checkpoint(out)
    prediction = predictor(video)
    sure = float(prediction.probabilities.max())
    assert prediction.threshold == value and prediction.none_of_these == (sure < value)
    for threshold, none in ((sure + 1e-3, True), (sure, False)):
        weights = read_weights(out)
        record["threshold"] = {**found, "value": threshold}
        write_checkpoint(out, weights.state, {**weights.metadata, "calibration": record})
        status, text, errors = call("predict", video, "--checkpoint", out)
        assert (status, "none of these: no class reaches" in text) == (0, none)
        assert 'the answer is "none of these"' in errors
        status, text, _ = call("predict", video, "--checkpoint", out, "--json")
        assert json.loads(text)["none_of_these"] is none
    _, text, errors = call("predict", video, "--checkpoint", out, "--clips", 3, "--json")
    assert "none_of_these" not in json.loads(text)
    assert "temperature and threshold are not applied" in errors


def test_a_threshold_by_unknown_videos(call, tested, tmp_path, make_video):
    folder, out = tested(), tmp_path / "out.pt"
    for number in range(4):
        make_video(f"other/{number}.mp4", frames=30 + number)
    (tmp_path / "other" / "broken.mp4").write_bytes(b"no video")
    words = ["--false-accepts", 0.5, "--unknown", tmp_path / "other"]
    status, text, errors = call("calibrate", folder, "--out", out, *words)
    assert status == 0, errors
    assert f"left out of {tmp_path / 'other'}, broken: 1" in text
    assert "50.0% of the unknown videos are accepted: 2 of 4" in text
    found = [Predictor.from_checkpoint(out)(tmp_path / f"other/{i}.mp4") for i in range(4)]
    assert sum(not prediction.none_of_these for prediction in found) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--false-accepts", "1"], "a share, from 0 to below 1"),
        (["--false-accepts", "nan"], "a share, from 0 to below 1"),
        (["--unknown", "videos"], "add --false-accepts"),
        (["--false-accepts", "0.1", "--unknown", "no_such.csv"], "no_such.csv"),
        (["--seed", "-1"], "--seed is -1"),
        (["--on", "train"], "allowed: 'val', 'half'"),
        (["--out", "no_folder/out.pt"], "there is no folder"),
        (["--out", "RUN/best.pt"], "exists already"),
    ],
)
def test_words_that_are_refused(call, tested, tmp_path, words, told):
    folder = tested()
    words = [word.replace("RUN", str(folder)) for word in words]
    status, _, errors = call("calibrate", folder, "--out", tmp_path / "out.pt", *words)
    assert (status, told in errors, "Traceback" in errors) == (2, True, False), errors
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"videos": 20}, "two halves take 20 at least"),
        ({"crossval": True}, "fold0"),
        ({"labels": "right"}, "next to all answers are right"),
        ({"labels": "worst"}, "they say nothing of the classes"),
        ({"playback": "reverse"}, "played backwards"),
        (
            {"model": {"checkpoint": "m.onnx", "runtime": "ONNX Runtime"}},
            "is a test of an exported",
        ),
    ],
)
def test_tests_that_are_refused(call, tested, tmp_path, changes, told):
    own = {k: v for k, v in changes.items() if k not in ("labels", "crossval")}
    folder = tested(**own)
    if "labels" in changes:
        results = load_results(folder)
        with np.load(folder / "scores.npz") as file:
            means = np.nan_to_num(file["scores"].mean(axis=1))
        labels = means.argmax(1) if changes["labels"] == "right" else means.argmin(1)
        for video, label in zip(results["videos"], labels.tolist(), strict=True):
            video["label"] = label
        (folder / "results.json").write_text(json.dumps(results))
    if "crossval" in changes:
        results = load_results(folder) | {"crossval": {"folds": []}}
        (folder / "results.json").write_text(json.dumps(results))
    status, _, errors = call("calibrate", folder, "--out", tmp_path / "out.pt")
    assert (status, told in errors) == (2, True), errors
    assert errors.count("\n") == 1


def test_what_is_missing(call, tested, tmp_path):
    folder = tested()
    words = ["--out", tmp_path / "out.pt"]
    (folder / "scores.npz").rename(folder / "kept.npz")
    status, _, errors = call("calibrate", folder, *words)
    assert status == 2 and "cannot read the scores" in errors
    (folder / "kept.npz").rename(folder / "scores.npz")
    (folder / "best.pt").write_bytes(b"other weights")
    status, _, errors = call("calibrate", folder, *words)
    assert status == 2 and "not there any more, or changed since" in errors
    for place, told in (
        (tmp_path / "nowhere", "finished evaluation"),
        (folder / "best.pt", "best.pt is a file; give the folder of a finished run"),
    ):
        status, _, errors = call("calibrate", place, *words)
        assert status == 2 and told in errors


def test_several_labels_have_no_threshold(call, tested, tmp_path):
    folder = tested("multi-label")
    for more in (["--false-accepts", "0.1"], ["--unknown", tmp_path]):
        status, _, errors = call("calibrate", folder, "--out", tmp_path / "out.pt", *more)
        assert status == 2 and "each class is true or not by itself" in errors


@pytest.mark.parametrize(
    ("rescored", "told"),
    [
        ({"clips": [0, 2]}, "scored again from some of the views"),
        ({"crops": [0]}, "scored again from some of the views"),
        ({"crops": [0, 2]}, "scored again from some of the views"),
        ({"left_out_classes": 2}, "scored again without some of the classes"),
        ({"before": {"clips": [0]}}, "some of the views"),  # of a test that was scored again before
        ({"crops": [1]}, ""),
        ({"left_out_videos": 3}, ""),
    ],
)
def test_what_was_scored_again_from_other_views_or_classes_is_refused(
    call, tested, tmp_path, rescored, told
):
    """`predict` would show the model other views, or answer other classes, than the temperature is for."""
    folder = tested()
    views = {"clips": [0, 1, 2], "num_clips": 3, "crops": [0, 1, 2], "num_crops": 3}
    if "before" in rescored:
        rescored = {"before": {**views, **rescored["before"]}}
    results = load_results(folder) | {"rescored": {**views, **rescored}}
    (folder / "results.json").write_text(json.dumps(results))
    status, _, errors = call("calibrate", folder, "--out", tmp_path / "out.pt")
    assert (status, told in errors) == (2 if told else 0, True), errors
    assert (tmp_path / "out.pt").exists() == (not told)


def test_a_temperature_that_does_not_help_is_said(call, tested, tmp_path):
    folder = tested(scale=0.5)
    results = load_results(folder)
    good = [video for video in results["videos"] if video["top5"]]
    fitted, reported = halves(len(good), 0)
    wrong = {*fitted[::8].tolist(), *reported.tolist()}  # few of one half, all of the other
    for place, video in enumerate(good):
        best = video["top5"][0]["class"]
        video["label"] = (best + 1) % 3 if place in wrong else best
    (folder / "results.json").write_text(json.dumps(results))
    status, text, errors = call("calibrate", folder, "--out", tmp_path / "out.pt")
    assert status == 0, errors
    assert "probabilities worse: leave it" in text


def test_other_weights_made_from_it_have_no_temperature(call, tested, tmp_path, caplog):
    folder, out = tested(), tmp_path / "out.pt"
    calibrate(folder, out)
    commands = [
        ("convert", out, "--out", tmp_path / "convert.pt"),
        ("average", out, folder / "best.pt", "--out", tmp_path / "average.pt"),
    ]
    for words in commands:
        status, text, errors = call(*words)
        assert status == 0, errors
        assert "the temperature of the calibrated checkpoint is left out" in text
        assert "calibration" not in read_weights(words[-1]).metadata
    cfg = load_config(overrides=tiny_overrides(tmp_path, folder, UNIFORMER__PRETRAIN_NAME=out))
    model, report = build_model.build_model(cfg, len(NAMES), NAMES)
    assert "the temperature of the calibrated checkpoint is left out" in " ".join(report.lines())
    assert "calibration" not in build_model.build_metadata(cfg, model, NAMES)


@pytest.fixture
def lists(demo, tmp_path):
    """A folder of lists: 16 videos to validate on, and 16 others to test."""
    folder = tmp_path / "data"
    folder.mkdir()
    others = sorted((demo / "val").glob("*.mp4")) + sorted((demo / "test").glob("*.mp4"))
    for split, videos in (("val", sorted((demo / "train").glob("*.mp4"))), ("test", others)):
        lines = [f"{video},{number % 3}" for number, video in enumerate(videos)]
        (folder / f"{split}.csv").write_text("\n".join(lines))
    (folder / "classes.txt").write_text("\n".join(NAMES))
    return folder


@pytest.mark.usefixtures("no_page")
def test_the_validation_videos_are_decoded_once(call, lists, tested, tmp_path, monkeypatch):
    weights, folder = tested() / "best.pt", tmp_path / "tested"
    settings = tiny_overrides(
        lists,
        folder,
        TRAIN__ENABLE=False,
        TRAIN__DATASET="kinetics",
        TEST__CHECKPOINT_FILE_PATH=weights,
    )
    (tmp_path / "cfg.yaml").write_text("")

    def test(*changes):
        status, _, errors = call("run", "--cfg", tmp_path / "cfg.yaml", *settings, *changes)
        assert status == 0, errors

    test("TEST.SPLIT", "val", "OUTPUT_DIR", tmp_path / "val")
    with np.load(tmp_path / "val" / "scores.npz") as file:
        expected = file["scores"]
    # labels by which the model is right two times of three, so that a temperature is best
    order = expected.mean(axis=1).argsort(axis=1)
    labels = [order[place, -1 if place % 3 else 0] for place in range(len(order))]
    rows = [line.rpartition(",")[0] for line in (lists / "val.csv").read_text().splitlines()]
    pairs = zip(rows, labels, strict=True)
    (lists / "val.csv").write_text("\n".join(f"{path},{label}" for path, label in pairs))
    test()
    words = ["calibrate", folder, "--on", "val", "--out"]
    status, text, errors = call(*words, tmp_path / "one.pt")
    assert status == 0, errors
    assert "fitted on 16 videos: the validation videos" in text
    assert "on 16 videos, the test videos that are not among them" in text
    with np.load(folder / "val_scores.npz") as file:
        assert np.array_equal(file["scores"], expected)
        assert file["labels"].tolist() == labels

    calls, score = [], score_again.score_records
    monkeypatch.setattr(
        score_again, "score_records", lambda *given: calls.append(given) or score(*given)
    )
    status, _, errors = call(*words, tmp_path / "two.pt")
    assert (status, calls) == (0, []) and "scored already" in errors
    first, second = (read_weights(tmp_path / name).metadata for name in ("one.pt", "two.pt"))
    assert first["calibration"] == second["calibration"]
    (folder / "val_scores.npz").write_bytes(b"damaged")
    assert call(*words, tmp_path / "three.pt")[0] == 0 and len(calls) == 1
    lines = (lists / "val.csv").read_text().splitlines()
    (lists / "val.csv").write_text("\n".join(lines[1:]))  # another list
    assert call(*words, tmp_path / "four.pt")[0] == 0 and len(calls) == 2
    (lists / "test.csv").write_text("\n".join(lines))
    test("OUTPUT_DIR", tmp_path / "same")
    words[1] = tmp_path / "same"
    status, _, errors = call(*words, tmp_path / "five.pt")
    assert status == 2 and "15 of 16 test videos are validation videos" in errors
    assert len(calls) == 2 and not (tmp_path / "same" / "val_scores.npz").exists()
    (lists / "val.csv").write_text("\n".join(lines[:9]))
    status, _, errors = call(*words, tmp_path / "five.pt")
    assert status == 2 and "there are 9 validation videos" in errors and len(calls) == 2
    (lists / "val.csv").unlink()
    status, _, errors = call(*words, tmp_path / "five.pt")
    assert status == 2 and "--on half" in errors


@pytest.mark.usefixtures("no_page")
def test_a_test_says_that_it_applies_no_temperature(call, lists, tested, tmp_path):
    out = tmp_path / "out.pt"
    calibrate(tested(), out)
    words = tiny_overrides(
        lists,
        tmp_path / "tested",
        TRAIN__ENABLE=False,
        TRAIN__DATASET="kinetics",
        TEST__CHECKPOINT_FILE_PATH=out,
    )
    (tmp_path / "cfg.yaml").write_text("")
    status, _, errors = call("run", "--cfg", tmp_path / "cfg.yaml", *words)
    assert status == 0 and "which predictions apply and a test does not" in errors
    notes = load_results(tmp_path / "tested")["notes"]
    assert any("temperature" in note for note in notes)

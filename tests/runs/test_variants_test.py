"""Motion and robustness as a run measures them: every figure comes out again from the files."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from uniformer_video.config.recorded import config_from_text
from uniformer_video.config.settings import load_config
from uniformer_video.data.clips.variants import Variant
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.variant_dataset import VariantDataset
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import DecodeError
from uniformer_video.evaluation import variants
from uniformer_video.runs import build_model, multi_view_test, score_views, variants_test
from uniformer_video.runs.build_data import Data
from uniformer_video.runs.folder import RunFolder
from uniformer_video.weights.checkpoint import write_checkpoint
from uniformer_video.zoo.create import count_parameters

NAMES = ["sit", "run", "eat"]
LABELS = {
    "single-label": [(0,), (1,), (2,), (1,), (2,), (0,)],
    "multi-label": [(0, 1), (), (1,), (0, 2), (2,), (0,)],
}


@pytest.fixture
def tested(tiny, tmp_path, make_video, monkeypatch):
    """A function: test an untrained model on six videos, the fourth of them broken; its folder.

    A page takes longer than all the rest, and is made where it is asked for.
    """
    make_page = multi_view_test.report
    paths = [str(make_video(f"{i}.mp4", frames=9 + 7 * i)) for i in range(6)]
    Path(paths[3]).write_bytes(b"broken")
    ranks = Ranks(0, 1, torch.device("cpu"))

    def test(task="single-label", seed=0, page=False, **changes):
        monkeypatch.setattr(multi_view_test, "report", make_page if page else Path)
        weights = tmp_path / f"{seed}.pt"
        changes = {"TRAIN__TASK": task, "TRAIN__ENABLE": False, **changes}
        cfg = load_config(overrides=tiny(TEST__CHECKPOINT_FILE_PATH=weights, **changes))
        if not weights.exists():
            torch.manual_seed(seed)
            model, _ = build_model.build_model(cfg, 3)
            torch.nn.init.normal_(model.head.weight, std=3)
            metadata = build_model.build_metadata(cfg, model, NAMES) | {"task": task}
            write_checkpoint(weights, model.state_dict(), metadata)
        records = [
            VideoRecord(path, Path(path).name, own)
            for path, own in zip(paths, LABELS[task], strict=True)
        ]
        folder = RunFolder(tmp_path / "run")
        data = Data(NAMES, test=records)
        return multi_view_test.evaluate(cfg, data, folder, ranks, "tiny")

    return test


def read(folder):
    return json.loads((folder / "results.json").read_text())


def headline(task, scores):
    """Top-1 or mean average precision of mean logits [5, 3] of the videos that decode."""
    labels = [own for place, own in enumerate(LABELS[task]) if place != 3]
    if task == "single-label":
        return np.mean([row.argmax() == own for row, (own,) in zip(scores, labels, strict=True)])
    truth = np.array([[k in own for k in range(3)] for own in labels])
    return np.mean([average_precision_score(truth[:, k], scores[:, k]) for k in range(3)])


def mean_logits(path):
    with np.load(path) as file:
        scores = np.delete(file["scores"].astype(np.float64), 3, -3)
        return scores.mean(-2), {key: file[key] for key in file.files}


@pytest.mark.parametrize("task", LABELS)
def test_every_figure_comes_out_again_from_the_files(tested, task, caplog):
    caplog.set_level("INFO")
    folder = tested(task, page=True, TEST__ROBUSTNESS="[all]", TEST__MOTION_CHECK=True)
    record = read(folder)
    found = record["analyses"]["robustness"]
    own, _ = mean_logits(folder / "scores.npz")
    scores, file = mean_logits(folder / "variants.npz")
    clean = headline(task, own)
    assert found["clean"]["value"] == pytest.approx(clean)
    assert (found["videos"], found["failures"], found["per_view"]) == (5, [], True)
    of = {
        pair: headline(task, rows)
        for *pair, rows in zip(file["kinds"], file["strengths"], scores, strict=True)
        for pair in [tuple(pair)]
    }
    assert len(of) == 27
    for row in found["kinds"]:
        values = [of[row["kind"], one["strength"]] for one in row["strengths"]]
        assert [one["figure"]["value"] for one in row["strengths"]] == pytest.approx(values)
        assert row["mean"] == pytest.approx(np.mean(values))
        assert row["drop"] == pytest.approx(clean - np.mean(values))
        assert row["relative_drop"] == pytest.approx((clean - np.mean(values)) / clean)
        for one, value in zip(row["strengths"], values, strict=True):
            difference = one["difference"]
            assert difference["value"] == pytest.approx(value - clean)
            assert difference["low"] <= value - clean + 1e-9 <= difference["high"] + 2e-9
        held = [one["held"] for one in row["strengths"]]
        assert held == sorted(held) and (held[-1] > 0) == (row["kind"] == "rate")
    motion = record["motion"]
    assert motion["opposites"] == {} and "reversed_opposite" not in motion
    for key, value in (
        ("forward", clean),
        ("reversed_original", of["reversed", 1]),
        ("still", of["still", 1]),
    ):
        assert motion[key]["value"] == pytest.approx(value)
        if key != "forward":
            assert motion["differences"][key]["value"] == pytest.approx(value - clean)
    assert caplog.text.index("After that come 27 variants") < caplog.text.index(
        "The same videos in 27 variants"
    )
    assert "270 more views" in caplog.text  # 27 x 5 x 2
    assert "played backwards" in caplog.text and "robustness, mean over strengths" in caplog.text
    page = (folder / "report.html").read_text()
    assert 'id="motion"' in page and 'id="robustness"' in page and page.count("x0.67") >= 1
    assert "Of the 4 frames of a clip these are 0, 1, 2, 3, 3." in page


def test_the_test_and_its_variants_are_of_a_folded_model_counted_before(tested, monkeypatch):
    """By whichever way, and laid out for bf16: the test, its variants, and those of a test that is stored."""
    asked = []

    def watch(module, name):
        original = getattr(module, name)

        def scored(model, *args, **options):
            weights = model.patch_embed1.proj.weight
            is_last = weights.is_contiguous(memory_format=torch.channels_last_3d)
            asked.append((name, model.only_predicts and is_last))
            return original(model, *args, **options)

        monkeypatch.setattr(module, name, scored)

    watch(score_views, "score_videos")
    watch(variants_test, "score_variants")
    record = read(tested(TEST__MOTION_CHECK=True, TRAIN__PRECISION="bf16"))
    tested(TEST__MOTION_CHECK=True, TRAIN__PRECISION="bf16", TEST__ROBUSTNESS="[drop]")
    assert asked == [("score_videos", True), *[("score_variants", True)] * 2]
    model, _ = build_model.build_model(config_from_text(record["settings"], "the results"), 3)
    assert record["model"]["parameters"] == count_parameters(model)


def test_videos_that_fail_in_the_variants_alone_are_told(tested, monkeypatch, caplog):
    caplog.set_level("INFO")
    original = VariantDataset._decode

    def decode(self, record):
        if record.name == "1.mp4":
            raise DecodeError("1.mp4: its middle is lost")
        return original(self, record)

    monkeypatch.setattr(VariantDataset, "_decode", decode)
    folder = tested(page=True, TEST__MOTION_CHECK=True)
    assert read(folder)["motion"]["videos"] == 4
    told = "1 video that the test decoded could not be read for the variants"
    assert sum(told in line for line in caplog.messages) == 1
    assert "are without: 1.mp4 (1.mp4: its middle is lost)." in caplog.text
    page = (folder / "report.html").read_text()
    assert "1 more of the videos could not be read for this and does not count here." in page


def test_the_time_is_reckoned_from_the_parts_of_the_test(monkeypatch):
    """Each of 10 videos is read once, in 4 s, and has 3 variants of 2 views, each 1 s in the model."""
    cost = {"decode_seconds": 3.0, "crop_seconds": 1.0, "model_seconds": 1.0}
    protocol = SimpleNamespace(num_views=2)
    lacking = [Variant("drop", share) for share in (0.1, 0.5, 0.9)]
    todo = variants_test._Todo(lacking, ["drop"], protocol, "forward", 10, 80.0, cost)

    def seconds(changing, workers, size=1, device="cpu", todo=todo):
        monkeypatch.setattr(variants_test, "_change_seconds", lambda _: changing)
        return variants_test._expected_seconds(todo, workers, Ranks(0, size, torch.device(device)))

    assert seconds(0, workers=0) == 10 * (4 + 6)
    assert seconds(0, workers=2, size=2) == 5 * 6  # the workers keep up
    assert seconds(5, workers=0) == 10 * (4 + 6 + 10)
    assert seconds(6, workers=2, device="cuda") == 10 * 6  # six of the threads beside six
    assert seconds(0, workers=0, todo=todo._replace(cost=None)) == 240


def test_what_is_asked_later_is_added_and_nothing_done_again(tested, monkeypatch):
    folder = tested()
    before = read(folder)
    assert before["motion"] is None and "robustness" not in before["analyses"]
    assert not (folder / "variants.npz").exists()
    asked = []
    original = variants_test.score_variants

    def count(model, dataset, *arguments):
        asked.append([variant.kind for variant in dataset.variants])
        return original(model, dataset, *arguments)

    monkeypatch.setattr(variants_test, "score_variants", count)
    monkeypatch.setattr(score_views, "score_videos", lambda *_: pytest.fail("tested again"))
    assert tested(TEST__MOTION_CHECK=True) == folder
    motion = read(folder)["motion"]
    assert asked == [["reversed", "still"]] and "robustness" not in read(folder)["analyses"]
    assert tested(TEST__ROBUSTNESS="[reversed]") == folder  # scored for the other question
    assert [row["kind"] for row in read(folder)["analyses"]["robustness"]["kinds"]] == ["reversed"]
    tested(TEST__ROBUSTNESS="[blur, reversed]")
    tested(TEST__ROBUSTNESS="[blur]", TEST__MOTION_CHECK=True)
    tested()
    assert asked == [["reversed", "still"], ["blur"] * 5]
    after = read(folder)
    assert [row["kind"] for row in after["analyses"]["robustness"]["kinds"]] == ["blur", "reversed"]
    assert after["motion"] == motion
    del after["analyses"]["robustness"]
    assert {**after, "motion": None} == before


def test_another_seed_draws_again_what_is_drawn(tested):
    folder = tested(TEST__ROBUSTNESS="[noise, rate]", TEST__MOTION_CHECK=True)
    first, file = mean_logits(folder / "variants.npz")
    tested(TEST__ROBUSTNESS="[drop, noise]", RNG_SEED=1)
    second, later = mean_logits(folder / "variants.npz")
    seeds = {}
    for kind in ("noise", "rate", "still"):
        own = first[file["kinds"] == kind], second[later["kinds"] == kind]
        assert own[0].shape == own[1].shape
        assert np.array_equal(*own) == (kind != "noise")
        seeds[kind] = set(later["seeds"][later["kinds"] == kind].tolist())
    assert seeds == {"noise": {1}, "rate": {0}, "still": {0}}
    kinds = read(folder)["analyses"]["robustness"]["kinds"]
    assert [(row["kind"], row["strengths"][0].get("seed")) for row in kinds] == [
        ("drop", 1),
        ("noise", 1),
        ("rate", None),
    ]


def test_variants_of_other_weights_are_forgotten(tested, tmp_path):
    folder = tested(TEST__ROBUSTNESS="[jpeg]")
    other = tested(seed=1)  # nothing is trained: a folder of its own
    assert other != folder
    (tmp_path / "0.pt").write_bytes((tmp_path / "1.pt").read_bytes())
    assert tested(TRAIN__ENABLE=True) == folder  # the test of a training that went on
    assert "robustness" not in read(folder)["analyses"] and not (folder / "variants.npz").exists()


def test_opposite_classes(tested):
    pairs = {"DATA__OPPOSITE_CLASS_PAIRS": "[[sit, run]]", "TEST__MOTION_CHECK": True}
    motion = read(tested("multi-label", **pairs))["motion"]
    assert motion["opposites"] == {"sit": "run", "run": "sit"}
    assert motion["reversed_opposite"]["value"] is not None


def test_large_sets_keep_the_scores_of_videos(tested, monkeypatch):
    folder = tested(TEST__ROBUSTNESS="[jpeg]")
    views, _ = mean_logits(folder / "variants.npz")
    figures = read(folder)["analyses"]["robustness"]
    (folder / "variants.npz").unlink()
    monkeypatch.setattr(variants_test, "KEPT_BYTES", 0)
    tested(TEST__ROBUSTNESS="[jpeg]")
    means, file = mean_logits(folder / "variants.npz")
    assert not file["per_view"] and file["scores"].shape == (5, 6, 1, 3)
    np.testing.assert_allclose(means, views, atol=1e-5)
    assert read(folder)["analyses"]["robustness"]["kinds"] == figures["kinds"]


def test_a_damaged_file_of_variants_is_told(tested):
    folder = tested(TEST__ROBUSTNESS="[jpeg]")
    (folder / variants.VARIANTS_FILE).write_bytes(b"no zip")
    assert tested() == folder  # nobody asks for it
    with pytest.raises(variants.DataError, match=r"variants.npz: .*; delete it"):
        tested(TEST__ROBUSTNESS="[blur]")

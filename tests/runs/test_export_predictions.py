"""Predictions of a stored test as tables and as Something-Something's files; tests as rows in Markdown."""

import csv

import numpy as np
import pytest
from pages import MODEL, PROTOCOL, in_views

from uniformer_video.cli import main
from uniformer_video.data.lists.class_names import class_names
from uniformer_video.errors import ConfigError, DataError, MissingLibraryError
from uniformer_video.evaluation.markdown import as_markdown
from uniformer_video.evaluation.results import build_results, load_results, save_results
from uniformer_video.runs.export_predictions import export_predictions
from uniformer_video.runs.rescore import Choice, rescore
from uniformer_video.tasks.multi_label import MultiLabel
from uniformer_video.tasks.single_label import SingleLabel

SCORES = np.array([[3, 1, 0], [1, 3, 0], [0, 3, 2], [np.nan] * 3], np.float32)
LABELS = [0, 0, 1, 2]


def make_test(folder, scores=SCORES, labels=LABELS, task=None, **changes):
    task = task or SingleLabel()
    count = len(labels)
    arguments = {
        "names": [f"{i}.mp4" for i in range(count)],
        "paths": [f"/data/{i}.mp4" for i in range(count)],
        "class_names": ["a, b", "c", "d"],
        "failures": {3: "cut short"},
        "segments": [(0.0, None), (1.5, 4.0), *[(0.0, None)] * (count - 2)],
        "protocol": PROTOCOL,
        "model": {**MODEL, "gflops_view": 41.763},
    }
    results = build_results(
        task=task,
        title="run",
        labels=labels,
        view_scores=in_views(scores),
        **{**arguments, **changes},
    )
    save_results(folder, results, in_views(scores), task)
    return folder


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def softmax(scores):
    powers = np.exp(scores.astype(float))
    return powers / powers.sum(-1, keepdims=True)


def test_a_row_for_each_video(tmp_path):
    run, out = make_test(tmp_path / "run"), tmp_path / "new" / "table.csv"
    assert export_predictions(run, out) == []
    rows = rows_of(out)
    assert [row["name"] for row in rows] == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]
    shares = softmax(SCORES[:3])
    first, second, _, failed = rows
    assert (first["label"], first["label_name"], first["predicted_name"]) == ("0", "a, b", "a, b")
    assert (first["start"], first["end"], first["right"], first["failure"]) == ("", "", "True", "")
    assert (second["start"], second["end"], second["path"]) == ("1.5", "4.0", "/data/1.mp4")
    assert (second["predicted"], second["right"]) == ("1", "False")
    assert float(second["score"]) == pytest.approx(shares[1, 1], rel=1e-12)
    assert float(second["true_score"]) == pytest.approx(shares[1, 0], rel=1e-12)
    assert [second[f"top{k}_name"] for k in (1, 2, 3)] == ["c", "a, b", "d"]
    assert "top4_name" not in second
    assert (failed["label"], failed["label_name"], failed["failure"]) == ("2", "d", "cut short")
    assert {
        failed[key] for key in ("predicted", "predicted_name", "score", "right", "top1_name")
    } == {""}


def test_every_class(tmp_path):
    out = tmp_path / "table.csv"
    export_predictions(make_test(tmp_path / "run"), out, every_class=True)
    rows = rows_of(out)
    found = [
        [float(row[f"probability: {name}"]) for name in ("a, b", "c", "d")] for row in rows[:3]
    ]
    np.testing.assert_allclose(found, softmax(SCORES[:3]), rtol=1e-12)
    assert rows[3]["probability: c"] == "" and "top1_name" not in rows[0]


def test_several_labels(tmp_path):
    scores = np.array([[2, 1, -1], [-1, 0, -2], [-3, -2, -1], [np.nan] * 3], np.float32)
    run = make_test(tmp_path / "run", scores, [(0, 2), (), (2,), (1,)], MultiLabel())
    out = tmp_path / "table.csv"
    export_predictions(run, out)
    first, second, third, failed = rows_of(out)
    assert (first["label"], first["label_name"]) == ("0 2", "a, b;d")
    assert (first["chosen"], first["chosen_name"], first["right"]) == ("0 1", "a, b;c", "True")
    own = [float(score) for score in first["true_score"].split()]
    assert own == pytest.approx([1 / (1 + np.exp(-2)), 1 / (1 + np.exp(1))])
    assert (second["label"], second["chosen"], second["right"]) == ("", "1", "")
    assert (third["predicted"], third["chosen"], third["right"]) == ("2", "", "True")
    assert (failed["label"], failed["predicted"], failed["chosen"]) == ("1", "", "")
    with pytest.raises(ConfigError, match="takes tests of one label a video, not the task multi"):
        export_predictions(run, out, "ssv2")


def test_parquet_has_the_same_in_types(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    run, out = make_test(tmp_path / "run"), tmp_path / "table.parquet"
    export_predictions(run, out)
    export_predictions(run, tmp_path / "table.csv")
    table = parquet.read_table(out).to_pylist()
    assert [row["right"] for row in table] == [True, False, True, None]
    assert table[1]["end"] == 4.0 and table[0]["failure"] is None and table[3]["label"] == 2
    as_text = [{k: "" if v is None else str(v) for k, v in row.items()} for row in table]
    assert as_text == rows_of(tmp_path / "table.csv")


def test_parquet_without_its_library(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingLibraryError, match=r"needs pyarrow.*pip install .*\[parquet\]"):
        export_predictions(make_test(tmp_path / "run"), tmp_path / "table.parquet")
    assert not (tmp_path / "table.parquet").exists()


def something(folder, order, **changes):
    """Three videos of Something-Something, classes in an `order`; video i answers classes i, i + 1, ..."""
    scores = np.zeros((3, 174), np.float32)
    for video in range(3):
        for rank in range(5):
            scores[video, order.index(video + rank)] = 9 - rank
    usual = class_names("ssv2")
    arguments = {
        "names": ["78687.webm", "frames/42", "7.webm"],
        "paths": ["a", "b", "c"],
        "class_names": [usual[k] for k in order],
        "failures": {2: "cut short"},
        "segments": None,
    }
    return make_test(
        folder, scores, [order.index(0), order.index(5), 0], **{**arguments, **changes}
    )


def test_the_files_of_something_something(tmp_path):
    """As the baseline of the data set and TSM write them: numbers of V2's labels.json, names for V1."""
    run, out = something(tmp_path / "run", list(range(173, -1, -1))), tmp_path / "submission.csv"
    notes = export_predictions(run, out, "ssv2")
    assert out.read_text() == "78687;0;1;2;3;4\n42;1;2;3;4;5\n"
    assert notes == ["1 video could not be decoded and is not in the file: 7.webm"]
    export_predictions(run, out, "ssv1")
    names = class_names("ssv1")
    assert out.read_text() == f"78687;{names[0]}\n42;{names[1]}\n"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"names": ["x.webm", "1", "2"]}, "'x.webm' is no video of Something-Something"),
        ({"names": ["1.webm", "a/1", "2"]}, "has the video 1 twice"),
        ({"class_names": [str(k) for k in range(174)]}, "174 classes are not the 174 of Something"),
    ],
)
def test_what_is_no_test_of_something_something(tmp_path, changes, told):
    run = something(tmp_path / "run", list(range(174)), **changes)
    with pytest.raises(DataError, match=told):
        export_predictions(run, tmp_path / "out.csv", "ssv2")
    assert not (tmp_path / "out.csv").exists()


def test_what_cannot_be_written(tmp_path):
    run = make_test(tmp_path / "run")
    with pytest.raises(ConfigError, match="--format is 'excel'; allowed: 'csv', 'parquet'"):
        export_predictions(run, tmp_path / "x", "excel")
    with pytest.raises(ConfigError, match="is a folder; give a file in it"):
        export_predictions(run, tmp_path)
    with pytest.raises(ConfigError, match="--all goes with csv and parquet"):
        export_predictions(run, tmp_path / "x", "ssv2", every_class=True)


def test_no_file_of_a_run_is_written_over(tmp_path):
    run = make_test(tmp_path / "run")
    (run / "bad_videos.csv").write_text("path\n")
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    for name in ("results.json", "scores.npz", "table.xlsx", "table.csv.gz"):
        with pytest.raises(ConfigError, match="tells no form by its name; call it"):
            export_predictions(run, run / name)
    for name in ("results.json", "bad_videos.csv"):
        with pytest.raises(ConfigError, match="is there already and no table by its name"):
            export_predictions(run, run / name, "csv")
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    for name in ("table.csv", "table.CSV", "table", "table.txt"):
        export_predictions(run / "results.json", tmp_path / name)
        assert len(rows_of(tmp_path / name)) == 4
    export_predictions(run, tmp_path / "table.csv")  # over an earlier table


def test_places_that_cannot_be_written(tmp_path, capsys):
    run = make_test(tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be written: there is no folder .*give another"):
        export_predictions(run, tmp_path / "file" / "table.csv")
    assert main(["export-predictions", str(run), "--out", ""]) == 2
    assert "--out is empty" in capsys.readouterr().err


def test_the_command(tmp_path, capsys):
    run, out = make_test(tmp_path / "run"), tmp_path / "table.csv"
    assert main(["export-predictions", str(run), "--out", str(out), "--all"]) == 0
    assert capsys.readouterr().out == f"{out}\n" and len(rows_of(out)) == 4


def test_rows_in_markdown(tmp_path, capsys):
    first = make_test(tmp_path / "first")
    wide = np.repeat(np.eye(8, dtype=np.float32)[:4], 1, axis=0)
    other = {"class_names": list("abcdefgh"), "failures": {}, "model": {**MODEL, "name": "a|b"}}
    second = make_test(tmp_path / "second", wide, [0, 1, 2, 3], **other)
    assert main(["report", str(first), str(second), "--markdown"]) == 0
    assert capsys.readouterr().out == (
        "| model | input | pixels | views | GFLOPs x views | parameters | videos | top-1, % | top-5, % |\n"
        "|---|---|---|---|---|---|---|---|---|\n"
        "| uniformer_s | 8x2 | 64 | 4x1 | 41.76 x 4 | 21.40 M | 4 (1 failed) | 66.7 (20.8-93.9) | - |\n"
        "| a\\|b | 8x2 | 64 | 4x1 | - | 21.40 M | 4 | 100.0 (51.0-100.0) | 100.0 (51.0-100.0) |\n"
    )
    assert not (first / "report.html").exists()
    alone = as_markdown([load_results(first)])
    tiny = make_test(tmp_path / "tiny", model={**MODEL, "gflops_view": 0.00057})
    assert "| 0.00057 x 4 |" in as_markdown([load_results(tiny)])
    assert "top-5" not in alone  # of three classes the best five are always right
    run = make_test(tmp_path / "labels", SCORES, [(0,), (1,), (0, 1), ()], MultiLabel())
    found = load_results(run)["summary"]["map"]
    row = as_markdown([load_results(run)]).splitlines()[2]
    assert f" {100 * found['value']:.1f} (" in row


def test_rows_say_what_is_left_of_a_test(tmp_path):
    scores = np.tile(np.eye(3, dtype=np.float32), (2, 1))
    run = make_test(tmp_path / "run", scores, [0, 1, 2, 0, 1, 2], failures={})
    part = rescore(run, tmp_path / "part", Choice("softmax", classes=["c,d"]))
    again = rescore(part, tmp_path / "again")
    for folder in (part, again):
        row = as_markdown([load_results(folder)]).splitlines()[2]
        assert "| 4x1, softmax |" in row and "| 4 of 6, 2 of 3 classes |" in row

"""The command: a page and tables of a small data set in which what is wrong is known."""

import csv
import importlib.util
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from pages import Page
from untrained import write_untrained

from uniformer_video import cli
from uniformer_video.audit.listed import Listed
from uniformer_video.audit.near import near_pairs
from uniformer_video.audit.tables import DUPLICATES_FILE, LABELS_FILE
from uniformer_video.audit.vectors import FEATURES_FILE, rows_of
from uniformer_video.data.lists.media import IMAGE
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import DataError
from uniformer_video.features.predictor import FeaturePredictor
from uniformer_video.features.table import FeatureTable, read_features, write_features
from uniformer_video.prepare.demo import write_video

needs_scikit_learn = pytest.mark.skipif(
    importlib.util.find_spec("sklearn") is None, reason="scikit-learn is not installed"
)


def blocks(seed):
    """uint8 `[8, 48, 64, 3]`: grey blocks, others for each seed."""
    grey = np.random.default_rng(seed).integers(0, 255, (6, 8), np.uint8)
    return np.repeat(np.kron(grey, np.ones((8, 8), np.uint8))[None, ..., None], 8, 0).repeat(3, -1)


def table_of(vectors, paths):
    nothing = np.full(len(paths), np.nan)
    return FeatureTable(np.float32(vectors), paths, nothing, nothing, np.full(len(paths), -1))


@pytest.fixture
def data(tmp_path):
    """(folder of lists, file of features): 24 videos, one of class walk that looks like run. 0 and 2 show
    the same, and val has two of them again, one with another label."""
    root = tmp_path / "data"
    root.mkdir()
    rng = np.random.default_rng(0)
    lines, vectors, paths = [], [], []
    for number in range(24):
        seems = number % 2
        name = f"{number}.mp4"
        write_video(
            root / name, blocks(0 if number == 2 else number), 25, 30 if number == 2 else 20
        )
        lines.append(f"{name},{'run' if seems and number != 5 else 'walk'}\n")
        paths.append(str(root / name))
        vectors.append(rng.normal(0, 0.3, 6) + 3 * seems)
    (root / "train.csv").write_text("".join(lines))
    (root / "val.csv").write_text("0.mp4,run\n1.mp4,run\nlost.mp4,walk\n")
    file = tmp_path / "features.npz"
    write_features(table_of(vectors, paths), file)
    return root, file


def audit(data, tmp_path, *words):
    root, file = data
    return cli.main(
        ["audit", str(root), "--features", str(file), "--out", str(tmp_path / "out"), *words]
    )


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@needs_scikit_learn
def test_the_wrong_label_is_first_and_all_videos_are_counted(data, tmp_path, capsys):
    assert (
        audit(data, tmp_path, "--quick", "--show", "4", "--workers", "1", "DATA.MAX_BAD_RATIO", "1")
        == 0
    )
    table = rows(tmp_path / "out" / LABELS_FILE)
    wrong = {row["path"].rpartition("/")[2]: row for row in table if row["likely wrong"] == "yes"}
    assert set(wrong) == {"5.mp4", "0.mp4"}
    assert (wrong["5.mp4"]["given"], wrong["5.mp4"]["suggested"]) == ("walk", "run")
    assert [row["rank"] for row in table if row["rank"]] == [str(n) for n in range(1, 27)]
    (left_out,) = (row for row in table if not row["rank"])
    assert left_out["path"].endswith("lost.mp4")
    assert "no features of it" in left_out["not judged because"]
    pairs = rows(
        tmp_path / "out" / DUPLICATES_FILE
    )  # one file in two lists needs no look at what it shows
    assert [(p["found by"], p["labels differ"], p["across lists"]) for p in pairs] == [
        ("file", "yes", "yes"),
        ("file", "no", "yes"),
    ]
    text = (tmp_path / "out" / "audit.html").read_text()
    page = Page(text)
    assert sum(tag == "img" for tag in page.tags) == 4 + 2 * 2
    assert "http" not in text.replace("http-equiv", "")
    said = capsys.readouterr()
    assert "26 labels judged, 2 likely wrong" in said.out
    assert "1 video whose label is not judged" in said.err


@needs_scikit_learn
def test_the_same_footage_is_found_and_names_are_escaped(data, tmp_path):
    root, _ = data
    (root / "classes.txt").write_text("walk\nrun <b>\n")
    for name in ("train.csv", "val.csv"):
        text = (root / name).read_text().replace("run", "run <b>").replace("lost.mp4,walk\n", "")
        (root / name).write_text(text)
    assert audit(data, tmp_path, "--show", "2", "--workers", "1", "--split", "train") == 0
    pairs = rows(tmp_path / "out" / DUPLICATES_FILE)
    assert [(p["path"][-5:], p["other path"][-5:], p["found by"]) for p in pairs] == [
        ("0.mp4", "2.mp4", "footage")
    ]
    page = (tmp_path / "out" / "audit.html").read_text()
    assert "run <b>" not in page
    assert "run &lt;b&gt;" in page


@needs_scikit_learn
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--split", "tran"], "did you mean 'train'"),
        (["--show", "-1"], "--show is -1"),
        (["--alike", "2"], "--alike is 2"),
        (["--checkpoint", "best.pt"], "one of them"),
        (["DATA.PATH_TO_DATA_DIR", "x"], "leave it out"),
        (["--device", "cpu"], "--device is of --checkpoint"),
        (["--split", "test"], "allowed: 'train', 'val', 'all'"),  # which a run would take from val
        (["--out", ""], "--out is empty"),
    ],
)
def test_what_is_wrong_is_one_line(data, tmp_path, capsys, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    assert audit(data, tmp_path, "--quick", "DATA.MAX_BAD_RATIO", "1", *words) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists() and not (tmp_path / LABELS_FILE).exists()


@needs_scikit_learn
def test_a_model_that_cannot_be_used_leaves_no_folder(data, tmp_path, capsys, monkeypatch):
    words = ["audit", str(data[0]), "--out", str(tmp_path / "out"), "--quick", "--checkpoint"]
    words += ["best.pt", "DATA.MAX_BAD_RATIO", "1"]
    assert cli.main(words) == 2
    assert "best.pt" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(
        FeaturePredictor, "from_checkpoint", lambda *_, **__: SimpleNamespace(medium=IMAGE)
    )
    assert cli.main(words) == 2
    assert "a model of images" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@needs_scikit_learn
def test_it_says_that_footage_was_not_compared(data, tmp_path, capsys):
    words = ["--workers", "1", "--split", "train", "--show", "1", "DATA.MAX_BAD_RATIO", "1"]
    assert audit(data, tmp_path, "--quick", *words) == 0
    page = tmp_path / "out" / "audit.html"
    said = capsys.readouterr().out
    assert "footage was not compared: --quick" in said
    assert "5.mp4: walk? It seems run." in said
    assert "None was found." not in page.read_text() and "no copy of it" not in page.read_text()
    assert audit(data, tmp_path, *words) == 0
    assert "not compared" not in capsys.readouterr().out
    assert "no copy of it" in page.read_text()


def test_features_of_a_whole_video_are_not_of_its_segments():
    def listed(name, **times):
        return Listed(VideoRecord(f"/{name}.mp4", name, (0,), **times), "train")

    paths = ["/a.mp4", "/b.mp4", "/b.mp4", "/a.mp4"]
    table = FeatureTable(
        np.float32([[1], [2], [4], [9]]),
        paths,
        np.array([np.nan, 0, 5, 7]),
        np.array([np.nan, 5, 10, 8]),
        np.full(4, -1),
        failed={"c": "/c.mp4 breaks"},
    )
    videos = [
        listed("a"),
        listed("a", start=1.0, end=2.0),
        listed("b", start=5.0, end=10.0),
        listed("b"),
        listed("c"),
        listed("d"),
    ]
    features, rows, missing = rows_of(videos, table, "f.npz")
    assert rows.tolist() == [0, -1, 1, 2, -1, -1] and features.ravel().tolist() == [1, 4, 3]
    assert missing == {
        1: "f.npz has features of other seconds of it",
        4: "breaks",
        5: "f.npz has no features of it",
    }
    with pytest.raises(DataError, match="none of the 1 segments"):
        rows_of(videos[1:2], table, "f.npz")


@needs_scikit_learn
def test_a_checkpoint_makes_features_that_the_next_call_takes(data, tiny, tmp_path):
    root, _ = data
    weights = write_untrained(tmp_path / "weights.pt", tiny())
    out = tmp_path / "out"
    words = ["audit", str(root), "--checkpoint", str(weights), "--out", str(out), "--quick"]
    words += ["--workers", "1", "DATA.MAX_BAD_RATIO", "1"]
    assert cli.main(words) == 0
    table = read_features(out / FEATURES_FILE)
    assert len(table) == 24 and [*table.failed] == ["lost.mp4"]
    judged = [row for row in rows(out / LABELS_FILE) if row["rank"]]
    assert len(judged) == 26  # 0 and 1 stand in two lists
    made = (out / FEATURES_FILE).read_bytes()
    words[2:4] = ["--features", str(out / FEATURES_FILE)]
    assert cli.main(words) == 0
    assert (out / FEATURES_FILE).read_bytes() == made


@needs_scikit_learn
def test_wrong_files_are_one_line(data, tmp_path, capsys):
    root, file = data
    out = tmp_path / "out"
    truncated = tmp_path / "half.npz"
    truncated.write_bytes(file.read_bytes()[:100])
    elsewhere = tmp_path / "other.npz"
    write_features(table_of(np.eye(2), ["a.mp4", "b.mp4"]), elsewhere)
    empty = ["--quick", "DATA.MAX_BAD_RATIO", "1"]
    for path, said in (
        (tmp_path / "nothing.npz", "there is no file of features"),
        (truncated, "damaged one"),
        (elsewhere, "features of none of the 27 videos"),
    ):
        assert audit((root, path), tmp_path, *empty) == 2
        assert said in capsys.readouterr().err
    (out / "audit.html").mkdir(parents=True)
    assert audit(data, tmp_path, *empty) == 2
    assert "audit.html is a folder" in capsys.readouterr().err
    assert [place.name for place in out.iterdir()] == ["audit.html"]
    (out / "audit.html").rmdir()
    (out / "labels.csv").write_text("mine\n")
    assert audit(data, tmp_path, *empty) == 2
    assert "not of an audit" in capsys.readouterr().err
    assert (out / "labels.csv").read_text() == "mine\n"


def test_without_the_library_it_says_what_to_install(data, tmp_path, capsys, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert audit(data, tmp_path) == 2
    assert "[audit]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_alike_features_are_paired_nearest_first():
    rng = np.random.default_rng(0)
    features = rng.normal(0, 1, (50, 16)) + 100  # what all have in common counts for nothing
    features[7] = features[3] + 1e-3
    features[9] = features[4] + 0.2 * rng.normal(0, 1, 16)
    pairs, cosines = near_pairs(features, 0.9)
    assert pairs.tolist() == [[3, 7], [4, 9]]
    assert 0.9 < cosines[1] < cosines[0] <= 1 + 1e-6
    assert near_pairs(features[:1], 0.5)[0].shape == (0, 2)
    everything, _ = near_pairs(np.tile(features[:2], (30, 1)), 0.9, most=5)
    assert len(everything) <= 60 * 5

"""`features` and `neighbours`, by a small untrained model and generated videos."""

import json
from dataclasses import replace
from threading import Thread

import numpy as np
import pytest
import torch
from untrained import write_untrained

import uniformer_video as uv
from uniformer_video.audit.listed import Listed
from uniformer_video.audit.vectors import rows_of as audit_rows_of
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import DataError
from uniformer_video.features.neighbours import nearest, rows_of
from uniformer_video.features.table import FeatureTable, read_features
from uniformer_video.models.layer_maps import channels_last


@pytest.fixture
def checkpoint(tiny, tmp_path):
    """A function: the path of a checkpoint by a seed."""

    def write(seed=0):
        return write_untrained(tmp_path / f"weights{seed}.pt", tiny(), seed=seed)

    return write


@pytest.fixture
def videos(make_video, tmp_path):
    """A folder of three videos, of which 1.mp4 is broken."""
    for number in range(3):
        make_video(f"videos/{number}.mp4", frames=20 + 10 * number)
    (tmp_path / "videos" / "1.mp4").write_bytes(b"no video")
    return tmp_path / "videos"


def features(call, checkpoint, videos, out, *words):
    return call(
        "features", videos, "--checkpoint", checkpoint, "--out", out, "--workers", 0, *words
    )


def test_the_head_of_the_features_gives_the_logits(checkpoint, videos, tmp_path, call):
    """What is taken is what the classifier reads: its layer makes the prediction of it."""
    weights, out = checkpoint(), tmp_path / "f.npz"
    status, _, errors = features(call, weights, videos, out)
    assert status == 2 and "1 video has no features" in errors and "1.mp4" in errors
    table = uv.read_features(out)
    assert len(table) == 2 and len(table.failed) == 1
    predictor = uv.Predictor.from_checkpoint(weights)
    head = uv.create_model(checkpoint=weights).eval().head
    for path, vector in zip(table.paths, table.vectors, strict=True):
        with torch.no_grad():
            logits = head(torch.from_numpy(vector)[None])
        found = torch.softmax(logits, 1)[0].numpy()
        np.testing.assert_allclose(found, predictor(path).probabilities, atol=1e-5)


def test_views_are_those_whose_mean_is_the_videos(checkpoint, videos, tmp_path, call):
    weights, views = checkpoint(), ("--clips", 2, "--crops", 3)
    features(call, weights, videos / "0.mp4", tmp_path / "a.npz", *views)
    features(call, weights, videos / "0.mp4", tmp_path / "b.npz", *views, "--per", "view")
    mean, single = read_features(tmp_path / "a.npz"), read_features(tmp_path / "b.npz")
    assert single.views.tolist() == [*range(6)]
    np.testing.assert_allclose(single.vectors.mean(0), mean.vectors[0], atol=1e-6)


def test_maps_and_their_means_are_of_one_layer(checkpoint, videos, tmp_path, call):
    weights, layer = checkpoint(), ("--layer", "blocks3.0")
    features(call, weights, videos / "0.mp4", tmp_path / "maps.npz", *layer, "--maps")
    features(call, weights, videos / "0.mp4", tmp_path / "means.npz", *layer)
    maps, means = read_features(tmp_path / "maps.npz"), read_features(tmp_path / "means.npz")
    assert maps.vectors.ndim == 5 and means.made_by["layer"] == "blocks3.0"
    np.testing.assert_allclose(maps.flat(), means.vectors, atol=1e-5)


def test_windows_are_segments_of_the_video(checkpoint, videos, tmp_path, call):
    weights, out = checkpoint(), tmp_path / "f.npz"
    status, _, errors = features(call, weights, videos / "2.mp4", out, "--window", 0.8)
    assert status == 0, errors
    table = read_features(out)  # of 40 frames, 1.6 s
    assert table.starts.tolist() == [0.0, 0.4, 0.8] and table.ends.tolist() == [0.8, 1.2, 1.6]
    taken = uv.FeaturePredictor.from_checkpoint(weights)
    expected = taken(videos / "2.mp4", start=0.4, end=1.2).mean(0)
    np.testing.assert_allclose(table.vectors[1], expected, atol=1e-5)
    # a file has windows of one kind, or none
    for words in ([], ["--window", 0.6], ["--window", 0.8, "--stride", 0.8]):
        status, _, errors = features(call, weights, videos / "2.mp4", out, *words)
        assert status == 2 and "was made with another window" in errors
    assert len(read_features(out)) == 3


def test_other_threads_may_ask_the_same_predictor(checkpoint, videos):
    taken = uv.FeaturePredictor.from_checkpoint(checkpoint(), batch_size=1)
    paths = [videos / "0.mp4", videos / "2.mp4"]
    alone, together = [taken(path) for path in paths], {}
    threads = [Thread(target=lambda p=p: together.update({p: taken(p)})) for p in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for path, expected in zip(paths, alone, strict=True):
        np.testing.assert_allclose(together[path], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--layer", "blocks4.99"], "did you mean 'blocks4."),
        (["--maps"], "name a layer (--layer)"),
        (["--layer", "head", "--maps"], "no map; leave out --maps"),
        (["--stride", "1"], "give --window too"),
        (["--window", "0"], "--window is 0 seconds"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_stays(checkpoint, videos, tmp_path, call, words, told):
    out = tmp_path / "out" / "f.npz"
    out.parent.mkdir()
    status, _, errors = features(call, checkpoint(), videos / "0.mp4", out, *words)
    assert status == 2 and told in errors and "Traceback" not in errors
    assert not out.exists()


def test_a_query_without_neighbours_is_not_silent(checkpoint, videos, tmp_path, call):
    out = tmp_path / "f.npz"
    features(call, checkpoint(), videos / "0.mp4", out)
    status, shown, errors = call("neighbours", out, "0")
    assert status == 2 and not shown and "has no neighbours: all 1 row" in errors


def test_two_models_in_one_file_are_refused(checkpoint, videos, tmp_path, call):
    out = tmp_path / "f.npz"
    features(call, checkpoint(), videos, out)
    status, _, errors = features(call, checkpoint(1), videos, out)
    assert status == 2 and "was made with another checkpoint" in errors


def test_the_nearest_are_those_of_a_plain_search():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 6)).astype(np.float32)
    nothing = np.full(50, np.nan)
    table = FeatureTable(
        vectors, [f"{n}.mp4" for n in range(50)], nothing, nothing, np.full(50, -1)
    )
    expected = sorted(
        (float(v @ vectors[3] / np.linalg.norm(v) / np.linalg.norm(vectors[3])), n)
        for n, v in enumerate(vectors)
        if n != 3
    )[::-1][:5]
    found = nearest(table, vectors[3], 5, rows_of(table, "3.mp4"))
    assert [one.row for one in found] == [row for _, row in expected]
    np.testing.assert_allclose(
        [one.similarity for one in found], [c for c, _ in expected], rtol=1e-5
    )


def test_a_video_is_one_however_it_is_linked(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.mp4").touch()
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    paths = [str(tmp_path / folder / "a.mp4") for folder in ("real", "linked")]
    nothing = np.full(2, np.nan)
    table = FeatureTable(
        np.ones((2, 2), np.float32), [paths[0], "b"], nothing, nothing, np.full(2, -1)
    )
    assert rows_of(table, paths[1]) == [0]
    listed = [Listed(VideoRecord(paths[1], "a", (0,)), "train")]
    assert audit_rows_of(listed, table, "f.npz")[1].tolist() == [0]
    twice = replace(table, paths=paths)
    assert not nearest(twice, table.vectors[0], 1, [0])  # itself, by its other name


def test_windows_that_overlap_the_query_are_left_out():
    starts = np.array([0.0, 0.5, 1.0, 0.0])
    vectors = np.ones((4, 2), np.float32)
    table = FeatureTable(vectors, ["a", "a", "a", "b"], starts, starts + 1, np.full(4, -1))
    assert rows_of(table, "a", at=0.2) == [0]
    assert [one.row for one in nearest(table, vectors[0], 9, [0])] == [2, 3]
    with pytest.raises(DataError, match="no row of a shows the second 7"):
        rows_of(table, "a", at=7)


def test_neighbours_of_known_and_new_videos(checkpoint, videos, make_video, tmp_path, call):
    weights, out = checkpoint(), tmp_path / "f.npz"
    features(call, weights, videos, out)
    status, known, _ = call("neighbours", out, videos / "0.mp4", "--json")
    assert status == 0 and json.loads(known)["video"] == str(videos / "2.mp4")
    copy = tmp_path / "copy.mp4"
    copy.write_bytes((videos / "2.mp4").read_bytes())
    status, shown, _ = call("neighbours", out, copy, "--checkpoint", weights, "-k", 1)
    assert status == 0 and shown == f" 1.0000  {videos / '2.mp4'}\n"
    by_row = call("neighbours", out, "0", "--json")[1]
    assert by_row == known and json.loads(known)["row"] == 1
    # the query is no find, where it is in the table and computed anew all the same
    computed = call("neighbours", out, videos / "0.mp4", "--checkpoint", weights, "--json")[1]
    assert [json.loads(line)["row"] for line in computed.splitlines()] == [1]
    for words, told in (
        ([copy], "is not among the 2 rows"),
        ([tmp_path / "0.mp4"], f"did you mean {videos / '0.mp4'}?"),
        ([videos / "00.mp4"], f"did you mean {videos / '0.mp4'}?"),
        (["2"], "a row from 0 to 1"),
        (["9" * 5000], "a row from 0 to 1"),
        ([copy, "--checkpoint", checkpoint(1)], "was made with another checkpoint"),
        ([videos / "0.mp4", "-k", 0], "-k is 0"),
    ):
        status, _, errors = call("neighbours", out, *words)
        assert status == 2 and told in errors


def test_what_a_linear_layer_gives_has_its_channels_last():
    """As the classifier of X3D, which is run on a map: its mean is one number a class."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Conv3d(3, 5, 1))
    assert channels_last(model, "0") and not channels_last(model, "1")

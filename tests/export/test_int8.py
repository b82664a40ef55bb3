"""Exported files in int8: what is quantised, what decides, which layers stay in float, and their use."""

import errno
import importlib.util
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_run import tiny_overrides
from torch import nn
from untrained import write_untrained
from videos import all_frames

import uniformer_video as uv
from tests.zoo.test_contract import FORMS, inputs
from uniformer_video import cli, files
from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import CheckpointError, ConfigError, DamagedError, DataError
from uniformer_video.export import int8_parity, runtime
from uniformer_video.export.files import write_program
from uniformer_video.export.formats import DYNAMIC, ONNX, RANGES, STATIC
from uniformer_video.export.graph import to_onnx, trace
from uniformer_video.export.int8 import FloatGraph, Quantization
from uniformer_video.export.int8_parity import layer_damage, write_int8
from uniformer_video.export.metadata import ExportInfo, json_beside, read_info
from uniformer_video.export.planes import Planes
from uniformer_video.export.sessions import open_session
from uniformer_video.prepare.demo import write_video
from uniformer_video.runs import export_model
from uniformer_video.runs.export_clips import ExportClips, find_calibration, find_clips
from uniformer_video.runs.export_int8 import Int8Options, find_int8_clips
from uniformer_video.runs.run import run
from uniformer_video.tasks.single_label import SingleLabel
from uniformer_video.weights.checkpoint import read_weights, write_checkpoint

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None, reason="needs the extra `export`"
)


class Toy(nn.Module):
    """Logits of clips `[B, 3, 2, 8, 8]`; in front of `head` a feature is so large that int8 loses others."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv3d(3, 6, (1, 2, 2), stride=(1, 2, 2))
        self.depthwise = nn.Conv3d(6, 6, 3, padding=1, groups=6)
        self.body = nn.Linear(6, 16)
        self.head = nn.Linear(17, 5)
        with torch.no_grad():
            self.head.weight[:, 16] = 1e-5
            self.head.bias.zero_()

    def forward(self, clips):
        maps = self.depthwise(self.stem(clips)).relu().mean((2, 3, 4))
        features = self.body(maps)
        large = 1e4 + 1e4 * features[:, :1]
        return self.head(torch.cat([features, large], 1))


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """(the network, its float32 file, 40 clips)."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("toy") / "toy.onnx"
    network = Toy().eval()
    to_onnx(trace(network, torch.zeros(2, 3, 2, 8, 8)), path)
    rng = np.random.default_rng(0)
    clips = rng.normal(0, 1, (40, 3, 2, 8, 8)) + rng.normal(0, 9, (40, 3, 1, 1, 1))
    return network, path, clips.astype(np.float32)


def graph_of(toy, folder, method):
    _, path, clips = toy
    graph = FloatGraph(path, folder, method)
    if method == STATIC:
        assert graph.calibrate((clip[None] for clip in clips[:8]), "minmax") == 8
    return graph


def written(toy, graph, path, model=None, measured=True):
    network, plain, clips = toy
    lines = []

    def answer(batch):
        return network(torch.from_numpy(batch)).detach().numpy()

    parity = write_int8(
        graph,
        path,
        lambda: clips,
        (lambda: clips[:8]) if measured else None,
        model or answer,
        plain,
        lambda left: Quantization(graph.method, None, 0, 0, "", len(graph.layers), left),
        lines.append,
    )
    return parity, lines


def test_the_layer_that_int8_hurts_is_left_in_float(toy, tmp_path):
    graph = graph_of(toy, tmp_path, STATIC)
    assert list(graph.layers) == ["stem", "depthwise", "body", "head"] and not graph.passed_over
    parity, lines = written(toy, graph, tmp_path / "int8.onnx")
    assert parity.quantization.float_layers == ("head",) and not parity.fault()
    assert [count for count, _ in parity.rounds] == [0, 1] and parity.rounds[0][1] < 0.9
    assert "hurt most by head" in "".join(lines)
    assert "left in float           head" in "\n".join(parity.lines("tests"))
    assert parity.to_dict()["passed"] and parity.to_dict()["rounds"][0]["float_layers"] == 0


def test_each_method_of_ranges_measures_and_says_nothing(toy, tmp_path, capsys):
    graph = graph_of(toy, tmp_path, STATIC)
    clips = [clip[None] for clip in toy[2][:4]]
    plain = open_session(toy[1], "onnx")
    for ranges in RANGES:
        graph.calibrate(clips, ranges)
        damage = layer_damage(graph, tmp_path / "one.onnx", clips, [plain(clip) for clip in clips])
        assert 0 < damage["stem"] < damage["head"], ranges
    assert capsys.readouterr().out == ""


def test_dynamic_takes_products_with_weights_alone(toy, tmp_path):
    graph = graph_of(toy, tmp_path, DYNAMIC)
    assert list(graph.layers) == ["body", "head"] and graph.passed_over == 2
    parity, _ = written(toy, graph, tmp_path / "int8.onnx")
    assert parity.quantization.float_layers == ("head",) and not parity.fault()
    sizes = {}
    for chosen in ([], ["head"], ["body"]):  # a Gemm has another name in the quantised file
        graph.write(tmp_path / "part.onnx", chosen)
        sizes[tuple(chosen)] = operators(tmp_path / "part.onnx")
    assert sizes[()] == 0 and sizes[("head",)] == sizes[("body",)] == 1


def operators(path):
    import onnx

    return sum(node.op_type == "MatMulInteger" for node in onnx.load_model(path).graph.node)


def test_where_nothing_helps_it_is_said(toy, tmp_path):
    def other(batch):
        return -toy[0](torch.from_numpy(batch)).detach().numpy()

    graph = graph_of(toy, tmp_path, STATIC)
    parity, _ = written(toy, graph, tmp_path / "int8.onnx", other)
    assert [count for count, _ in parity.rounds] == [0, 1, 2, 3]
    assert "even with 3 layers left in float, and at least 98% are asked for" in parity.fault()
    parity, _ = written(toy, graph, tmp_path / "int8.onnx", other, measured=False)
    assert [count for count, _ in parity.rounds] == [0] and "even with" not in parity.fault()


@pytest.mark.parametrize(
    ("needed", "counts"),
    [
        (1, [1]),
        (2, [1, 2]),
        (3, [1, 2, 4, 3]),
        (5, [1, 2, 4, 8, 6, 5]),
        (7, [1, 2, 4, 8, 6, 7]),
        (11, [1, 2, 4, 8, 12, 10, 11]),
        (13, [1, 2, 4, 8, 12]),
    ],
)
def test_no_more_layers_than_needed_are_left_in_float(needed, counts):
    """Of 13 layers; 13 would be a file without any in int8."""

    def attempt(count):
        tried.append(count)
        return SimpleNamespace(count=count, does=count >= needed)

    tried, said = [], []
    found = int8_parity._search(attempt, 13, SimpleNamespace(does=False), said.append)
    assert tried == counts and found.count == (needed if needed < 13 else 12)
    assert bool(said) == (len(counts) > 2 and needed < 13)


def test_the_file_is_that_of_the_fewest_layers_also_where_it_was_not_tried_last(
    toy, tmp_path, monkeypatch
):
    graph = graph_of(toy, tmp_path, STATIC)
    searched = int8_parity._search

    def and_one_more(attempt, *rest):
        found = searched(attempt, *rest)
        attempt(len(graph.layers) - 1)
        return found

    monkeypatch.setattr(int8_parity, "_search", and_one_more)
    parity, _ = written(toy, graph, tmp_path / "int8.onnx")
    assert parity.quantization.float_layers == ("head",)
    graph.write(tmp_path / "own.onnx", ["stem", "depthwise", "body"])
    assert (tmp_path / "own.onnx").read_bytes() == (tmp_path / "int8.onnx").read_bytes()


def test_a_full_disk_is_told_as_that(toy, tmp_path, monkeypatch):
    graph = graph_of(toy, tmp_path, STATIC)
    (tmp_path / "prepared.onnx").write_bytes(b"half")
    with pytest.raises(CheckpointError, match="cannot be calibrated"):
        graph.calibrate(toy[2][:1, None], "minmax")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(OSError, match="No space left") as error:
        graph.calibrate(toy[2][:1, None], "minmax")
    assert error.value.errno == errno.ENOSPC


def test_a_network_without_layers_is_refused(tmp_path):
    path = tmp_path / "none.onnx"
    to_onnx(trace(nn.ReLU().eval(), torch.zeros(2, 3)), path)
    with pytest.raises(CheckpointError, match="no layer that ONNX Runtime has in int8"):
        FloatGraph(path, tmp_path, STATIC)


def test_an_answer_of_a_dynamic_file_does_not_depend_on_the_batch(toy, tmp_path, monkeypatch):
    graph, path = graph_of(toy, tmp_path, DYNAMIC), tmp_path / "int8.onnx"
    graph.write(path, ["body"])
    about = SimpleNamespace(format="onnx", class_names="abcde", quantization={"method": DYNAMIC})
    model = runtime.ExportedModel(path, about)
    clips = torch.from_numpy(toy[2][:4])
    together = model(clips)
    assert torch.equal(together, torch.cat([model(clip[None]) for clip in clips]))
    raw = open_session(path, "onnx")(clips.numpy())
    assert np.abs(raw - together.numpy()).max() > 1e-4


def test_nor_does_one_of_a_dynamic_file_that_prepares_frames():
    sizes = []

    def answer(frames):
        sizes.append(len(frames))
        return np.full((len(frames), 2), 0.5, np.float32)

    model = runtime.ExportedFrames.__new__(runtime.ExportedFrames)
    torch.nn.Module.__init__(model)
    model.info = SimpleNamespace(quantization={"method": DYNAMIC}, temperature=None)
    model._run, model._task = answer, SingleLabel()
    assert model(torch.zeros(3, 3, 2, 4, 4, dtype=torch.uint8)).shape == (3, 2)
    assert sizes == [1, 1, 1]


@pytest.fixture(scope="module")
def weights(demo, tmp_path_factory):
    """An untrained checkpoint of a run on the demo, whose head no int8 does justice to."""
    folder = tmp_path_factory.mktemp("int8")
    names = (demo / "classes.txt").read_text().splitlines()
    overrides = tiny_overrides(demo, folder / "run")
    config = load_config(overrides=overrides).dump()
    path = write_untrained(folder / "weights.pt", overrides, names=names, config=config)
    known = read_weights(path)
    state = dict(known.state)
    for name in ("norm.weight", "norm.bias"):
        state[name] = state[name].clone()
        state[name][0] *= 1e4
    state["norm.bias"][0] = 3e4
    state["head.weight"] = state["head.weight"].clone()
    state["head.weight"][:, 0] /= 1e4
    write_checkpoint(path, state, known.metadata)
    return path


@pytest.fixture(scope="module")
def static(weights):
    """The checkpoint as an int8 file, what was printed, and the `planes` of each float32 file on the way.

    Layers are ranked by name, which is faster.
    """

    def by_name(graph, *others):
        return {
            name: len(graph.layers) * (name == "head") + ("proj" in name) for name in graph.layers
        }

    path, out, planes = weights.with_name("int8.onnx"), StringIO(), []

    def write(*words):
        planes.append(words[-1])
        return write_program(*words)

    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(out):
        patch.setattr(int8_parity, "layer_damage", by_name)
        patch.setattr(export_model, "write_program", write)
        words = ("export", weights, "--out", path, "--int8", "static")
        assert cli.main([str(word) for word in words]) == 0
    return path, out.getvalue(), planes


def test_a_static_file_says_what_it_is(static):
    path, out, planes = static
    assert planes == [Planes.ALL, Planes.LAST]
    told = read_info(path).quantization
    assert told["method"] == STATIC and told["ranges"] == "minmax" and told["videos"] == 16
    assert told["float_layers"][0] == "head" and told["layers"] > 10
    beside = json.loads(json_beside(path).read_text())
    assert ExportInfo.from_dict(beside, "x") == read_info(path)
    assert beside["int8_parity"]["agreement"] >= 0.98 and beside["parity"]["passed"]
    assert beside["int8_parity"]["file_bytes"] == path.stat().st_size
    views = beside["int8_parity"]["views"]
    assert f"Judged on {views} views alone, of which a single other answer is too many" in out
    assert "left in float           head" in out and "of the training list of the run" in out
    with pytest.raises(DamagedError, match="quantization"):
        ExportInfo.from_dict({**beside, "quantization": 1}, "x")
    del beside["quantization"]  # as files from before have it
    assert ExportInfo.from_dict(beside, "x").quantization is None


def test_a_static_file_is_tested_as_a_checkpoint_is(demo, static, weights, tmp_path, no_page):
    words = [*tiny_overrides(demo, tmp_path / "run"), "TRAIN.ENABLE", "False"]
    run(load_config(overrides=[*words, "TEST.CHECKPOINT_FILE_PATH", str(static[0])]), "tiny")
    record = json.loads((tmp_path / "run" / "results.json").read_text())
    assert record["model"]["runtime"] == "ONNX Runtime, int8 (static)"
    assert any(
        "ONNX Runtime, int8 (static), from an exported file, on" in x for x in record["notes"]
    )
    video = min((demo / "test").glob("*.mp4"))
    own, file = (uv.Predictor.from_checkpoint(path) for path in (weights, static[0]))
    difference = np.abs(own(video).probabilities - file(video).probabilities).max()
    assert 0 < difference < 0.2


def test_calibration_videos_are_not_checked_on(demo, weights, tmp_path):
    known = read_weights(weights)
    protocol = uv.Predictor.from_checkpoint(weights).protocol
    trained = find_calibration(protocol, known, None)
    list(trained)
    assert len(trained.taken) == 16 and "training list" in trained.source
    check = find_clips(protocol, known, [str(demo / "train"), str(demo / "test")], None, demo, 480)
    kept = check.apart_from(list(trained.taken.values()))
    assert len(kept.records) == 8 and "without 16 videos that it is calibrated on" in kept.source
    with pytest.raises(DataError, match="every video is one that the file is calibrated on"):
        find_clips(protocol, known, [str(demo / "train")], None, demo).apart_from(trained.records)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    check = replace(check, records=[*trained.records, VideoRecord(str(broken), "b", ())])
    with pytest.raises(DataError, match=r"no clip to check .*1 video cannot be decoded: .*broken"):
        find_int8_clips(Int8Options("static"), protocol, known, check)


def test_links_and_copies_of_calibration_videos_are_not_checked_on(tmp_path):
    def at(name, **part):
        return VideoRecord(str(tmp_path / name), name, (0,), **part)

    for name in ("a.mp4", "copy.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"aa" if name != "b.mp4" else b"bb")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "a.mp4")
    (tmp_path / "frames").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "frames")
    names = ("copy.mp4", "b.mp4", "link.mp4", "linked/{:05d}.jpg", "lost.mp4")
    records = [*map(at, names), at("copy.mp4", start=3.0)]
    clips = ExportClips(records, SimpleNamespace(medium="video"), "x")
    kept = clips.apart_from([at("a.mp4", end=2.0), at("frames/{:05d}.jpg")])
    assert [record.name for record in kept.records] == ["b.mp4", "lost.mp4", "copy.mp4"]
    assert kept.records[-1].start == 3


def test_videos_that_were_coded_anew_are_not_checked_on(demo, weights, tmp_path):
    protocol = uv.Predictor.from_checkpoint(weights).protocol
    original, *others = sorted(demo.glob("train/*.mp4"))[:4]
    anew = tmp_path / "anew.mp4"
    write_video(anew, all_frames(original), 25, 35)
    calibrated = find_clips(protocol, None, [str(original)], None, demo).records
    places = [str(anew), *map(str, others)]
    check = find_clips(protocol, None, places, None, demo).apart_from(calibrated)
    assert len(check.records) == 4 and not check.note()
    check = check.without_copies_of([*calibrated, VideoRecord("gone.mp4", "gone.mp4", (0,))])
    for _ in range(2):  # what a video shows is looked at once
        assert len(list(check)) == 3 * protocol.num_clips
    assert sorted(path for path, _, _ in check.taken) == places[1:]
    told = "1 video shows what the file is calibrated on, coded anew: "
    assert check.note() == f"{told}{anew}"
    alone = replace(check, records=check.records[:1])
    with pytest.raises(DataError, match=f"no clip to check the file on, of .*: {told}"):
        alone.check()


def test_parts_of_one_video_are_told_apart():
    def part(start, end):
        return VideoRecord("a.mp4", "a", (0,), "list", start=start, end=end)

    clips = ExportClips(
        [part(0, 2), part(2, 4), part(4, None)], SimpleNamespace(medium="video"), "x"
    )
    assert clips.apart_from([part(1, 2)]).records == clips.records[1:]
    assert clips.apart_from([part(3, None)]).records == clips.records[:1]
    assert clips.apart_from([part(4, 4)]) is clips


def test_words_that_do_not_fit(weights, call, tmp_path):
    def errors(*words):
        status, _, told = call("export", weights, "--out", tmp_path / "m.onnx", *words)
        assert status == 2 and "Traceback" not in told and not list(tmp_path.iterdir())
        return told

    assert "--ranges is for quantised files" in errors("--ranges", "minmax")
    assert "--ranges is of static int8" in errors("--int8", "dynamic", "--ranges", "minmax")
    assert "--check-count is 0" in errors("--check-count", "0")
    assert "none.mp4" in errors("--int8", "static", "--calibration", tmp_path / "none.mp4")
    status, _, told = call("export", weights, "--out", tmp_path / "m.pt2", "--int8", "static")
    assert status == 2 and "the format is torch-export" in told
    with pytest.raises(ConfigError, match="did you mean 'static'"):
        Int8Options("statc").check(ONNX)
    with pytest.raises(ConfigError, match="did you mean 'minmax'"):
        Int8Options("static", "minmix").check(ONNX)


def test_without_lists_the_options_are_named(tmp_path, call):
    path = write_untrained(tmp_path / "w.pt", tiny_overrides(tmp_path / "none", tmp_path / "run"))
    words = ("export", path, "--out", tmp_path / "m.onnx", "--int8", "static")
    status, _, told = call(*words)
    assert status == 2 and "give some by --check" in told


def test_a_file_that_no_round_saved_is_not_written(monkeypatch, call, tmp_path):
    failed = SimpleNamespace(
        fault="in int8 it names other classes", int8=True, lines=lambda: ["table"]
    )
    monkeypatch.setattr(export_model, "export_model", lambda *a, **k: failed)
    status, out, errors = call("export", "w.pt", "--out", tmp_path / "m.onnx", "--int8", "dynamic")
    assert status == 2 and "table" in out
    assert "m.onnx is not written: in int8 it names other classes" in errors


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_every_family(name, tmp_path):
    pytest.importorskip("pytorchvideo")
    from tests.export.test_graph import model_of

    model, clips = model_of(name), inputs(name, batch=4)
    plain = tmp_path / "plain.onnx"
    to_onnx(trace(model, clips), plain, planes=Planes.LAST)
    run = open_session(plain, "onnx")
    for method in (STATIC, DYNAMIC):
        graph = FloatGraph(plain, tmp_path, method)
        if method == STATIC:
            graph.calibrate((clip[None].numpy() for clip in clips), "minmax")
        graph.write(tmp_path / "int8.onnx", list(graph.layers))
        expected, found = (
            run(clips.numpy()),
            open_session(tmp_path / "int8.onnx", "onnx")(clips.numpy()),
        )
        assert 0 < np.abs(found - expected).max() < 0.5 * np.abs(expected).max()
        assert all(name and "node_" not in name for name in graph.layers)

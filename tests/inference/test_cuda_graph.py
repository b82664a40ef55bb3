"""Passes replayed as CUDA graphs: which are recorded, what they give, what happens where none can be."""

import contextlib
import copy
import inspect
import logging
import threading
import time

import numpy as np
import pytest
import torch

from uniformer_video.errors import ConfigError
from uniformer_video.features.predictor import FeaturePredictor
from uniformer_video.inference import cuda_graph
from uniformer_video.inference.cuda_graph import GraphedForward, Recorded, record
from uniformer_video.inference.predictor import Predictor

CPU = torch.device("cpu")
OFTEN = cuda_graph.RECORDED_AFTER + 2


def forward(views):
    """`[B, 3]` -> `[B, 3]`, half precision as under autocast."""
    if views.shape[1] != 3:
        raise ValueError("wrong shape")
    return (views * 2 + 1).to(torch.bfloat16)


def stand_in(seen):
    """In place of `record`: "replays" into the same output again, slowly, as a device would."""

    def recorder(run, example):
        given = torch.full_like(example, float("nan"))
        output = torch.full_like(run(example), float("nan"))

        def replay():
            output.zero_()
            time.sleep(0.002)
            output.copy_(run(given))

        seen.append((tuple(example.shape), example.dtype))
        return Recorded(given, output, replay)

    return recorder


def test_a_shape_that_comes_often_is_recorded_and_each_result_stays():
    seen = []
    graphed = GraphedForward(forward, CPU, stand_in(seen))
    given = [torch.full((2, 3), float(number)) for number in range(6)]
    found = [graphed(views) for views in given]
    assert seen == [((2, 3), torch.float32)]
    for views, logits in zip(given, found, strict=True):
        assert logits.dtype == torch.float32 and torch.equal(logits, forward(views).float())

    for count in range(1, OFTEN):
        graphed(torch.zeros(1, 3))
        assert len(seen) == 1 + (count > cuda_graph.RECORDED_AFTER)
    for _ in range(OFTEN):
        graphed(torch.zeros(1, 3, dtype=torch.float64))
    assert seen[1:] == [((1, 3), torch.float32), ((1, 3), torch.float64)]


def test_only_a_few_shapes_are_recorded_and_few_are_counted(caplog):
    seen = []
    graphed = GraphedForward(forward, CPU, stand_in(seen))
    with caplog.at_level(logging.INFO):
        for size in range(1, 6):
            for _ in range(OFTEN):
                assert graphed(torch.ones(size, 3)).unique().tolist() == [3]
    assert len(seen) == cuda_graph.MOST_GRAPHS
    assert caplog.text.count("3 shapes are recorded as CUDA graphs; further shapes") == 1
    for size in range(1, 200):
        graphed(torch.ones(size, 3))
    assert len(graphed._calls) <= 64


def test_where_recording_fails_the_log_says_so_once_and_passes_go_on(caplog):
    tried = []

    def failing(run, example):
        tried.append(example)
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    graphed = GraphedForward(forward, CPU, failing)
    for _ in range(2 * OFTEN):
        assert torch.equal(graphed(torch.ones(2, 3)), torch.full((2, 3), 3.0))
    assert len(tried) == 1
    said = "recording one failed: RuntimeError: operation not permitted when stream is capturing"
    assert caplog.text.count(said) == 1


def test_a_pass_that_fails_is_the_callers_and_is_not_counted():
    seen = []
    graphed = GraphedForward(forward, CPU, stand_in(seen))
    for _ in range(2 * OFTEN):
        with pytest.raises(ValueError, match="wrong shape"):
            graphed(torch.ones(2, 4))
    assert not seen


def test_threads_meet_no_input_or_output_of_another():
    seen, wrong = [], []
    graphed = GraphedForward(forward, CPU, stand_in(seen))

    def ask(number):
        for size in (1, 2) * 6:
            views = torch.full((size, 3), float(number))
            if not torch.equal(graphed(views), forward(views).float()):
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and sorted(size for (size, _), _ in seen) == [1, 2]


def test_what_is_asked_of_torch_exists():
    """Recording itself runs on a GPU alone."""
    options = inspect.signature(torch.cuda.graph).parameters
    assert {"stream", "capture_error_mode"} <= set(options)
    assert callable(torch.cuda.CUDAGraph.replay)


def test_recording_warms_up_beside_and_holds_a_place_for_the_input(monkeypatch):
    """The order of calls, by stand-ins for torch's own; what they do is for the tests on a GPU."""
    told, now = [], ["usual"]

    class Stream:
        name = "side"

        def wait_stream(self, other):
            told.append(f"side waits for {other.name}")

    class Usual:
        name = "usual"

        def wait_stream(self, other):
            told.append(f"usual waits for {other.name}")

    @contextlib.contextmanager
    def on(stream):
        now.append(stream.name)
        yield
        now.pop()

    @contextlib.contextmanager
    def graph(made, stream, capture_error_mode):
        assert isinstance(made, Graph) and capture_error_mode == "thread_local"
        with on(stream):
            told.append("begin")
            yield
            told.append("end")

    class Graph:
        def replay(self):
            told.append("replay")

    def run(given):
        told.append(f"pass on {now[-1]}")
        return given + 1

    stand_ins = {
        "device": lambda device: contextlib.nullcontext(),
        "Stream": Stream,
        "current_stream": Usual,
        "stream": on,
        "graph": graph,
        "CUDAGraph": Graph,
    }
    for name, value in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, value)
    with torch.inference_mode():
        example = torch.ones(2, 3)
        recorded = record(run, example)
    passes = ["pass on side"] * 3
    assert told == [
        "side waits for usual",
        *passes,
        "usual waits for side",
        "begin",
        "pass on side",
        "end",
    ]
    assert recorded.input is not example and torch.equal(recorded.input, example)
    assert not recorded.input.is_inference() and torch.equal(recorded.output, example + 1)
    recorded.replay()
    assert told[-1] == "replay"


@pytest.fixture
def checkpoint(untrained):
    return untrained()


@pytest.fixture
def with_stand_ins(checkpoint, monkeypatch):
    """A predictor on a processor, whose graphs are stand-ins there, and what was recorded."""
    predictor, seen = Predictor.from_checkpoint(checkpoint, device="cpu"), []
    recorder = stand_in(seen)
    graphed = lambda run, device: GraphedForward(run, CPU, recorder)  # noqa: E731
    monkeypatch.setattr("uniformer_video.inference.predictor.GraphedForward", graphed)
    return predictor, seen


def views_of(predictor, count=1):
    protocol = predictor.protocol
    side, frames = protocol.views.crop_size, protocol.sampling.num_frames
    return torch.randn(count, 3, frames, side, side)


def test_a_predictor_gives_the_same_answers_by_graphs(with_stand_ins):
    predictor, seen = with_stand_ins
    views = [views_of(predictor) for _ in range(OFTEN)]
    expected = [predictor.view_logits(each) for each in views]
    predictor.device = torch.device("cuda")
    assert predictor.use_cuda_graphs() is predictor and not seen
    for each, plain in zip(views, expected, strict=True):
        assert (predictor.view_logits(each) == plain).all()
    assert len(seen) == 1
    predictor.to("cpu")
    for each in views:
        predictor.view_logits(each)
    assert len(seen) == 1


@pytest.mark.parametrize("graphs", [False, True])
def test_a_copy_with_another_model_answers_by_that(with_stand_ins, graphs):
    predictor, seen = with_stand_ins
    views = views_of(predictor)
    if graphs:
        predictor.device = torch.device("cuda")
        predictor.use_cuda_graphs()
    other = copy.copy(predictor)
    other.device, other.model = CPU, copy.deepcopy(predictor.model)
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter.mul_(1.5)
        expected = other.model(views).numpy()
    for _ in range(OFTEN):
        assert np.allclose(other.view_logits(views), expected, atol=1e-5)
    assert not seen and not np.allclose(predictor.model(views).detach(), expected, atol=1e-3)


def test_graphs_are_of_cuda_devices_and_of_models_that_only_predict(checkpoint, with_stand_ins):
    with pytest.raises(ConfigError, match="CUDA devices, and this model computes on cpu"):
        Predictor.from_checkpoint(checkpoint, device="cpu").use_cuda_graphs()
    predictor, _ = with_stand_ins
    predictor.device, predictor.model.only_predicts = torch.device("cuda"), False
    with pytest.raises(ConfigError, match="only predict, and this one may be trained on"):
        predictor.use_cuda_graphs()


def test_features_are_taken_without_graphs(checkpoint):
    with pytest.raises(ConfigError, match="features are taken by hooks, without them"):
        FeaturePredictor.from_checkpoint(checkpoint, device="cpu").use_cuda_graphs()


@pytest.mark.parametrize("command", ["predict", "watch"])
def test_the_commands_refuse_them_on_a_processor_in_one_line(command, call, checkpoint, make_video):
    words = [make_video("a.mp4"), "--checkpoint", checkpoint, "--device", "cpu"]
    status, out, errors = call(command, *words, "--cuda-graph")
    assert status == 2 and not out and errors.count("\n") == 1
    assert "CUDA graphs (--cuda-graph) are of CUDA devices" in errors
    assert "leave them out, or choose a CUDA device" in errors


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_on_a_gpu_a_graph_gives_the_bits_of_the_plain_model(checkpoint, precision, caplog):
    predictor = Predictor.from_checkpoint(checkpoint, device="cuda", precision=precision)
    batches = [views_of(predictor, count) for count in (1, 2) * OFTEN]
    expected = [predictor.view_logits(views) for views in batches]
    predictor.use_cuda_graphs()
    found = [predictor.view_logits(views) for views in batches]
    assert "CUDA graphs are left out" not in caplog.text
    assert len(predictor._graphed._graphs) == 2
    assert all((a == b).all() for a, b in zip(found, expected, strict=True))

    wrong = []

    def ask():
        with torch.cuda.stream(torch.cuda.Stream()):
            for views, logits in zip(batches, expected, strict=True):
                if not (predictor.view_logits(views) == logits).all():
                    wrong.append(len(views))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.gpu
def test_on_a_gpu_what_waits_for_the_device_is_not_recorded(caplog):
    def waits(views):
        return views * float(views.sum().item())

    graphed = GraphedForward(waits, torch.device("cuda"))
    views = torch.ones(2, 3)
    for _ in range(OFTEN):
        assert torch.equal(graphed(views), views * 6)
    assert caplog.text.count("CUDA graphs are left out, as recording one failed") == 1
    recorded = record(lambda given: given + 1, views.cuda())
    recorded.replay()
    assert torch.equal(recorded.output.cpu(), views + 1)

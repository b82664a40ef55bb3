"""Predictions of one label a video, and of several or none."""

import json

import numpy as np
import pytest
import torch
from same import assert_same

from uniformer_video.config.settings import load_config
from uniformer_video.data.decoding import decoders, open_video
from uniformer_video.data.decoding.decoders import Decoder
from uniformer_video.errors import UserError
from uniformer_video.inference.predictor import Predictor
from uniformer_video.runs import build_model
from uniformer_video.tasks.multi_label import MultiLabel
from uniformer_video.tasks.single_label import SingleLabel
from uniformer_video.weights.checkpoint import write_checkpoint

NAMES = ["sit", "run", "eat"]


@pytest.fixture
def checkpoint(tiny, tmp_path):
    """A function: an untrained checkpoint with this metadata beside its own."""
    cfg = load_config(overrides=tiny())
    torch.manual_seed(0)
    model, _ = build_model.build_model(cfg, len(NAMES))
    torch.nn.init.normal_(model.head.weight)

    def write(score="logits", protocol=(), **changes):
        metadata = build_model.build_metadata(cfg, model, NAMES) | changes
        metadata["protocol"] = {**metadata["protocol"], "score": score, **dict(protocol)}
        path = tmp_path / "weights.pt"
        write_checkpoint(path, model.state_dict(), metadata)
        return path

    return write


def logits_of(predictor, path):
    """The logits of each view, `[view, K]`, as the model of the predictor gives them."""
    seen = []
    hook = predictor.model.register_forward_hook(lambda _, __, out: seen.append(out))
    prediction = predictor(path)
    hook.remove()
    return torch.cat(seen).double().numpy(), prediction


@pytest.mark.parametrize("score", ["logits", "sigmoid"])
def test_each_class_by_itself(checkpoint, make_video, score):
    predictor = Predictor.from_checkpoint(checkpoint(score, task="multi-label"), num_clips=3)
    logits, prediction = logits_of(predictor, make_video())
    assert logits.shape == (3, 3)
    for k in range(3):
        if score == "logits":
            expected = 1 / (1 + np.exp(-logits[:, k].mean()))
        else:
            expected = np.mean(1 / (1 + np.exp(-logits[:, k])))
        assert prediction.probabilities[k] == pytest.approx(expected, abs=1e-6)
    assert type(predictor.task) is MultiLabel


@pytest.mark.parametrize("score", ["logits", "softmax"])
def test_one_label_adds_up_to_one(checkpoint, make_video, score):
    predictor = Predictor.from_checkpoint(checkpoint(score), num_clips=3)
    logits, prediction = logits_of(predictor, make_video())
    views = logits.mean(0, keepdims=True) if score == "logits" else logits
    expected = np.mean([np.exp(view) / np.exp(view).sum() for view in views], axis=0)
    assert prediction.probabilities == pytest.approx(expected, abs=1e-6)
    assert type(predictor.task) is SingleLabel


def test_a_checkpoint_is_folded_and_a_model_of_ones_own_is_not(checkpoint, make_video):
    path, video = checkpoint(), make_video()
    predictor = Predictor.from_checkpoint(path, device="cpu")
    plain = Predictor.from_checkpoint(path, device="cpu", fold=False)
    state = {key: value.clone() for key, value in plain.model.state_dict().items()}
    assert predictor.model.only_predicts and len(predictor.model.state_dict()) < len(state)
    (expected, _), (found, _) = logits_of(plain, video), logits_of(predictor, video)
    assert 0 < np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    Predictor(plain.model, plain.protocol, NAMES, device="cpu")(video)
    plain.model.train()
    assert_same(dict(plain.model.state_dict()), state)


def test_weights_are_laid_out_for_the_precision(checkpoint, make_video):
    """As is faster on a processor, and not where the model is to be trained on."""
    settings = {"device": "cpu", "precision": "bf16"}
    predictor = Predictor.from_checkpoint(checkpoint(), **settings)
    plain = Predictor.from_checkpoint(checkpoint(), fold=False, **settings)

    def is_last(own):
        weights = own.model.patch_embed1.proj.weight
        return weights.is_contiguous(memory_format=torch.channels_last_3d)

    assert is_last(predictor) and not is_last(plain)
    assert not is_last(Predictor.from_checkpoint(checkpoint(), device="cpu", precision="fp32"))
    video = make_video()
    (expected, _), (found, _) = logits_of(plain, video), logits_of(predictor, video)
    assert np.abs(found - expected).max() <= 0.05 * np.abs(expected).max()


def test_the_command_says_that_scores_stand_by_themselves(call, checkpoint, make_video):
    path, video = checkpoint(multi_label=True), make_video()
    status, out, errors = call("predict", video, "--checkpoint", path)
    assert (status, out.splitlines()[0]) == (0, str(video))
    assert "Several classes may be true" in errors
    status, out, errors = call("predict", video, "--checkpoint", path, "--json")
    found = json.loads(out)
    assert (status, found["task"], errors) == (0, "multi-label", "")
    expected = Predictor.from_checkpoint(path)(video).top(5)
    assert [(entry["class"], entry["score"]) for entry in found["top"]] == [
        (name, pytest.approx(score, abs=1e-6)) for name, score in expected
    ]
    status, out, errors = call("predict", video, "--checkpoint", checkpoint(), "--json")
    assert "task" not in json.loads(out) and "Several" not in errors


def test_a_prediction_is_computed_in_the_precision_of_the_test(checkpoint, make_video, caplog):
    video, seen = make_video(), []

    def logits(precision):
        predictor = Predictor.from_checkpoint(checkpoint(protocol={"precision": precision}))
        hook = predictor.model.head.register_forward_hook(lambda *args: seen.append(args[2].dtype))
        predictor(video)
        hook.remove()
        return seen.pop()

    assert logits("fp32") == torch.float32
    assert logits("bf16") == torch.bfloat16
    assert not caplog.text
    if not torch.cuda.is_available():
        assert logits("fp16") == torch.float32
        assert "fp16, which needs a CUDA device" in caplog.text


def test_a_prediction_is_decoded_as_the_test_was(checkpoint, make_video, monkeypatch):
    opened = []
    own = Decoder("noting", lambda path: opened.append(path) or open_video(path))
    monkeypatch.setitem(decoders._DECODERS, "noting", own)
    video = make_video()
    Predictor.from_checkpoint(checkpoint(protocol={"decoder": "noting"}))(video)
    assert opened == [str(video)]


@pytest.mark.parametrize(
    "damage",
    [
        {"model": None},
        {"model": {"name": [1]}},
        {"model": {"name": "uniformer_s", "arguments": 7}},
        {"model": {"name": "uniformer_s", "arguments": {"depths": 0}}},
        {"class_names": ["a", "b"]},
        {"class_names": [None] * 3},
        {"class_names": 5},
        {"task": []},
        {"config": 5},
        {"protocol": {"score": "x"}},
    ],
)
def test_a_checkpoint_that_says_nonsense_of_itself_is_refused(checkpoint, damage):
    path = (
        checkpoint(**damage)
        if "protocol" not in damage
        else checkpoint(protocol=damage["protocol"])
    )
    with pytest.raises(UserError, match=r"weights\.pt"):
        Predictor.from_checkpoint(path)

"""Numbers that no trained model has are refused by the name of their tensor, whoever reads them."""

import pytest
import torch

from uniformer_video.errors import CheckpointError
from uniformer_video.weights.checkpoint import fit_weights, read_weights
from uniformer_video.zoo.convert import export_file
from uniformer_video.zoo.create import build_network

SMALL = {"embed_dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "head_dim": 8}


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        (
            "head.weight",
            lambda value: value.to(torch.int8),
            r"whole numbers in head\.weight \(int8\)",
        ),
        ("norm.running_mean", lambda value: value.long(), r"in norm\.running_mean \(int64\)"),
        ("norm.running_var", lambda value: value.int(), r"in norm\.running_var \(int32\)"),
        ("norm.bias", lambda value: value.bool(), r"in norm\.bias \(bool\)"),
        ("head.weight", lambda value: value * 1j, r"complex numbers \(complex64\) in head\.weight"),
        ("norm.running_var", lambda value: -value, r"variances below zero, in norm\.running_var"),
        ("norm.running_var", lambda value: (-value).half(), "variances below zero"),
        ("head.bias", lambda value: value + float("nan"), r"not finite, in head\.bias"),
    ],
)
@pytest.mark.parametrize("reader", ["fit", "export"])
def test_impossible_values(tmp_path, key, change, message, reader):
    model = build_network("uniformer_s", 3, **SMALL)
    state = model.state_dict()
    torch.save({**state, key: change(state[key])}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=message):
        if reader == "fit":
            fit_weights(model, read_weights(tmp_path / "w.pth"))
        else:
            export_file(tmp_path / "w.pth", tmp_path / "out.pth", "published")


def test_what_is_whole_by_nature_may_be():
    model = build_network("uniformer_s", 3, **SMALL)
    state = model.state_dict()
    assert not state["norm.num_batches_tracked"].is_floating_point()
    from uniformer_video.weights.values import check_values

    check_values({**state, "norm.running_var": torch.zeros(16)}, "w.pth", state)
    check_values({**state, "mask": torch.ones(3, dtype=torch.bool)}, "w.pth")

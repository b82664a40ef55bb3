"""Segmentation: the published loss, hits at the middles of positions, and the losses of several outputs."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import DataError
from uniformer_video.pages.report import protocol_line
from uniformer_video.tasks.segmentation import Segmentation
from uniformer_video.training.objective import Objective


def masks(*shape, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.choice([*range(classes), 255], shape).astype(np.uint8))


def test_ignored_pixels_have_no_loss_and_count_in_its_mean():
    logits, truth = torch.randn(2, 3, 2, 3, dtype=torch.float64), masks(2, 8, 12)
    large = F.interpolate(logits, size=(8, 12), mode="bilinear", align_corners=False)
    total = 0.0
    for image in range(2):
        for row in range(8):
            for column in range(12):
                own = int(truth[image, row, column])
                if own != 255:
                    total -= float(large[image, :, row, column].log_softmax(0)[own])
    task = Segmentation(3)
    found = float(task.loss(logits, task.targets(truth)))
    assert found == pytest.approx(total / (2 * 8 * 12), abs=1e-12)
    assert float(task.loss(logits, torch.full((2, 8, 12), 255))) == 0


def test_hits_are_those_of_positions_at_the_class_of_their_middle():
    truth = torch.zeros(1, 8, 8, dtype=torch.uint8)
    truth[0, :4] = 1
    truth[0, :, 4:6] = 255
    logits = torch.zeros(1, 2, 2, 2)
    logits[0, 1, 0] = 1.0  # the upper row says 1
    logits[0, 1, 1, 0] = 1.0  # and wrongly the lower left one
    task = Segmentation(2)
    hits, count = task.hits(logits, task.targets(truth))
    # the middles of 4x4 pixels: row and column 2 or 6
    assert (int(hits), int(count)) == (3, 4)
    truth[0, 6, 6] = 255
    assert [int(n) for n in task.hits(logits, task.targets(truth))] == [2, 3]


def test_outputs_with_weights_are_summed_and_others_averaged():
    task = Segmentation(3)
    objective, target = Objective(task), [task.targets(masks(1, 8, 8))]
    outputs = [torch.randn(1, 3, 2, 2), torch.randn(1, 3, 1, 1)]
    first, second = (task.loss(logits, target[0]) for logits in outputs)
    torch.testing.assert_close(objective.measure(outputs, target, ())[0], (first + second) / 2)
    objective.output_weights = (1.0, 0.4)
    torch.testing.assert_close(objective.measure(outputs, target, ())[0], first + 0.4 * second)


def test_masks_of_crops_become_one_tensor():
    labels = [masks(4, 4, seed=seed).numpy() for seed in range(3)]
    tensor = Segmentation().label_tensor(labels, 3)
    assert tensor.dtype == torch.uint8 and tensor.shape == (3, 4, 4)
    assert Segmentation().targets(tensor).dtype == torch.int64


def test_a_list_without_any_mask_is_refused_by_its_line():
    """One picture without a mask counts as broken, as others whose mask cannot be read do."""
    good = VideoRecord("a.png", "a.png", (), "list:2", medium="image", mask="m.png")
    without = VideoRecord("b.png", "b.png", (), "list:3")
    Segmentation().check_records([good, without], 3)
    with pytest.raises(DataError, match=r"^list:3: b\.png has no mask, nor has another"):
        Segmentation().check_records([without, without], 3)


def test_a_protocol_of_pixels_is_recorded_whole_and_told_in_words():
    words = "TRAIN.DATASET masks SEGMENTATION.RATIOS [0.5,1] SEGMENTATION.ALIGN 32 SEGMENTATION.FLIP True"
    window = "SEGMENTATION.CROP_SIZE 512 SEGMENTATION.CROP_STRIDE 300"
    protocol = Protocol.from_cfg(load_config(overrides=f"{words} {window}".split()))
    assert Protocol.from_dict(protocol.to_dict()) == protocol
    assert protocol_line(protocol) == (
        "whole images, scaled to fit into 2048 x 512 pixels, that times 0.5, 1, sides multiples of 32, "
        "mirrored too, by windows of 512 pixels at steps of 300"
    )
    damaged = {**protocol.to_dict(), "ratios": [1000.0]}
    with pytest.raises(DataError, match=r"SEGMENTATION\.RATIOS is \[1000\.0\]"):
        Protocol.from_dict(damaged)
    with pytest.raises(DataError, match="it lacks 'align'"):
        Protocol.from_dict({k: v for k, v in protocol.to_dict().items() if k != "align"})

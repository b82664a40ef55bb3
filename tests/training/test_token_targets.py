"""Targets of token labelling: those that the published code makes, and RoIAlign against a slow one."""

import math

import parity
import pytest
import torch
from recorded_token_labels import recorded_crops, recorded_maps, true_targets

from uniformer_video.training.token_targets import boxes_on_map, pool_boxes, token_targets


def test_published_targets():
    facts, recorded = parity.image_facts("token_label_targets_7")
    classes, side, smoothing = facts["classes"], facts["label_size"], facts["smoothing"]
    maps, crops = recorded_maps(classes), recorded_crops(facts)
    of_crop, of_tokens = token_targets(maps, crops, classes, side, smoothing)
    true = true_targets(facts)
    target = torch.cat([true[..., None], of_crop[..., None], of_tokens.transpose(1, 2)], 2)
    assert list(target.shape) == facts["target"]["shape"]
    found = target.flatten()[:: facts["target"]["stride"]]
    torch.testing.assert_close(found, torch.from_numpy(recorded["target"]), rtol=0, atol=1e-9)
    assert float(target.sum()) == pytest.approx(facts["target"]["sum"], abs=1e-9)
    in_half = token_targets(maps.half(), crops, classes, side, smoothing)
    assert in_half[0].dtype == torch.float32
    torch.testing.assert_close(in_half[1].double(), of_tokens, rtol=0, atol=5e-3)


def slow_pool(feature, box, side):
    """One channel `[h, w]`, box (x1, y1, x2, y2): the samples one by one."""
    height, width = feature.shape
    x1, y1, x2, y2 = box
    wide, tall = max(x2 - x1, 1.0), max(y2 - y1, 1.0)
    across, down = math.ceil(wide / side), math.ceil(tall / side)

    def value(y, x):
        if not (-1 <= y <= height and -1 <= x <= width):
            return 0.0
        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
        top, left = int(y), int(x)
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        v, u = y - top, x - left
        above = (1 - u) * feature[top, left] + u * feature[top, right]
        return (1 - v) * above + v * ((1 - u) * feature[bottom, left] + u * feature[bottom, right])

    pooled = torch.empty(side, side, dtype=torch.float64)
    for row in range(side):
        for column in range(side):
            values = [
                value(
                    y1 + tall / side * (row + (i + 0.5) / down),
                    x1 + wide / side * (column + (j + 0.5) / across),
                )
                for i in range(down)
                for j in range(across)
            ]
            pooled[row, column] = sum(values) / len(values)
    return pooled


@pytest.mark.parametrize("side", [1, 3, 7])
@pytest.mark.parametrize("size", [(18, 18), (9, 14)])
def test_boxes_are_pooled_as_a_slow_reading_of_the_paper_does(side, size):
    height, width = size
    boxes = torch.tensor(
        [
            [-0.5, -0.5, width - 0.5, height - 0.5],  # all of it
            [2.3, 1.1, 7.9, 8.4],
            [4.2, 3.1, 4.5, 3.2],  # taken as 1 x 1
            [-0.5, height - 1.4, 1.2, height + 0.3],  # its samples reach over the edge
            [width - 1.0, height + 0.9, width + 2.5, height + 3.0],  # most of them far outside
        ],
        dtype=torch.float64,
    )
    maps = parity.clip([len(boxes), 2, height, width])
    found = pool_boxes(maps, boxes, side)
    for index, box in enumerate(boxes.tolist()):
        for channel in range(2):
            expected = slow_pool(maps[index, channel], box, side)
            torch.testing.assert_close(found[index, channel], expected, rtol=0, atol=1e-12)


def test_the_corrected_order_pools_what_the_crop_shows():
    crops = torch.tensor([[0.5, 0.0, 0.5, 0.25]], dtype=torch.float64)  # bottom left
    assert boxes_on_map(crops, 8, 8, "corrected").tolist() == [[-0.5, 3.5, 1.5, 7.5]]
    assert boxes_on_map(crops, 8, 8, "published").tolist() == [[3.5, -0.5, 7.5, 1.5]]
    maps = torch.zeros(1, 2, 1, 8, 8, dtype=torch.float64)
    maps[:, 0, :, 4:, :2], maps[:, 1] = 9.0, 2.0  # class 2 is seen at the bottom left alone
    corrected, _ = token_targets(maps, crops, 4, 1, box_order="corrected")
    published, _ = token_targets(maps, crops, 4, 1, box_order="published")
    assert corrected[0, 2] > 0.99 and published.tolist() == [[0.25] * 4]

import numpy as np
import pytest
import torch

from uniformer_video.data.clips.transforms import (
    EvalViews,
    Normalisation,
    contiguous,
    crop_offsets,
    random_crop,
    resize,
    resize_short_side,
    resized_crop_box,
)


def bilinear(image, height, width):
    """Half-pixel bilinear scaling of `[H, W]`, one output pixel at a time."""
    out = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            y = max((i + 0.5) * image.shape[0] / height - 0.5, 0)
            x = max((j + 0.5) * image.shape[1] / width - 0.5, 0)
            top, left = int(y), int(x)
            down, right = min(top + 1, image.shape[0] - 1), min(left + 1, image.shape[1] - 1)
            fy, fx = y - top, x - left
            upper = image[top, left] * (1 - fx) + image[top, right] * fx
            lower = image[down, left] * (1 - fx) + image[down, right] * fx
            out[i, j] = upper * (1 - fy) + lower * fy
    return out


@pytest.mark.parametrize("target", [(5, 9), (20, 31), (11, 7)])
def test_resize_is_plain_bilinear(target):
    clip = torch.rand(3, 2, 11, 17)
    out = resize(clip, *target)
    assert out.shape == (3, 2, *target)
    expected = bilinear(clip[1, 1].numpy(), *target)
    np.testing.assert_allclose(out[1, 1].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [((240, 320), 224, (224, 298)), ((320, 240), 224, (298, 224)), ((100, 100), 50, (50, 50))],
)
def test_short_side(size, side, expected):
    assert resize_short_side(torch.zeros(3, 1, *size), side).shape[-2:] == expected


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((224, 299, 224, 1), [(0, 38)]),  # ceil(75 / 2)
        ((224, 299, 224, 3), [(0, 0), (0, 38), (0, 75)]),
        ((299, 224, 224, 3), [(0, 0), (38, 0), (75, 0)]),
        ((256, 256, 224, 3), [(16, 0), (16, 16), (16, 32)]),
    ],
)
def test_crop_offsets(args, expected):
    assert crop_offsets(*args) == expected


def test_views_are_ordered_clip_by_clip():
    frames = np.zeros((2, 1, 10, 30, 3), np.uint8)
    frames[0, :, :, :10], frames[0, :, :, 10:20], frames[0, :, :, 20:] = 10, 20, 30
    frames[1] = 99
    views = EvalViews(10, 10, 3, Normalisation((0, 0, 0), (1, 1, 1)))(frames)
    assert views.shape == (6, 3, 1, 10, 10)
    centres = (views[:, 0, 0, 5, 5] * 255).round().tolist()
    assert centres == [10, 20, 30, 99, 99, 99]


def test_normalisation_and_channel_order():
    clip = torch.tensor([0.0, 127.5, 255.0]).view(3, 1, 1, 1)
    rgb = Normalisation()(clip).flatten()
    torch.testing.assert_close(rgb, torch.tensor([-2.0, 0.05 / 0.225, 0.55 / 0.225]))
    assert torch.equal(Normalisation(channel_order="BGR")(clip).flatten(), rgb.flip(0))


def test_resized_crop_boxes_follow_the_published_distribution():
    rng = np.random.default_rng(0)
    boxes = [resized_crop_box(240, 320, (0.08, 1.0), (0.75, 1.3333), rng) for _ in range(4000)]
    tops, lefts, heights, widths = np.array(boxes).T
    assert tops.min() >= 0 and (tops + heights).max() <= 240
    assert lefts.min() >= 0 and (lefts + widths).max() <= 320
    area = heights * widths / (240 * 320)
    assert area.min() > 0.075 and area.max() > 0.85
    ratio = widths / heights
    assert ratio.min() == pytest.approx(0.75, abs=0.03)
    assert ratio.max() == pytest.approx(1.3333, abs=0.03)
    small = area < 0.4  # these always fit at the first try, whatever their ratio
    assert np.median(np.log(ratio[small])) == pytest.approx(0, abs=0.03)


def test_resized_crop_falls_back_to_the_centre():
    rng = np.random.default_rng(0)
    assert resized_crop_box(100, 1000, (1.0, 1.0), (0.75, 1.3333), rng) == (0, 433, 100, 133)
    assert resized_crop_box(1000, 100, (1.0, 1.0), (0.75, 1.3333), rng) == (433, 0, 133, 100)


def test_plain_random_crop():
    rng = np.random.default_rng(0)
    crops = [random_crop(72, 80, (36, 36), 32, rng) for _ in range(200)]
    assert {size for size, _ in crops} == {(36, 40)}
    assert {left for _, (_, left) in crops} == set(range(9))


def columns_of(clip):
    """The same `[C, T, H, W]`, with all values of a pixel side by side in memory."""
    channels, frames = clip.shape[:2]
    return (
        clip.permute(2, 3, 0, 1)
        .reshape(*clip.shape[2:], -1)
        .contiguous()
        .permute(2, 0, 1)
        .unflatten(0, (channels, frames))
    )


def test_the_layout_in_memory_changes_no_value():
    clip = torch.rand(3, 4, 11, 17) * 255
    columns = columns_of(clip)
    assert columns.stride(1) == 1 and torch.equal(columns, clip)
    torch.testing.assert_close(resize(columns, 9, 20), resize(clip, 9, 20), atol=1e-4, rtol=0)
    assert resize(columns, 9, 20).stride(1) == 1  # it stays so, for what follows
    for view in (columns, columns.flip(-1), columns[..., 2:9, 3:8], clip[:, 1:3]):
        packed = contiguous(view)
        assert packed.is_contiguous() and torch.equal(packed, view)


@pytest.mark.parametrize("shape", [(1, 1, 5, 6), (3, 1, 5, 6), (1, 4, 5, 6)])
def test_single_frames_and_channels_resize_alike(shape):
    clip = torch.rand(shape)
    for same in (clip, columns_of(clip)):
        torch.testing.assert_close(
            resize(same, 7, 4), resize(clip.repeat(3, 2, 1, 1), 7, 4)[: shape[0], : shape[1]]
        )


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_bytes_in_batches_normalise_like_single_clips(order):
    normalise = Normalisation((0.4, 0.5, 0.6), (0.2, 0.25, 0.3), order)
    batch = torch.randint(0, 256, (2, 3, 4, 5, 6), dtype=torch.uint8)
    result = normalise(batch)
    assert result.dtype == torch.float32
    for one, clip in zip(result, batch, strict=True):
        torch.testing.assert_close(one, normalise(clip.float()), atol=1e-6, rtol=0)
    mean = torch.tensor(normalise.mean).view(3, 1, 1, 1)
    std = torch.tensor(normalise.std).view(3, 1, 1, 1)
    ordered = batch.flip(1) if order == "BGR" else batch
    torch.testing.assert_close(result, (ordered / 255 - mean) / std, atol=1e-5, rtol=0)


def test_normalisation_leaves_its_input_alone_unless_given_it_to_fill():
    clip = torch.full((3, 1, 2, 2), 100.0)
    result = Normalisation()(clip)
    assert clip.eq(100).all()
    assert Normalisation()(clip, out=clip) is clip
    assert torch.equal(clip, result)

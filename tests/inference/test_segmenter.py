"""Classes of pixels of pictures and videos: by themselves, steady, drawn, and by published files."""

from dataclasses import replace

import av
import numpy as np
import pytest
import torch
from moving_shape import NAME, NAMES, moving_shape
from PIL import Image
from videos import encode

import uniformer_video as uv
from uniformer_video.data.clips.pixel_views import PixelViews
from uniformer_video.data.decoding.packets import VideoPackets
from uniformer_video.errors import CheckpointError, DecodeError, UserError
from uniformer_video.evaluation.areas import mean_iou
from uniformer_video.inference.segmenter import Segmenter
from uniformer_video.inference.steady import CUT, SteadyMean, is_cut, thumbnail
from uniformer_video.tasks.prediction import PixelPrediction
from uniformer_video.weights.checkpoint import write_checkpoint
from uniformer_video.zoo.published_dense import attention_by_name, published_pixels

LOSSLESS = {"codec": "ffv1", "pix_fmt": "bgr0"}


@pytest.fixture(scope="module")
def segmenter(shape_checkpoint):
    return Segmenter.from_checkpoint(shape_checkpoint, device="cpu")


def test_a_checkpoint_is_folded(segmenter):
    assert segmenter.model.only_predicts


def miou(predicted, truth):
    areas = [
        [
            np.sum((predicted == number) & (truth == number)),
            np.sum(predicted == number),
            np.sum(truth == number),
        ]
        for number in range(len(NAMES))
    ]
    return mean_iou(np.array(areas).T)


def flicker(predicted, truth):
    """The share of pixels that show one thing all the time and change their class between two frames."""
    still = (truth == truth[0]).all(axis=0)
    return float(np.mean((predicted[1:] != predicted[:-1])[:, still]))


def classes_of(segmenter, path, **options):
    with segmenter.video(path, **options) as frames:
        return np.array([frame.found.classes for frame in frames])


def test_a_steady_video_flickers_half_as_much_and_is_as_right(segmenter, tmp_path):
    plain, steady = [], []
    for seed in (100, 101, 102):
        frames, masks = moving_shape(24, seed)
        path = encode(tmp_path / f"{seed}.mkv", frames, **LOSSLESS)
        for found, options in ((plain, {}), (steady, {"steady": True})):
            predicted = classes_of(segmenter, path, **options)
            found.append((flicker(predicted, masks), miou(predicted, masks)))
    (before, right), (after, still_right) = (np.mean(each, axis=0) for each in (plain, steady))
    assert right > 0.75
    assert after < before / 2
    assert still_right >= right


def test_a_picture_in_any_form(segmenter, tmp_path):
    frames, masks = moving_shape(1, 5)
    path = tmp_path / "a.png"
    Image.fromarray(frames[0]).save(path)
    found = segmenter(path)
    assert found.classes.dtype == np.uint8 and found.classes.shape == masks[0].shape
    assert miou(found.classes, masks[0]) > 0.7
    with open(path, "rb") as file:
        others = [segmenter(str(path)), segmenter(path.read_bytes()), segmenter(file)]
    others.append(segmenter(frames[0]))
    assert all(np.array_equal(found.classes, other.classes) for other in others)
    counts = [int((found.classes == number).sum()) for number in range(4)]
    assert found.shares.tolist() == [count / found.classes.size for count in counts]
    best = NAMES[int(np.argmax(counts))]
    assert found.top(1) == [(best, max(counts) / found.classes.size)]
    record = found.to_dict(2)
    assert (record["height"], record["width"], len(record["classes"])) == (96, 128, 2)
    assert record["classes"][0] == {"class": best, "share": round(max(counts) / 12288, 6)}
    assert best in repr(found) and best in found.lines(1)[0]
    assert "4 classes" in repr(segmenter)
    with pytest.raises(DecodeError, match="does not exist"):
        segmenter(tmp_path / "absent.png")
    with pytest.raises(DecodeError, match="`video` gives its frames"):
        segmenter(tmp_path / "film.mp4")


def test_masks_are_indexed_and_overlays_show_the_colours(tmp_path):
    classes = np.array([[0, 1], [2, 2]], np.uint8)
    palette = np.array([(250, 0, 0), (0, 250, 0), (0, 0, 250)], np.uint8)
    found = PixelPrediction("a", classes, ("x", "y", "z"), palette)
    found.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P" and np.array_equal(np.asarray(image), classes)
        assert image.getpalette()[:9] == palette.ravel().tolist()
    picture = np.full((2, 2, 3), 100, np.uint8)
    assert np.array_equal(found.overlay(picture, 0), picture)
    assert np.array_equal(found.overlay(picture, 1), palette[classes])
    assert found.overlay(picture)[0, 0].tolist() == [175, 50, 50]
    with pytest.raises(UserError, match="opacity is 2"):
        found.overlay(picture, 2)
    with pytest.raises(UserError, match=r"\[1, 2, 3\].*the picture that was predicted"):
        found.overlay(picture[:1])
    with pytest.raises(UserError, match="1 or more"):
        found.top(0)


def test_the_mean_is_exponential_and_begins_anew_at_a_cut():
    dark, light = np.full((48, 64, 3), 40, np.uint8), np.full((48, 64, 3), 140, np.uint8)
    mean, one = SteadyMean(), torch.ones(2, 3, 4)
    assert torch.equal(mean([one], dark)[0], one)
    assert torch.equal(mean([3 * one], dark)[0], 2 * one)
    assert torch.equal(mean([6 * one], dark)[0], 4 * one)
    assert mean.cuts == 0
    assert torch.equal(mean([5 * one], light)[0], 5 * one)
    assert mean.cuts == 1
    wider = torch.ones(2, 3, 5)
    assert torch.equal(mean([wider], light)[0], wider)
    assert mean.cuts == 2


def test_a_cut_is_a_fifth_of_the_range_of_luma():
    grey = [thumbnail(np.full((90, 160, 3), level, np.uint8)) for level in (100, 150, 152)]
    assert grey[0].shape == (64, 64) and grey[0] == pytest.approx(100 / 255)
    assert CUT == 0.2 and not is_cut(grey[0], grey[1]) and is_cut(grey[0], grey[2])
    blue = np.zeros((64, 64, 3), np.uint8)
    blue[..., 2] = 255  # as bright as a grey of 29
    assert thumbnail(blue) == pytest.approx(0.114)


def test_a_cut_in_a_video(segmenter, tmp_path):
    frames, _ = moving_shape(6, 3)
    frames[3:] = 255 - frames[3:] // 4
    path = encode(tmp_path / "cut.mkv", frames, **LOSSLESS)
    with segmenter.video(path, steady=True) as found:
        classes = [frame.found.classes for frame in found]
    assert found.result().cuts == 1
    assert np.array_equal(classes[0], segmenter(frames[0]).classes)
    assert not np.array_equal(classes[2], segmenter(frames[2]).classes)
    assert np.array_equal(classes[3], segmenter(frames[3]).classes)


def test_a_video_is_its_frames(segmenter, tmp_path):
    frames, _ = moving_shape(5, 4)
    path = encode(tmp_path / "a.mkv", frames, **LOSSLESS)
    with segmenter.video(path) as found:
        parts = list(found)
    assert [part.number for part in parts] == list(range(5))
    assert [part.time for part in parts] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    for frame, part in zip(frames, parts, strict=True):
        assert np.array_equal(part.picture, frame)
        assert np.array_equal(part.found.classes, segmenter(frame).classes)
    result = found.result()
    assert result.shares == pytest.approx(np.mean([part.found.shares for part in parts], axis=0))
    assert (result.num_frames, result.cuts, result.broken) == (5, None, False)
    assert result.seconds == pytest.approx(0.2)
    with segmenter.video(path, start=0.08, end=0.16) as found:
        assert [(part.number, round(part.time, 3)) for part in found] == [(2, 0), (3, 0.04)]
    with pytest.raises(DecodeError, match="no frame begins to show from 9 s on"):
        segmenter.video(path, start=9)


def test_what_of_a_broken_video_can_be_read(segmenter, tmp_path, monkeypatch):
    frames, _ = moving_shape(20, 4)
    path = encode(tmp_path / "a.mp4", frames, g="5", bf="0", sc_threshold="0")
    packets, original = VideoPackets(str(path)), VideoPackets._decode
    packets.open()
    bad = packets.times[8]
    packets.close()

    def failing(self, packet):
        if packet is not None and packet.pts == bad:
            raise av.InvalidDataError(1, "Invalid data found when processing input")
        return original(self, packet)

    monkeypatch.setattr(VideoPackets, "_decode", failing)
    with segmenter.video(path) as found:
        numbers = [frame.number for frame in found]
    assert numbers == [n for n in range(20) if n not in (8, 9)]
    result = found.result()
    assert result.broken and result.num_frames == 18
    broke, lacking = result.to_dict()["notes"]
    assert "breaks while decoding" in broke and "2 frames of 20 could not be decoded" in lacking


def test_a_video_that_ends_too_early_says_so(segmenter, tmp_path):
    path = encode(tmp_path / "a.mkv", moving_shape(40, 4)[0], codec="mjpeg", pix_fmt="yuvj420p")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with segmenter.video(path) as found:
        count = sum(1 for _ in found)
    assert 10 < count < 25
    assert "header says that the video takes 1.600 s" in " ".join(found.result().notes)


def published_file(path, classes=150, **meta):
    torch.manual_seed(0)
    model = uv.create_model(NAME, num_classes=classes)
    torch.save({"state_dict": model.state_dict()} | ({"meta": meta} if meta else {}), path)
    return path


def test_a_published_file_as_it_is(tmp_path):
    found = Segmenter.from_checkpoint(published_file(tmp_path / "fpn_h14_small.pth"), device="cpu")
    views = found.views
    assert isinstance(views, PixelViews)
    assert (views.long_side, views.short_side, views.align, views.ratios) == (2048, 512, 32, (1,))
    assert views.normalise.mean == pytest.approx([0.485, 0.456, 0.406])
    assert views.normalise.channel_order == "RGB"
    assert list(found.class_names) == uv.class_names("ade20k")
    assert found.palette[0].tolist() == [120, 120, 120]
    assert (found.model.backbone.window, found.model.backbone.hybrid) == (14, True)
    assert published_pixels("upernet_uniformer_b").views == replace(views, align=1)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("upernet_w32_base.pth", {"window": 32, "hybrid": False}),
        ("fpn-h32-small", {"window": 32, "hybrid": True}),
        ("runs/h14/latest.pth", {}),
        ("fpn_global_small.pth", {}),
        ("iter_16000.pth", {}),
    ],
)
def test_windows_that_a_name_tells(name, told):
    assert attention_by_name(name) == told


def test_classes_and_colours_that_a_published_file_notes(tmp_path):
    colours = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    meta = {"CLASSES": ("sky", "sea", "sand"), "PALETTE": colours}
    path = published_file(tmp_path / "iter_1.pth", 3, **meta)
    found = Segmenter.from_checkpoint(path, device="cpu")
    assert found.class_names == ("sky", "sea", "sand") and found.palette.tolist() == colours


def test_other_checkpoints_are_refused(untrained, shape_checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match="holds a classifier"):
        Segmenter.from_checkpoint(untrained())
    with pytest.raises(CheckpointError, match=r"Segmenter and .* take those of segmentation"):
        uv.Predictor.from_checkpoint(shape_checkpoint)
    model = uv.create_model(checkpoint=shape_checkpoint)
    image = uv.Protocol.of_images(64, 1.0, (0.5,) * 3, (0.5,) * 3).to_dict()
    metadata = {"model": {"name": NAME, "arguments": model.arguments}, "protocol": image}
    write_checkpoint(tmp_path / "a.pt", model.state_dict(), metadata)
    with pytest.raises(CheckpointError, match="how pictures are prepared for segmentation"):
        Segmenter.from_checkpoint(tmp_path / "a.pt")

"""Pictures with masks in training and in tests: what is broken is replaced, or named."""

import numpy as np
import pytest
import torch
from masked_pictures import write_masked_pictures
from PIL import Image

from uniformer_video.data.clips.masked import MaskedAugmentation
from uniformer_video.data.clips.pixel_views import PixelViews
from uniformer_video.data.decoding.masks import MaskReader
from uniformer_video.data.lists.masked import read_mask_folders
from uniformer_video.data.loading.dataset import TrainDataset, TrainKey
from uniformer_video.data.loading.pixel_dataset import PixelDataset
from uniformer_video.data.sampling import ClipSampling

READ = MaskReader(3).read


@pytest.fixture
def root(tmp_path):
    return write_masked_pictures(tmp_path, train=4, val=2)


def stacked(masks):
    return torch.from_numpy(np.stack(masks))


def train_dataset(records, copies=1):
    augment = MaskedAugmentation(48, (128, 64))
    return TrainDataset(
        records,
        ClipSampling(1),
        augment,
        7,
        copies=copies,
        backend="pillow",
        label_tensor=stacked,
        read_label=READ,
    )


def test_training_gives_pictures_and_masks_by_the_key_alone(root):
    records = read_mask_folders(root, "train").records
    sample = train_dataset(records, copies=2)[TrainKey(1, 2, 3)]
    assert sample.clips.shape == (2, 3, 48, 48) and sample.clips.dtype == torch.float32
    assert sample.labels.shape == (2, 48, 48) and sample.labels.dtype == torch.uint8
    assert not sample.broken and sample.path == records[3].path
    again = train_dataset(records, copies=2)[TrainKey(1, 2, 3)]
    assert torch.equal(sample.clips, again.clips) and torch.equal(sample.labels, again.labels)
    other = train_dataset(records)[TrainKey(2, 2, 3)]
    assert not torch.equal(sample.labels[:1], other.labels)


def test_a_wrong_mask_makes_a_picture_broken(root):
    records = read_mask_folders(root, "train").records
    Image.fromarray(np.full((64, 64), 9, np.uint8)).save(records[0].mask)
    Image.fromarray(np.zeros((64, 60), np.uint8)).save(records[1].mask)
    dataset = train_dataset(records)
    for index, words in ((0, "4096 pixels of the value 9"), (1, "is 60x64 pixels and its picture")):
        sample = dataset[TrainKey(0, 0, index)]
        broken = dict(sample.broken)
        assert (
            words in broken[records[index].path]
            and records[index].mask in broken[records[index].path]
        )
        assert sample.path in {records[2].path, records[3].path}


def test_a_test_names_what_it_cannot_read(root):
    records = read_mask_folders(root, "val").records
    views = PixelViews(64, 0, long_side=128)
    sample = PixelDataset(records, views, READ, "pillow")[1]
    picture, mask = (np.array(Image.open(path)) for path in (records[1].path, records[1].mask))
    assert (sample.picture == picture).all() and (sample.mask == mask).all()
    assert (sample.index, sample.reason) == (1, "")
    (root / "val/masks/val001.png").unlink()
    dataset = PixelDataset(records, views, READ, "pillow", {records[0].path: "it hung"})
    assert dataset[0].reason == "it hung" and dataset[0].picture is None
    assert dataset[1].reason.startswith(f"{records[1].mask} is not there")
    assert dataset[1].mask is None
    (root / "val/images/val001.png").write_bytes(b"no picture")
    assert "val001.png cannot be read as a picture" in dataset[1].reason


def test_a_turned_picture_needs_a_mask_as_it_is_shown(root):
    """A picture that its EXIF data turn is compared with its mask after that."""
    record = read_mask_folders(root, "val").records[0]
    turned = Image.Exif()
    turned[274] = 6
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(record.path, exif=turned)
    dataset = PixelDataset([record], PixelViews(64, 0), READ, "pillow")
    Image.fromarray(np.zeros((30, 20), np.uint8)).save(record.mask)
    assert dataset[0].mask.shape == dataset[0].picture.shape[:2] == (30, 20)
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(record.mask)
    assert "20x30; its EXIF data may turn the picture" in dataset[0].reason

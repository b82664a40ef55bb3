"""Images against the published chain, written here with Pillow's own calls and given the same draws."""

import numpy as np
import pytest
import torch
from clips import rng, textured
from PIL import Image, ImageEnhance, ImageOps

from uniformer_video.data.clips import images
from uniformer_video.data.clips.images import ImageAugmentation, ImageViews
from uniformer_video.data.clips.packed import stack
from uniformer_video.data.clips.transforms import Normalisation

IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
POLICY = "rand-m9-mstd0.5-inc1"
BICUBIC = Image.Resampling.BICUBIC


def picture(height, width, seed=0):
    return textured(1, height, width, seed)


def augmentation(**options):
    crop = {"area": (0.08, 1.0), "ratio": (3 / 4, 4 / 3), "scales": (40, 50)}
    return ImageAugmentation(**{"crop_size": 32, "normalise": IMAGENET, **crop, **options})


def to_tensor(image, normalise=IMAGENET):
    """The published last steps: to [0, 1] in float32, minus the mean, over the deviation."""
    values = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    if normalise.channel_order == "BGR":
        values = values.flip(0)
    mean, std = (torch.tensor(row)[:, None, None] for row in (normalise.mean, normalise.std))
    return (values - mean) / std


# The test's views


def published_view(image, short_side, crop):
    """Resize and CenterCrop as torchvision does them to a Pillow image."""
    width, height = image.size
    if width <= height:
        size = short_side, int(short_side * height / width)
    else:
        size = int(short_side * width / height), short_side
    image = image.resize(size, BICUBIC)
    top = round((size[1] - crop) / 2.0)
    left = round((size[0] - crop) / 2.0)
    return image.crop((left, top, left + crop, top + crop))


SIZES = [
    (375, 500),  # as most of ImageNet
    (500, 333),
    (301, 299),  # odd
    (224, 224),
    (256, 256),  # nothing to scale
    (40, 31),  # smaller than the crop
    (1, 1),
    (1, 90),
    (61, 1),
    (64, 1999),
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("short_side", "crop"), [(256, 224), (146, 128), (219, 192), (33, 32)])
def test_a_view_is_the_published_one(size, short_side, crop):
    frames = picture(*size)
    [view] = ImageViews(short_side, crop, normalise=IMAGENET)([frames])
    expected = to_tensor(published_view(Image.fromarray(frames[0]), short_side, crop))
    torch.testing.assert_close(view, expected, rtol=0, atol=2e-6)


def test_the_centre_is_rounded_to_even_as_published():
    # what is left over of a side: 1 -> 0, 3 -> 2, 5 -> 2, 7 -> 4; halves go to the even number
    tops = [images.centre((32 + extra, 32), 32)[0] for extra in range(8)]
    assert tops == [0, 0, 1, 2, 2, 2, 3, 4]


def test_a_long_side_that_is_whole_is_not_cut():
    for height in range(1, 300):
        for width in (3, 7, 49, 100, 299):
            long, short = max(height, width), min(height, width)
            sides = {short: 250, long: int(250 * long / short)}
            assert images.image_size(height, width, 250) == (sides[height], sides[width])


@pytest.mark.parametrize("size", [(1, 2000), (1999, 1), (3, 4001)])
def test_a_line_of_pixels_is_not_blown_up(size, monkeypatch):
    frames = picture(*size)
    views = ImageViews(96, 64, normalise=IMAGENET)
    monkeypatch.setattr(images, "_MOST_PIXELS", 10**6)
    monkeypatch.setattr(Image.Image, "resize", checked_resize(Image.Image.resize, 10**5))
    [view] = views([frames])
    monkeypatch.undo()
    assert np.prod(images.image_size(*size, 96)) < images._MOST_PIXELS
    [whole] = views([frames])
    level = 1 / 255 / 0.224
    assert (view - whole).abs().max() < 1.01 * level
    assert ((view - whole).abs() > 0.5 * level).float().mean() < 0.01


def checked_resize(resize, most):
    def checked(image, size, *arguments):
        assert size[0] * size[1] <= most
        return resize(image, size, *arguments)

    return checked


# Training


def published_operation(image, name, setting, fill):
    if name == "Rotate":
        return image.rotate(setting, resample=BICUBIC, fillcolor=fill)
    width, height = image.size
    matrices = {
        "ShearX": (1, setting, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, setting, 1, 0),
        "TranslateX": (1, 0, (setting or 0) * width, 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, (setting or 0) * height),
    }
    if name in matrices:
        how = {"resample": BICUBIC, "fillcolor": fill}
        return image.transform(image.size, Image.Transform.AFFINE, matrices[name], **how)
    if name in ("Color", "Contrast", "Brightness", "Sharpness"):
        return getattr(ImageEnhance, name)(image).enhance(setting)
    if name == "SolarizeAdd":
        table = [value + setting if value < 128 else value for value in range(256)]
        return image.point([min(value, 255) for value in table] * 3)
    if name == "Posterize":
        return image.point([value & ~(2 ** (8 - setting) - 1) & 255 for value in range(256)] * 3)
    function = getattr(ImageOps, name.lower())
    return function(image) if setting is None else function(image, setting)


def published_training_image(frames, drawn, fill):
    """Random resized crop, flip, then the policy or the colour jitter on the crop."""
    image, box = Image.fromarray(frames[0]), drawn.box
    image = image.crop((box.left, box.top, box.left + box.width, box.top + box.height))
    image = image.resize((32, 32), BICUBIC)
    if drawn.mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for name, setting in drawn.ops:
        image = published_operation(image, name, setting, fill)
    return image


def assert_published(augment, frames, seed, fill=(124, 116, 104)):
    """One image, to the bit but for the normalisation's rounding; the operations that were drawn."""
    generator = rng(seed)
    drawn, _ = augment.draw(frames.shape[1:3], (0,), generator)
    expected = to_tensor(published_training_image(frames, drawn, fill), augment.normalise)
    found = augment.apply(frames, drawn, generator)
    if drawn.erased:
        top, left, height, width = drawn.erased
        shown = torch.ones(32, 32, dtype=torch.bool)
        shown[top : top + height, left : left + width] = False
        assert not torch.equal(found[:, ~shown], expected[:, ~shown])
        found, expected = found[:, shown], expected[:, shown]
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)
    return [name for name, _ in drawn.ops]


@pytest.mark.parametrize("policy", [POLICY, "v0", "rand-m9-n4-mstd1"])
def test_a_training_image_is_the_published_one(policy):
    augment, seen = augmentation(policy=policy, erasing=0.25), set()
    for seed in range(150):
        frames = picture(*((37, 50), (60, 41), (90, 90))[seed % 3], seed=seed)
        seen.update(assert_published(augment, frames, seed))
    assert len(seen) == (15 if policy != "v0" else 11)


def test_colour_jitter_takes_the_place_of_a_policy():
    augment = augmentation(color_jitter=0.4)
    for seed in range(12):
        names = assert_published(augment, picture(45, 60, seed), seed)
        assert sorted(names) == ["Brightness", "Color", "Contrast"]


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (70, 1), (2, 3)])
def test_tiny_pictures_are_trained_on(size):
    augment = augmentation(policy=POLICY)
    for seed in range(8):
        assert_published(augment, picture(*size), seed)


def test_half_and_blue_first_means_fill_too():
    half = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    blue_first = Normalisation((0.406, 0.456, 0.485), (0.225, 0.224, 0.229), "BGR")
    for normalise, fill in ((half, (128, 128, 128)), (blue_first, (124, 116, 104))):
        augment = augmentation(policy=POLICY, normalise=normalise)
        for seed in range(20):
            assert_published(augment, picture(40, 50), seed, fill)


def test_the_crop_sees_nothing_around_its_box():
    """The published crop is cut, then scaled: its edge does not take part of what lies beyond."""
    frames = picture(60, 80)
    augment = augmentation(area=(0.3, 0.3), flip=False)
    drawn, _ = augment.draw((60, 80), (0,), rng(1))
    rows, columns = drawn.box.slices(type(drawn.box).whole((60, 80)))
    alone = np.zeros_like(frames)
    alone[:, rows, columns] = frames[:, rows, columns]
    assert torch.equal(augment.apply(frames, drawn, rng()), augment.apply(alone, drawn, rng()))


def test_a_plain_crop_is_cut_from_the_scaled_picture():
    augment = augmentation(area=None, policy=POLICY)
    frames = picture(45, 60)
    for seed in range(6):
        drawn, _ = augment.draw((45, 60), (0,), rng(seed))
        (height, width), (top, left) = drawn.scaled_size, drawn.corner
        assert 40 <= min(height, width) <= 50
        image = Image.fromarray(frames[0]).resize((width, height), BICUBIC)
        image = image.crop((left, top, left + 32, top + 32))
        if drawn.mirrored:
            image = ImageOps.mirror(image)
        for name, setting in drawn.ops:
            image = published_operation(image, name, setting, (124, 116, 104))
        found = augment.apply(frames, drawn, rng(seed))
        torch.testing.assert_close(found, to_tensor(image), rtol=0, atol=2e-6)


def test_the_device_normalises_the_same_pixels():
    here = augmentation(policy=POLICY, erasing=0.5)
    there = augmentation(policy=POLICY, erasing=0.5, on_device="normalise")
    frames, batch, expected, boxes = picture(45, 60), [], [], []
    for seed in range(12):
        clip, _ = there(frames, (0,), rng(seed))
        assert clip.memory.dtype == torch.uint8 and len(clip.memory) == 3 * 32 * 32
        batch.append(clip)
        expected.append(here(frames, (0,), rng(seed))[0])
        boxes.append(here.draw((45, 60), (0,), rng(seed))[0].erased)
    finished = there.finish(stack(batch))
    assert finished.shape == (12, 3, 32, 32) and finished.dtype == torch.float32
    for image, wanted, box in zip(finished, expected, boxes, strict=True):
        shown = torch.ones(32, 32, dtype=torch.bool)
        if box:
            top, left, height, width = box
            shown[top : top + height, left : left + width] = False
        torch.testing.assert_close(image[:, shown], wanted[:, shown], rtol=0, atol=2e-6)
        assert bool(image[:, ~shown].std() > 0.5) if box else bool(shown.all())
    assert any(boxes)


def test_mirrored_images_exchange_labels():
    augment = augmentation(flip_labels=((1, 2), (2, 1)), flip_skipped=(3,))
    left_dark = np.zeros((1, 40, 40, 3), np.uint8)
    left_dark[:, :, 20:] = 255
    swapped = set()
    for seed in range(30):
        for label in (1, 3):
            drawn, labels = augment.draw((40, 40), (label,), rng(seed))
            assert labels == ((2,) if drawn.mirrored else (label,))
            swapped.add((label, drawn.mirrored))
    assert swapped == {(1, True), (1, False), (3, False)}
    assert (
        augmentation(area=(1.0, 1.0), ratio=(1.0, 1.0), flip=False)(left_dark, (0,), rng())[0][
            0, :, 0
        ].max()
        < 0
    )


def test_steps_are_marked_in_their_order():
    marks = []
    augmentation(policy=POLICY, erasing=0.5)(picture(40, 50), (0,), rng(), marks.append)
    assert marks == ["crop and resize", "flip", "RandAugment", "normalise", "erasing"]

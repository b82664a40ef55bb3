"""RandAugment against hand-computed pixels, and the box of random erasing."""

import math
import pickle
from collections import Counter

import numpy as np
import pytest
import torch

from uniformer_video.data.clips.augment import (
    INTERPOLATIONS,
    OPS,
    Policy,
    RandAugment,
    RandomErasing,
    apply_ops,
    parse_policy,
)
from uniformer_video.errors import ConfigError

FILL = 128


def rng(seed=0):
    return np.random.default_rng(seed)


def noise_frames(frames=2, height=8, width=10, seed=0):
    return rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def gray_frames(*frames):
    """2D lists of gray levels -> uint8 `[T, H, W, 3]`."""
    return np.repeat(np.array(frames, dtype=np.uint8)[..., None], 3, axis=-1)


def run(name, setting, frames, interpolation="bicubic"):
    return apply_ops(frames, [(name, setting)], INTERPOLATIONS[interpolation])


def luma(frames):
    """ITU-R 601-2, what Pillow means by gray."""
    return frames @ np.array([0.299, 0.587, 0.114])


# Policy strings


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("rand", Policy(10.0, 2, 0.0, False)),
        ("rand-m7-n4-mstd0.5-inc1", Policy(7.0, 4, 0.5, True)),
        ("rand-m7-n4-mstd0.5-inc0", Policy(7.0, 4, 0.5, False)),
        ("rand-inc1-mstd1-n3", Policy(10.0, 3, 1.0, True)),
        ("rand-m2.5", Policy(2.5, 2, 0.0, False)),
        ("rand-m0-n1", Policy(0.0, 1, 0.0, False)),
    ],
)
def test_policy_strings(text, policy):
    assert parse_policy(text) == policy


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "neither 'rand' nor 'v0'"),
        ("original-mstd0.5", "neither 'rand' nor 'v0'"),
        ("random-m7", "neither 'rand' nor 'v0'"),
        ("Rand-m7", "neither 'rand' nor 'v0'"),
        ("rand-", "''"),
        ("rand-m", "'m'"),
        ("rand-m-3", "'m'"),
        ("rand-m7n4", "'m7n4'"),
        ("rand-n2.5", "'n2.5'"),
        ("rand-mstd", "'mstd'"),
        ("rand-mstdinf", "'mstdinf'"),
        ("rand-inc2", "'inc2'"),
        ("rand-w0", "'w0'"),
        ("rand-m7 -n4", "'m7 '"),
        ("rand-m7-m8", "repeats"),
        ("rand-inc1-inc1", "repeats"),
        ("rand-m11", "above 10"),
        ("rand-n0", "N is not 1 to 100"),
        ("rand-n101", "N is not 1 to 100"),
        ("rand-n9999999999", "'n9999999999'"),
    ],
)
def test_malformed_policy_says_what_is_wrong_and_what_is_right(text, reason):
    with pytest.raises(ConfigError) as error:
        parse_policy(text)
    message = str(error.value)
    assert f"AUG.AA_TYPE is {text!r}" in message
    assert reason in message
    assert "rand[-mM][-nN][-mstdS][-inc1]" in message
    assert "such as 'rand-m7-n4-mstd0.5-inc1'" in message


def test_unknown_interpolation_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"'nearest'.*bicubic, bilinear"):
        RandAugment("rand", interpolation="nearest")


# From magnitudes to settings


def test_there_are_the_fifteen_published_ops():
    assert set(OPS) == {
        "AutoContrast",
        "Equalize",
        "Invert",
        "Rotate",
        "Posterize",
        "Solarize",
        "SolarizeAdd",
        "Color",
        "Contrast",
        "Brightness",
        "Sharpness",
        "ShearX",
        "ShearY",
        "TranslateX",
        "TranslateY",
    }


@pytest.mark.parametrize(
    ("name", "magnitude", "sign", "plain", "increasing"),
    [
        ("Rotate", 7.0, 1, 21.0, 21.0),
        ("Rotate", 10.0, -1, -30.0, -30.0),
        ("ShearX", 5.0, -1, -0.15, -0.15),
        ("ShearY", 10.0, 1, 0.3, 0.3),
        ("TranslateX", 10.0, 1, 0.45, 0.45),
        ("TranslateY", 2.0, -1, -0.09, -0.09),
        ("SolarizeAdd", 7.0, 1, 77, 77),
        ("SolarizeAdd", 7.06, -1, 77, 77),
        ("Posterize", 7.0, 1, 2, 2),
        ("Posterize", 10.0, -1, 4, 0),
        ("Posterize", 0.0, 1, 0, 4),
        ("Posterize", 2.4, 1, 0, 4),
        ("Posterize", 2.5, 1, 1, 3),
        ("Solarize", 7.0, -1, 179, 77),
        ("Solarize", 10.0, 1, 256, 0),
        ("Solarize", 0.0, 1, 0, 256),
        ("Brightness", 7.0, 1, 1.36, 1.63),
        ("Brightness", 7.0, -1, 1.36, 0.37),
        ("Contrast", 10.0, -1, 1.9, 0.1),
        ("Color", 0.0, 1, 0.1, 1.0),
        ("Sharpness", 5.0, 1, 1.0, 1.45),
        ("Invert", 7.0, 1, None, None),
        ("AutoContrast", 7.0, 1, None, None),
        ("Equalize", 7.0, 1, None, None),
    ],
)
def test_settings_of_a_magnitude(name, magnitude, sign, plain, increasing):
    for flag, expected in ((False, plain), (True, increasing)):
        setting = OPS[name].level(magnitude, sign, flag)
        assert setting == (expected if expected is None else pytest.approx(expected))
        assert type(setting) is type(expected)


# Each op on pixels


def test_invert():
    frames = noise_frames()
    assert np.array_equal(run("Invert", None, frames), 255 - frames)


@pytest.mark.parametrize("bits", range(5))
def test_posterize_keeps_the_highest_bits(bits):
    frames = noise_frames()
    expected = (frames.astype(int) >> (8 - bits)) << (8 - bits)
    assert np.array_equal(run("Posterize", bits, frames), expected)


@pytest.mark.parametrize("threshold", [0, 1, 77, 128, 255, 256])
def test_solarize_inverts_from_the_threshold_on(threshold):
    frames = noise_frames()
    frames[0, 0, :3] = np.clip([threshold - 1, threshold, threshold + 1], 0, 255)
    expected = np.where(frames < threshold, frames, 255 - frames)
    assert np.array_equal(run("Solarize", threshold, frames), expected)


@pytest.mark.parametrize("addend", [0, 77, 110])
def test_solarize_add_brightens_what_is_below_128(addend):
    frames = gray_frames([[0, 1, 50, 127, 128, 129, 200, 255]])
    expected = gray_frames([[addend, 1 + addend, 50 + addend, 127 + addend, 128, 129, 200, 255]])
    assert np.array_equal(run("SolarizeAdd", addend, frames), expected)


@pytest.mark.parametrize("factor", [0.1, 0.37, 1.0, 1.63, 1.9])
def test_brightness_scales(factor):
    frames = noise_frames()
    expected = np.clip(frames * factor, 0, 255)
    assert np.abs(run("Brightness", factor, frames) - expected).max() <= 1


@pytest.mark.parametrize("factor", [0.1, 0.37, 1.0, 1.63, 1.9])
def test_contrast_scales_about_the_mean_gray_of_each_frame(factor):
    frames = noise_frames()
    frames[1] //= 4  # another mean
    means = luma(frames).mean((1, 2)).round()[:, None, None, None]
    expected = np.clip(means + factor * (frames - means), 0, 255)
    assert np.abs(run("Contrast", factor, frames) - expected).max() <= 1 + abs(1 - factor)


@pytest.mark.parametrize("factor", [0.1, 0.37, 1.0, 1.63, 1.9])
def test_color_scales_about_the_gray_of_each_pixel(factor):
    frames = noise_frames()
    gray = luma(frames)[..., None]
    expected = np.clip(gray + factor * (frames - gray), 0, 255)
    assert np.abs(run("Color", factor, frames) - expected).max() <= 1 + abs(1 - factor)


def test_color_reads_the_channels_as_rgb():
    green = np.zeros((1, 1, 1, 3), dtype=np.uint8)
    green[..., 1] = 200
    assert run("Color", 0.0, green).ravel().tolist() == [117, 117, 117]


def test_sharpness_moves_away_from_the_smoothed_frame():
    frames = np.zeros((1, 5, 5, 3), dtype=np.uint8)
    frames[0, 2, 2] = 130
    smooth = frames.astype(int)
    smooth[0, 1:4, 1:4] = 10  # 130 / 13 around, 5 * 130 / 13 at the centre
    smooth[0, 2, 2] = 50
    assert np.array_equal(run("Sharpness", 0.0, frames), smooth)
    assert np.array_equal(run("Sharpness", 0.5, frames), (smooth + frames) // 2)
    assert np.array_equal(run("Sharpness", 1.0, frames), frames)
    assert run("Sharpness", 1.5, frames)[0, 2, 2, 0] == 130 + 40
    assert run("Sharpness", 1.5, frames)[0, 1, 2, 0] == 0


def test_auto_contrast_stretches_each_frame_and_channel_alone():
    frames = gray_frames([[50, 75, 100]], [[10, 110, 210]])
    frames[0, ..., 2] = [0, 255, 255]
    stretched = run("AutoContrast", None, frames)
    expected = gray_frames([[0, 127.5, 255]], [[0, 127.5, 255]]).astype(int)
    expected[0, ..., 2] = [0, 255, 255]
    assert np.abs(stretched - expected).max() <= 1  # Pillow's table rounds down


def test_equalize_spreads_the_levels_of_each_frame_by_their_rank():
    ranks = np.repeat([0, 1, 2, 3], 256).reshape(32, 32)
    equalized = run("Equalize", None, gray_frames(100 + ranks, 50 + 2 * ranks))
    expected = np.array([0, 85, 171, 255])[ranks]
    assert np.array_equal(equalized, gray_frames(expected, expected))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_translate_by_whole_pixels_and_fill(interpolation):
    frames = noise_frames(height=8, width=10)
    left = np.full_like(frames, FILL)
    left[:, :, :8] = frames[:, :, 2:]
    right = np.full_like(frames, FILL)
    right[:, :, 2:] = frames[:, :, :8]
    up = np.full_like(frames, FILL)
    up[:, :6] = frames[:, 2:]
    down = np.full_like(frames, FILL)
    down[:, 2:] = frames[:, :6]
    assert np.array_equal(run("TranslateX", 0.2, frames, interpolation), left)
    assert np.array_equal(run("TranslateX", -0.2, frames, interpolation), right)
    assert np.array_equal(run("TranslateY", 0.25, frames, interpolation), up)
    assert np.array_equal(run("TranslateY", -0.25, frames, interpolation), down)


def test_interpolation_of_a_half_pixel():
    frames = gray_frames([[0, 0, 0, 96, 160, 0, 0, 0, 0, 0]])
    bilinear = run("TranslateX", 0.05, frames, "bilinear")[0, 0, :, 0]
    bicubic = run("TranslateX", 0.05, frames, "bicubic")[0, 0, :, 0]
    assert bilinear[2:5].tolist() == [48, 128, 80]
    # Pillow's transforms use the cubic kernel of a = -1: half way, weights -1/8, 5/8, 5/8, -1/8.
    assert bicubic[2:5].tolist() == [60 - 20, 160, 100 - 12]


def test_shear_x_shifts_each_row_by_its_depth():
    frames = noise_frames(height=3, width=12)
    expected = np.full_like(frames, FILL)
    for row, shift in enumerate((1, 3, 5)):  # slope 2, at the centres 0.5, 1.5, 2.5 of the rows
        expected[:, row, : 12 - shift] = frames[:, row, shift:]
    assert np.array_equal(run("ShearX", 2.0, frames), expected)


def test_shear_y_shifts_each_column_by_its_depth():
    frames = noise_frames(height=12, width=3)
    expected = np.full_like(frames, FILL)
    for column, shift in enumerate((1, 3, 5)):
        expected[:, : 12 - shift, column] = frames[:, shift:, column]
    assert np.array_equal(run("ShearY", 2.0, frames), expected)


def test_rotate_is_anticlockwise_about_the_centre():
    square = noise_frames(height=9, width=9)
    assert np.array_equal(run("Rotate", 90.0, square), np.rot90(square, axes=(1, 2)))

    spot = np.zeros((1, 41, 41, 3), dtype=np.uint8)
    spot[0, 19:22, 34:37] = 255  # 15 right of the centre
    rows, columns = np.nonzero(run("Rotate", 30.0, spot)[0, ..., 0] > FILL)
    assert rows.mean() == pytest.approx(20 - 15 * math.sin(math.radians(30)), abs=0.3)
    assert columns.mean() == pytest.approx(20 + 15 * math.cos(math.radians(30)), abs=0.3)
    assert run("Rotate", 30.0, spot)[0, 0, 0].tolist() == [FILL] * 3


def test_ops_follow_each_other_in_order():
    frames = noise_frames()
    resample = INTERPOLATIONS["bicubic"]
    both = apply_ops(frames, [("Posterize", 2), ("Invert", None)], resample)
    assert np.array_equal(both, 255 - (frames & 0b11000000))
    other = apply_ops(frames, [("Invert", None), ("Posterize", 2)], resample)
    assert np.array_equal(other, (255 - frames) & 0b11000000)


def plausible(name, sign=1):
    return OPS[name].level(7.0, sign, True)


@pytest.mark.parametrize("name", OPS)
def test_every_frame_is_treated_alike_and_the_input_is_left_alone(name):
    frames = np.repeat(noise_frames(frames=1), 3, axis=0)
    before = frames.copy()
    result = run(name, plausible(name), frames)
    assert result.dtype == np.uint8 and result.shape == frames.shape
    assert np.array_equal(result[0], result[1]) and np.array_equal(result[0], result[2])
    assert np.array_equal(frames, before)
    assert not np.shares_memory(result, frames)


def test_views_and_read_only_frames_are_fine():
    frames = noise_frames(frames=4, height=12, width=14)
    view = frames[::2, 1:9, ::-1]
    view.flags.writeable = False
    result = run("Rotate", 21.0, view)
    assert np.array_equal(result, run("Rotate", 21.0, view.copy()))
    assert result.flags.writeable


# The draw


def draws(policy_text, count, seed=0):
    augment, generator = RandAugment(policy_text), rng(seed)
    return [augment.draw(generator) for _ in range(count)]


def test_each_op_is_drawn_alike_and_applied_half_the_time():
    drawn = draws("rand-m7-n4-mstd0.5-inc1", 3000)
    counts = Counter(name for ops in drawn for name, _ in ops)
    assert sum(counts.values()) / (3000 * 4) == pytest.approx(0.5, abs=0.02)
    for name in OPS:
        assert counts[name] == pytest.approx(3000 * 4 * 0.5 / 15, rel=0.25), name
    lengths = Counter(len(ops) for ops in drawn)
    for length in range(5):  # binomial(4, 0.5)
        assert lengths[length] / 3000 == pytest.approx(math.comb(4, length) / 16, abs=0.03)


def test_ops_are_drawn_with_replacement():
    names = [[name for name, _ in ops] for ops in draws("rand-n6", 300)]
    assert any(len(set(chosen)) < len(chosen) for chosen in names)


def settings_of(name, policy_text, count=4000):
    return np.array([value for ops in draws(policy_text, count) for op, value in ops if op == name])


def test_magnitudes_are_normal_about_m_and_clipped():
    degrees = settings_of("Rotate", "rand-m5-n4-mstd1.5-inc1")
    magnitudes = np.abs(degrees) / 3
    assert magnitudes.mean() == pytest.approx(5, abs=0.2)
    assert magnitudes.std() == pytest.approx(1.5, abs=0.15)

    clipped = np.abs(settings_of("Rotate", "rand-m10-n4-mstd3")) / 3
    assert clipped.max() == 10
    assert (clipped == 10).mean() == pytest.approx(0.5, abs=0.06)
    assert np.abs(settings_of("Rotate", "rand-m0-n4-mstd3")).min() == 0


def test_ops_of_one_clip_have_magnitudes_of_their_own():
    drawn = draws("rand-m5-n6-mstd1", 300)
    pairs = [[abs(v) for op, v in ops if op == "Rotate"] for ops in drawn]
    assert any(len(set(values)) > 1 for values in pairs)


def test_signs_are_random_for_geometry_and_for_increasing_enhancement_only():
    for name, size in (("Rotate", 21.0), ("ShearX", 0.21), ("TranslateY", 0.315)):
        values = settings_of(name, "rand-m7-n4")
        assert np.allclose(np.abs(values), size)
        assert (values > 0).mean() == pytest.approx(0.5, abs=0.07), name
    for name in ("Color", "Contrast", "Brightness", "Sharpness"):
        assert np.allclose(settings_of(name, "rand-m7-n4", 300), 1.36)
        factors = settings_of(name, "rand-m7-n4-inc1")
        assert np.allclose(np.abs(factors - 1), 0.63)
        assert (factors > 1).mean() == pytest.approx(0.5, abs=0.07), name


def test_the_same_generator_gives_the_same_clip():
    augment = RandAugment("rand-m7-n4-mstd0.5-inc1")
    frames = noise_frames(frames=3)
    for seed in range(10):
        assert np.array_equal(augment(frames, rng(seed)), augment(frames, rng(seed)))
    results = {augment(frames, rng(seed)).tobytes() for seed in range(10)}
    assert len(results) > 7


def test_the_draw_does_not_depend_on_the_pixels():
    """A clip is its frames one by one: nothing is drawn per frame."""
    augment = RandAugment("rand-m7-n4-mstd0.5-inc1")
    frames = noise_frames(frames=3)
    for seed in range(20):
        one_by_one = [augment(frames[t : t + 1], rng(seed)) for t in range(3)]
        generator = rng(seed)
        assert np.array_equal(augment(frames, generator), np.concatenate(one_by_one))
        shorter = rng(seed)
        augment(frames[:1, :4], shorter)
        assert generator.random() == shorter.random()


def test_nothing_drawn_returns_the_input_itself():
    augment = RandAugment("rand-m7-n1")
    frames = noise_frames()
    untouched = 0
    for seed in range(40):
        result = augment(frames, rng(seed))
        drawn = augment.draw(rng(seed))
        assert (result is frames) == (not drawn)
        untouched += result is frames
    assert 8 < untouched < 32


def test_interpolation_reaches_the_ops():
    frames = noise_frames(height=16, width=16)
    seed = next(s for s in range(99) if [n for n, _ in draws("rand-n1", 1, s)[0]] == ["Rotate"])
    bicubic = RandAugment("rand-n1")(frames, rng(seed))
    assert np.array_equal(bicubic, RandAugment("rand-n1", "bicubic")(frames, rng(seed)))
    assert not np.array_equal(bicubic, RandAugment("rand-n1", "bilinear")(frames, rng(seed)))


def test_it_travels_to_spawned_workers():
    augment = pickle.loads(pickle.dumps(RandAugment("rand-m7-n4-mstd0.5-inc1")))
    frames = noise_frames()
    expected = RandAugment("rand-m7-n4-mstd0.5-inc1")(frames, rng(3))
    assert np.array_equal(augment(frames, rng(3)), expected)


# Random erasing


SENTINEL = 99.0  # nowhere near N(0, 1)


def erased_box(erased):
    """The (top, bottom, left, right) of what is no longer `SENTINEL`, and it is one full box."""
    changed = erased != SENTINEL
    assert bool((changed == changed[:1, :1]).all())  # the same in every frame and channel
    rows, columns = torch.nonzero(changed[0, 0], as_tuple=True)
    top, bottom = int(rows.min()), int(rows.max()) + 1
    left, right = int(columns.min()), int(columns.max()) + 1
    assert bool(changed[..., top:bottom, left:right].all())
    return top, bottom, left, right


def test_erasing_fills_one_box_in_all_frames_and_nothing_else():
    clip = torch.full((3, 4, 40, 56), SENTINEL)
    erasing = RandomErasing(1.0)
    boxes = set()
    for seed in range(30):
        erased = erasing(clip, rng(seed))
        assert bool((clip == SENTINEL).all())
        top, bottom, left, right = erased_box(erased)
        assert (top, left, bottom - top, right - left) == erasing.draw(40, 56, rng(seed))
        boxes.add((top, bottom, left, right))
    assert len(boxes) > 25


def test_erasing_noise_is_standard_normal_and_fresh_for_every_value():
    clip = torch.full((3, 4, 64, 64), SENTINEL)
    erased = RandomErasing(1.0, min_area=0.3, max_area=0.3)(clip, rng(1))
    top, bottom, left, right = erased_box(erased)
    noise = erased[..., top:bottom, left:right]
    assert noise.mean().item() == pytest.approx(0, abs=0.05)
    assert noise.std().item() == pytest.approx(1, abs=0.05)
    assert noise.unique().numel() > 0.99 * noise.numel()


def test_erasing_area_and_aspect():
    generator = rng(0)
    erasing = RandomErasing(1.0, max_area=0.1)  # at most 0.1 / 0.3 of a side: the first try fits
    boxes = np.array([erasing.draw(1000, 800, generator) for _ in range(3000)])
    top, left, height, width = boxes.T
    assert top.min() >= 0 and left.min() >= 0
    assert (top + height).max() <= 1000 and (left + width).max() <= 800

    area = height * width / (1000 * 800)
    assert 0.0195 < area.min() < 0.021 and 0.099 < area.max() < 0.1005
    assert area.mean() == pytest.approx(0.06, abs=0.002)
    assert area.std() == pytest.approx(0.08 / math.sqrt(12), abs=0.001)

    log_aspect = np.log(height / width)
    limit = math.log(1 / 0.3)
    assert -limit - 0.02 < log_aspect.min() < -limit + 0.03
    assert limit - 0.03 < log_aspect.max() < limit + 0.02
    assert log_aspect.mean() == pytest.approx(0, abs=0.05)
    assert log_aspect.std() == pytest.approx(2 * limit / math.sqrt(12), abs=0.03)

    place = top / (1000 - height)  # uniform over the places where the box fits
    assert place.mean() == pytest.approx(0.5, abs=0.02)
    assert place.min() < 0.01 and place.max() > 0.99


def test_erasing_default_area_goes_to_a_third():
    generator = rng(0)
    boxes = [RandomErasing(1.0).draw(224, 224, generator) for _ in range(2000)]
    area = np.array([height * width for _, _, height, width in boxes]) / 224**2
    assert 0.018 < area.min() < 0.03 and 0.32 < area.max() < 0.337


def test_erasing_box_may_touch_every_border():
    generator = rng(0)
    erasing = RandomErasing(1.0)
    boxes = [erasing.draw(12, 12, generator) for _ in range(500)]
    assert min(top for top, _, _, _ in boxes) == 0
    assert min(left for _, left, _, _ in boxes) == 0
    assert max(top + height for top, _, height, _ in boxes) == 12
    assert max(left + width for _, left, _, width in boxes) == 12


def test_erasing_probability():
    clip = torch.zeros(1, 1, 8, 8)
    generator = rng(0)
    erasing = RandomErasing(0.25)
    rate = np.mean([erasing(clip, generator) is not clip for _ in range(3000)])
    assert rate == pytest.approx(0.25, abs=0.03)
    never = RandomErasing(0.0)
    assert all(never(clip, generator) is clip for _ in range(50))


def test_erasing_gives_up_after_ten_tries():
    class Counting:
        def __init__(self):
            self.generator, self.tries = rng(0), 0

        def random(self):
            return self.generator.random()

        def uniform(self, low, high):
            self.tries += 1
            return self.generator.uniform(low, high)

    generator = Counting()
    clip = torch.zeros(1, 1, 4, 1000)  # the smallest box is some 9 pixels high
    erasing = RandomErasing(1.0, min_area=0.1)
    assert erasing(clip, generator) is clip
    assert generator.tries == 2 * 10


def test_erasing_is_repeatable_and_keeps_the_dtype():
    erasing = RandomErasing(1.0)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        clip = torch.zeros(3, 2, 16, 16, dtype=dtype)
        first, second = erasing(clip, rng(5)), erasing(clip, rng(5))
        assert first.dtype == dtype and torch.equal(first, second)


@pytest.mark.parametrize(
    "arguments",
    [
        {"probability": 1.5},
        {"probability": -0.1},
        {"probability": 1.0, "min_area": 0.5, "max_area": 0.2},
        {"probability": 1.0, "min_area": 0.0},
        {"probability": 1.0, "max_area": 2.0},
        {"probability": 1.0, "min_aspect": 0.0},
        {"probability": 1.0, "min_aspect": 3.0},
    ],
)
def test_erasing_refuses_impossible_settings(arguments):
    with pytest.raises(ConfigError, match="got"):
        RandomErasing(**arguments)

"""Label maps: read from files, and moved as their pictures are."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from uniformer_video.data.clips.label_maps import (
    LabelMaps,
    follow,
    map_name,
    move_like_picture,
    read_facts,
)
from uniformer_video.data.clips.pillow_ops import change_picture
from uniformer_video.data.clips.token_labelled import TokenLabelledAugmentation
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import DataError, DecodeError

SIDE = 6


def a_map(side=SIDE, highest=9):
    rng = np.random.default_rng(3)
    logits = -np.sort(-rng.normal(5, 2, (5, side, side)), 0)
    numbers = rng.permuted(
        np.broadcast_to(np.arange(highest + 1), (side, side, highest + 1)), axis=2
    )
    return torch.from_numpy(np.stack([logits, numbers[..., :5].transpose(2, 0, 1)])).half()


def record(name="n01/a.b.JPEG"):
    return VideoRecord(f"/pictures/{name}", name, (0,))


def put(folder, content, name="n01/a.pt"):
    (folder / name).parent.mkdir(exist_ok=True)
    torch.save(content, folder / name)
    return LabelMaps(folder, 10, (2, 5, SIDE, SIDE))


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        ("train/n01/a.b.JPEG", "/x/train/n01/a.b.JPEG", "n01/a.pt"),
        ("n01/a.jpg", "/x/n01/a.jpg", "n01/a.pt"),
        ("a.jpg", "/x/n01/a.jpg", "n01/a.pt"),
        ("n01/a.jpg", "/x/shard-000.tar#512+100", "n01/a.pt"),
    ],
)
def test_maps_lie_where_the_published_ones_do(name, path, expected):
    assert map_name(VideoRecord(path, name, (0,))) == expected


def test_a_map_is_read_as_it_was_written(tmp_path):
    found = put(tmp_path, a_map()).read(record())
    assert found.dtype == torch.float16 and torch.equal(found, a_map())
    single = put(tmp_path, a_map().float()).read(record())
    assert torch.equal(single, a_map())


def test_class_numbers_are_put_into_the_order_of_the_data(tmp_path):
    put(tmp_path, a_map())
    order = [3, 2, 1, 0, 9, 8, 7, 6, 5, 4]
    found = LabelMaps(tmp_path, 10, (2, 5, SIDE, SIDE), order).read(record())
    assert torch.equal(found[0], a_map()[0])
    assert torch.equal(found[1].long(), torch.tensor(order)[a_map()[1].long()])


class Evil:
    def __reduce__(self):
        return (print, ("run",))


DAMAGED = {
    "another size": (a_map(4), r"is \[2, 5, 4, 4\], others are \[2, 5, 6, 6\]"),
    "other classes": (
        a_map(highest=11),
        "there are 10 classes, from 0; it was made for other ones",
    ),
    "a list": ([1, 2], "holds a list; a label map is one tensor"),
    "three dimensions": (a_map()[0], r"holds a tensor \[5, 6, 6\]"),
    "not finite": (a_map() * float("nan"), "not finite"),
    "no whole numbers": (a_map() + 0.5, "no class numbers"),
    "code": (Evil(), "cannot be read as a label map"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_is_no_map_is_named(kind, tmp_path, capsys):
    content, said = DAMAGED[kind]
    maps = put(tmp_path, content)
    with pytest.raises(DecodeError, match=said) as caught:
        maps.read(record())
    assert str(tmp_path / "n01" / "a.pt") in str(caught.value)
    assert "\n" not in str(caught.value) and not capsys.readouterr().out


def test_a_map_that_is_missing_or_cut_off_is_named(tmp_path):
    maps = put(tmp_path, a_map())
    with pytest.raises(DecodeError, match=r"there is no label map .*n01/b\.pt"):
        maps.read(record("n01/b.jpg"))
    file = tmp_path / "n01" / "a.pt"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DecodeError, match="cannot be read as a label map"):
        maps.read(record())


def test_facts_tell_the_classes(tmp_path):
    assert read_facts(tmp_path) == {}
    (tmp_path / "token_labels.json").write_text(json.dumps({"class_names": ["a", "b"]}))
    assert read_facts(tmp_path)["class_names"] == ["a", "b"]
    for damaged in ("{", "[]", '{"class_names": 3}'):
        (tmp_path / "token_labels.json").write_text(damaged)
        with pytest.raises(DataError, match=r"token_labels\.json"):
            read_facts(tmp_path)


MOVES = {"Rotate": 30.0, "ShearX": -0.3, "ShearY": 0.3, "TranslateX": 0.45, "TranslateY": -0.45}


@pytest.mark.parametrize("name", MOVES)
def test_a_map_moves_with_its_picture(name):
    """A picture of one patch a place: where the middle of a patch shows one alone, the map shows the same."""
    patch, label_map, outside = 21, a_map(), 255
    levels = label_map[1, 0].numpy().astype(np.uint8) * 20 + 10  # by each place's highest class
    picture = np.repeat(np.repeat(levels, patch, 0), patch, 1)[..., None].repeat(3, 2)
    drawn = [(name, MOVES[name])]
    changed = change_picture(Image.fromarray(picture), drawn, "bilinear", (outside,) * 3)
    around = [
        np.array(changed)[patch // 2 + dy :: patch, patch // 2 + dx :: patch, 0]
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    ]
    shown = around[4]
    found = move_like_picture(label_map, False, drawn).numpy()
    inside = (np.array(around) == shown).all(0) & (shown != outside)
    assert 0.2 < inside.mean() < 1 and (shown == outside).any()
    assert (found[1, 0][inside] * 20 + 10 == shown[inside]).all()
    assert (found[0][:, shown == outside] == 0).all() and (found[0][:, inside] != 0).all()


def test_beyond_the_edge_class_numbers_are_those_of_the_edge():
    found = move_like_picture(a_map(), False, [("TranslateX", 0.5)])  # half of it to the left
    assert torch.equal(found[:, :, :, :3], a_map()[:, :, :, 3:])
    assert torch.equal(found[1, :, :, 3:], a_map()[1, :, :, 5:].expand(-1, -1, 3))
    assert not found[0, :, :, 3:].any()


def test_it_is_mirrored_before_it_is_moved_and_colours_leave_it():
    assert torch.equal(
        move_like_picture(a_map(), True, [("Invert", None), ("Color", 0.3)]), a_map().flip(-1)
    )
    both = move_like_picture(a_map(), True, [("ShearX", 0.3), ("Posterize", 4)])
    assert torch.equal(both, move_like_picture(a_map().flip(-1), False, [("ShearX", 0.3)]))


def augmentation(**changes):
    given = {"area": (0.2, 1.0), "ratio": (0.75, 4 / 3), "scales": (32, 32), **changes}
    return TokenLabelledAugmentation(32, **given)


def test_crops_are_shares_of_the_picture():
    rng = np.random.default_rng(0)
    draws = [augmentation().draw((40, 80), (0,), rng)[0] for _ in range(8)]
    labels = follow(a_map(), draws)
    assert labels.maps.shape == (8, 2, 5, SIDE, SIDE) and labels.maps.dtype == torch.float16
    for drawn, (top, left, height, width) in zip(draws, labels.crops.tolist(), strict=True):
        box = drawn.box
        assert (top * 40, left * 80, height * 40, width * 80) == pytest.approx(tuple(box))
    assert {drawn.mirrored for drawn in draws} == {drawn.smooth for drawn in draws} == {True, False}


@pytest.mark.parametrize("smooth", [True, False])
def test_pictures_are_mirrored_changed_and_cut_in_the_published_order(smooth):
    picture = np.random.default_rng(1).integers(0, 256, (1, 48, 60, 3), np.uint8)
    augment = augmentation(policy="rand-m9-mstd0.5-inc1")
    for seed in range(400):
        rng = np.random.default_rng(seed)
        drawn, _ = augment.draw((48, 60), (0,), rng)
        names = [name for name, _ in drawn.ops]
        if drawn.mirrored and drawn.smooth == smooth and "Rotate" in names:
            break
    found = augment.apply(picture, drawn, rng)
    mirrored = Image.fromarray(picture[0, :, ::-1])
    changed = np.array(change_picture(mirrored, drawn.ops, fill=(115, 115, 115)))  # the mean, 0.45
    box = drawn.box
    cut = Image.fromarray(changed[box.top : box.bottom, box.left : box.right])
    kind = Image.Resampling.BICUBIC if smooth else Image.Resampling.BILINEAR
    expected = torch.from_numpy(np.array(cut.resize((32, 32), kind))).permute(2, 0, 1).float()
    expected = augment.normalise(expected[:, None])[:, 0]
    assert found.shape == (3, 32, 32)
    assert torch.equal(found, expected)

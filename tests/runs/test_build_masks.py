"""How a config says that masks are read."""

import numpy as np
import pytest
from masked_pictures import write_masked_pictures
from PIL import Image

from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.class_counts import count_line
from uniformer_video.data.lists.formats import find_format
from uniformer_video.errors import ConfigError, DataError
from uniformer_video.runs.build_data import build_data
from uniformer_video.runs.build_masks import build_mask_reader

COLOURS = "ground,9,9,9\ndisc,200,0,0\nsquare,0,200,0\nignored,0,0,0\n"


def config(root, *settings, format_="masks"):
    words = ["TRAIN.DATASET", format_, "DATA.PATH_TO_DATA_DIR", str(root), *settings]
    return load_config(overrides=words)


def test_settings_and_the_format_say_what_is_ignored(tmp_path):
    reader = build_mask_reader(config(tmp_path, "SEGMENTATION.IGNORE_LABEL", "7"), 3)
    assert (reader.num_classes, reader.reduce_zero_label, reader.ignore_label) == (3, False, 7)
    assert reader.palette is None
    reduced = config(tmp_path, "SEGMENTATION.REDUCE_ZERO_LABEL", "True")
    assert build_mask_reader(reduced, 3).reduce_zero_label
    assert build_mask_reader(config(tmp_path, format_="ade20k"), 150).reduce_zero_label
    other = config(tmp_path, "TEST.DATASET", "ade20k")
    found = [build_mask_reader(other, 150, split).reduce_zero_label for split in ("val", "test")]
    assert found == [False, True]


def test_colours_are_those_of_the_classes(tmp_path):
    root = write_masked_pictures(tmp_path / "a")
    (root / "classes.txt").write_text(COLOURS)
    listed = find_format("masks").read(root, "val")
    assert listed.class_names == ["ground", "disc", "square"]
    colours = np.zeros((64, 64, 3), np.uint8)
    colours[:9], colours[9:20] = (200, 0, 0), (9, 9, 9)
    Image.fromarray(colours).save(listed.records[0].mask)
    mask = build_mask_reader(config(root), 3).read(listed.records[0])
    assert (mask[:, 0] == [1] * 9 + [0] * 11 + [255] * 44).all()
    other = write_masked_pictures(tmp_path / "b")
    with pytest.raises(ConfigError, match="have other colours than those of"):
        build_mask_reader(config([str(root), str(other)]), 3)
    named = config([str(root), str(other)], "DATA.CLASS_NAMES", str(root / "classes.txt"))
    assert build_mask_reader(named, 3).palette == [(9, 9, 9), (200, 0, 0), (0, 200, 0)]


def data_of(root, *settings, format_="masks"):
    words = ("TRAIN.TASK", "segmentation", "MODEL.MODEL_NAME", "semantic_fpn_uniformer_s")
    cfg = config(root, *words, *settings, format_=format_)
    return build_data(cfg)


def test_classes_that_nothing_names_are_asked_for(tmp_path):
    root = write_masked_pictures(tmp_path)
    (root / "classes.txt").unlink()
    with pytest.raises(
        DataError, match=r"nothing names the classes that the masks show; put class"
    ):
        data_of(root)
    assert data_of(root, "MODEL.NUM_CLASSES", "3").num_classes == 3
    (root / "classes.txt").write_text("ground\n")
    with pytest.raises(
        DataError, match=r"only one class, 'ground'.*; the background is a class, too"
    ):
        data_of(root)


def test_a_line_without_a_mask_is_counted_among_the_others(tmp_path):
    root = write_masked_pictures(tmp_path, train=3, val=2)
    for part in ("train", "val"):
        names = sorted(path.name for path in (root / part / "images").iterdir())
        lines = [f"{part}/images/{name},{part}/masks/{name}\n" for name in names]
        lines[0] = lines[0].partition(",")[0] + ",\n"
        (root / f"{part}.csv").write_text("path,mask\n" + "".join(lines))
    with pytest.raises(
        DataError, match=r"1 of 3 train images or masks do not exist, more than DATA"
    ):
        data_of(root, format_="mask-csv")
    data = data_of(root, "DATA.MAX_BAD_RATIO", "0.5", format_="mask-csv")
    notes = " ".join(data.notes)
    assert "1 of 2 val images or masks do not exist" in notes and "(no mask is given)" in notes
    assert count_line("val", data.val, data.class_names) == "val: 2 images with masks of 3 classes"

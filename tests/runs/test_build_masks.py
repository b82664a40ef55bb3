"""How a config says that masks are read."""

import numpy as np
import pytest
from masked_pictures import write_masked_pictures
from PIL import Image

from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.formats import find_format
from uniformer_video.errors import ConfigError
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

"""The settings of semantic segmentation, a row each: how masks are read, and what pictures go through.

They are part of the table in `rows.py`.
"""

from uniformer_video.config.setting import FREE, TRAINING, all_of, flag, needs, number, share

_PIXELS = 16_384
_SIZES = 100_000

# fmt: off
SEGMENTATION = (
    *all_of(
        flag("SEGMENTATION.REDUCE_ZERO_LABEL", False,
             "0 in a mask is no class and 1 the first one, as in ADE20K"),
        number("SEGMENTATION.IGNORE_LABEL", 255, "value of the pixels of a mask that are not looked at",
               0, 65_535),
        number("SEGMENTATION.SCALE", [2048, 512], "long and short side that pictures are scaled to fit into",
               1, _SIZES, lengths=(2,)),
        affects_test=True,
    ),
    *all_of(
        number("SEGMENTATION.RATIO_RANGE", [0.5, 2.0], "factors of SCALE between which one is drawn",
               0.01, 100, lengths=(2,)),
        share("SEGMENTATION.MAX_CLASS_SHARE", 0.75,
              "a crop with as much of one class is drawn again, up to 10 times"),
        flag("SEGMENTATION.PHOTOMETRIC", True, "distort brightness, contrast, saturation and hue"),
        phase=TRAINING,
    ),
    *all_of(
        number("SEGMENTATION.ALIGN", 1, "sides of a tested picture are stretched to multiples of it",
               1, 1_024),
        number("SEGMENTATION.RATIOS", [1.0], "sizes of a tested picture, factors of SCALE; their mean counts",
               0.01, 100),
        flag("SEGMENTATION.FLIP", False, "test each size mirrored too"),
        number("SEGMENTATION.CROP_SIZE", 0, "side of a window that slides over a picture; 0 = no window",
               0, _PIXELS),
        number("SEGMENTATION.CROP_STRIDE", 0, "steps of that window, in pixels; 0 = two thirds of its side",
               0, _PIXELS, needs("SEGMENTATION.CROP_SIZE")),
        on_resume=FREE,
        affects_test=True,
    ),
)
# fmt: on

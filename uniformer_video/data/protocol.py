"""How a model is tested: how videos become its input, which views are scored, and how they are averaged.

Checkpoints, results, published weights and the predictor carry the same value, complete, so that a
prediction is made as the test was.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from fvcore.common.config import CfgNode

from uniformer_video.config.recorded import config_from_text
from uniformer_video.config.rows import SETTINGS
from uniformer_video.config.settings import flat_config
from uniformer_video.data.clips.images import ImageViews
from uniformer_video.data.clips.pixel_views import PixelViews
from uniformer_video.data.clips.transforms import EvalViews, Normalisation
from uniformer_video.data.decoding.decoders import PICTURES
from uniformer_video.data.lists.formats import holds_masks, medium_of
from uniformer_video.data.lists.media import IMAGE, MEDIA, VIDEO
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import ConfigError, DataError, quote

# What earlier results call the same things.
_EARLIER_NAMES = {
    "sampling_rate": "frame_stride",
    "sampling": "rule",
    "clips": "num_clips",
    "crops": "num_crops",
}
# Which setting each value comes from, for what it may be; scores and decoders are named by registries.
_SETTINGS = {
    "num_frames": "DATA.NUM_FRAMES",
    "frame_stride": "DATA.SAMPLING_RATE",
    "rule": "DATA.SAMPLING",
    "offset": "DATA.USE_OFFSET_SAMPLING",
    "target_fps": "DATA.TARGET_FPS",
    "decode_short_side": "DATA.DECODE_SHORT_SIDE",
    "short_side": "DATA.TEST_SCALE",
    "crop_size": "DATA.TEST_CROP_SIZE",
    "mean": "DATA.MEAN",
    "std": "DATA.STD",
    "channel_order": "DATA.CHANNEL_ORDER",
    "num_clips": "TEST.NUM_ENSEMBLE_VIEWS",
    "num_crops": "TEST.NUM_SPATIAL_CROPS",
    "score": "TEST.SCORE",
    "precision": "TEST.PRECISION",
    "decoder": "DATA.DECODING_BACKEND",
    "medium": "TRAIN.DATASET",
}
# The same where the pixels of whole pictures are classified: the fields of `PixelViews`.
_OF_PIXELS = {
    "crop_size": "SEGMENTATION.CROP_SIZE",
    "window_stride": "SEGMENTATION.CROP_STRIDE",
    "align": "SEGMENTATION.ALIGN",
    "ratios": "SEGMENTATION.RATIOS",
    "flip": "SEGMENTATION.FLIP",
}
_LONG_SIDE = "long_side"  # with the short one SEGMENTATION.SCALE
EARLIER_PARTS = ("input", "test")  # of the metadata of earlier checkpoints, in place of "protocol"
# What earlier files leave out.
_EARLIER_DEFAULTS = {
    "target_fps": 0.0,
    "decode_short_side": 0,
    "precision": "auto",
    "decoder": "auto",
    "medium": "video",
}
# What an image has of these, whatever the settings: it is a video of one frame, and one view of it is tested.
_OF_IMAGES: dict[str, Any] = {
    "num_frames": 1,
    "frame_stride": 1,
    "rule": "segment",
    "offset": False,
    "target_fps": 0.0,
    "num_clips": 1,
    "num_crops": 1,
    "decoder": PICTURES,
}


_VIEWS = {VIDEO.name: EvalViews, IMAGE.name: ImageViews}


@dataclass(frozen=True)
class Protocol:
    """How a model is tested.

    sampling: which frames make a clip. views: how frames become pixels, and the crops of a clip.
    num_clips: clips of a video. score: what the views are averaged as: "logits", or probabilities by
    "softmax" or "sigmoid". precision: "fp32", "bf16", "fp16", or "auto", which the device decides.
    decode_short_side: larger videos are scaled down to it in decoding, in pixels; 0 = as they are.
    decoder: the name of the decoder that opens videos. medium: "video", or "image" for one picture a file.
    """

    sampling: ClipSampling
    views: EvalViews
    num_clips: int = 1
    score: str = "logits"
    precision: str = "auto"
    decode_short_side: int = 0
    decoder: str = "auto"
    medium: str = "video"

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> "Protocol":
        """The protocol that the settings of a run describe."""
        flat = flat_config(cfg)
        values = {name: flat[key] for name, key in _SETTINGS.items()}
        values["medium"] = medium_of(flat["TRAIN.DATASET"])
        if values["precision"] == "auto":
            values["precision"] = flat["TRAIN.PRECISION"]
        if values["medium"] == IMAGE.name:
            values |= _OF_IMAGES
            values["short_side"] = values["short_side"] or _short_side(
                values["crop_size"], flat["DATA.TEST_CROP_RATIO"]
            )
        if holds_masks(flat["TRAIN.DATASET"]):
            values |= {name: flat[key] for name, key in _OF_PIXELS.items()}
            values[_LONG_SIDE], values["short_side"] = flat["SEGMENTATION.SCALE"]
        values["short_side"] = values["short_side"] or values["crop_size"]
        return cls._from_values(values)

    @classmethod
    def of_images(
        cls, crop_size: int, crop_ratio: float, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> "Protocol":
        """One view of an image: its centre, cut from a short side of `crop_size` over the `crop_ratio`."""
        pixels = Normalisation(mean, std)
        return cls(
            ClipSampling(**{field.name: _OF_IMAGES[field.name] for field in fields(ClipSampling)}),
            ImageViews(_short_side(crop_size, crop_ratio), crop_size, normalise=pixels),
            decoder=PICTURES,
            medium=IMAGE.name,
        )

    @classmethod
    def _from_values(cls, values: Mapping[str, Any]) -> "Protocol":
        """From the values of `_SETTINGS` by name; where pixels are classified, of `_OF_PIXELS` too."""
        shown = {
            "short_side": values["short_side"],
            "crop_size": values["crop_size"],
            "num_crops": values["num_crops"],
            "normalise": Normalisation(
                tuple(values["mean"]), tuple(values["std"]), values["channel_order"]
            ),
        }
        views: EvalViews = _VIEWS[values["medium"]](**shown)
        if _LONG_SIDE in values:
            shown |= {name: values[name] for name in (*_OF_PIXELS, _LONG_SIDE)}
            views = PixelViews(**{**shown, "ratios": tuple(values["ratios"])})
        return cls(
            sampling=ClipSampling(**{f.name: values[f.name] for f in fields(ClipSampling)}),
            views=views,
            **{f.name: values[f.name] for f in fields(cls) if f.name not in ("sampling", "views")},
        )

    @property
    def num_views(self) -> int:
        """Views of a video: every crop of every clip; of a picture whose pixels are classified, each size
        and mirroring.
        """
        return self.num_clips * self.views.views_of_clip

    def with_views(self, num_clips: int | None = None, num_crops: int | None = None) -> "Protocol":
        """The same with other numbers of clips and crops; None leaves them as they are.

        Raises `ConfigError` for numbers that no test may have.
        """
        for name, value in (("num_clips", num_clips), ("num_crops", num_crops)):
            if value is not None and value != 1 and self.medium == IMAGE.name:
                raise ConfigError(
                    f"{_SETTINGS[name]} {value} is for videos; an image has one view, its centre"
                )
            if value is not None:
                SETTINGS[_SETTINGS[name]].accept(value)
        crops = num_crops or self.views.num_crops
        return replace(
            self,
            num_clips=num_clips or self.num_clips,
            views=replace(self.views, num_crops=crops),
        )

    def to_dict(self) -> dict[str, Any]:
        """One flat record of plain types, which `from_dict` reads back."""
        own = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in ("sampling", "views")
        }
        views = asdict(self.views)
        pixels = views.pop("normalise")
        pixels |= {"mean": list(pixels["mean"]), "std": list(pixels["std"])}
        views |= {name: list(value) for name, value in views.items() if isinstance(value, tuple)}
        return {**asdict(self.sampling), **views, **pixels, **own}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], source: str = "the file") -> "Protocol":
        """The protocol in a record of `to_dict`, or of an earlier version.

        `source` is where it stands, for messages. Raises `DataError` for what is missing or cannot be.
        """
        if not isinstance(record, Mapping):
            raise DataError(f"the test protocol in {source} is damaged: it is {quote(record)}")
        known = {**_EARLIER_DEFAULTS, **{_EARLIER_NAMES.get(k, k): v for k, v in record.items()}}
        keys = {**_SETTINGS, **_OF_PIXELS} if _LONG_SIDE in known else _SETTINGS
        if lacking := [name for name in keys if name not in known]:
            raise DataError(f"the test protocol in {source} is damaged: it lacks {lacking[0]!r}")
        values = {name: _value(name, known[name], source, key) for name, key in keys.items()}
        if _LONG_SIDE in known:
            values[_LONG_SIDE] = _value(_LONG_SIDE, known[_LONG_SIDE], source, "DATA.TEST_SCALE")
        return cls._from_values(values)


def _short_side(crop_size: int, crop_ratio: float) -> int:
    """Of an image, before its centre is cut out: 224 by 0.875 -> 256."""
    return int(crop_size / crop_ratio)


def _value(name: str, value: Any, source: str, key: str) -> Any:
    """A value of a record; `DataError` for one that the setting of the same meaning could not have."""
    if name == "medium":
        if value not in MEDIA:
            raise DataError(
                f"the test protocol in {source} is damaged: its medium is {quote(value)}; allowed are "
                f"{', '.join(MEDIA)}"
            )
        return value
    row = SETTINGS[key]
    try:
        accepted = row.accept(value)
        if name in ("short_side", _LONG_SIDE) and accepted < 1:
            raise row.error(value)
    except ConfigError as error:
        raise DataError(
            f"the test protocol in {source} is damaged: {name} stands for {error}"
        ) from None
    return accepted


def recorded_protocol(metadata: Mapping[str, Any], source: str) -> Protocol | None:
    """The protocol that a checkpoint's metadata tell, those of earlier versions too; None without.

    `source` names the checkpoint in messages. Raises `DataError` where it is damaged.
    """
    if "protocol" in metadata:
        return Protocol.from_dict(metadata["protocol"], source)
    if not all(part in metadata for part in EARLIER_PARTS):
        return None
    parts = [metadata[part] for part in EARLIER_PARTS]
    if not all(isinstance(part, Mapping) for part in parts):
        raise DataError(f"the test protocol in {source} is damaged: it is {quote(parts)}")
    record = {key: value for part in parts for key, value in part.items()}
    if settings := metadata.get("config"):
        cfg = config_from_text(settings, source)
        record |= {"precision": cfg.TRAIN.PRECISION, "decoder": cfg.DATA.DECODING_BACKEND}
    return Protocol.from_dict(record, source)

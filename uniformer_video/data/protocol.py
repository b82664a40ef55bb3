"""How a model is tested: how videos become its input, which views are scored, and how they are averaged.

Checkpoints, results, published weights and the predictor carry the same value, complete, so that a
prediction is made as the test was.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from uniformer_video.config.rows import SETTINGS
from uniformer_video.config.settings import config_from_text
from uniformer_video.data.clips.transforms import EvalViews, Normalisation
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
    "precision": "TRAIN.PRECISION",
    "decoder": "DATA.DECODING_BACKEND",
}
EARLIER_PARTS = ("input", "test")  # of the metadata of earlier checkpoints, in place of "protocol"
# What earlier files leave out.
_EARLIER_DEFAULTS = {
    "target_fps": 0.0,
    "decode_short_side": 0,
    "precision": "auto",
    "decoder": "auto",
}


@dataclass(frozen=True)
class Protocol:
    """How a model is tested.

    sampling: which frames make a clip. views: how frames become pixels, and the crops of a clip.
    num_clips: clips of a video. score: what the views are averaged as: "logits", or probabilities by
    "softmax" or "sigmoid". precision: "fp32", "bf16", "fp16", or "auto", which the device decides.
    decode_short_side: larger videos are scaled down to it in decoding, in pixels; 0 = as they are.
    decoder: the name of the decoder that opens videos.
    """

    sampling: ClipSampling
    views: EvalViews
    num_clips: int = 1
    score: str = "logits"
    precision: str = "auto"
    decode_short_side: int = 0
    decoder: str = "auto"

    @classmethod
    def from_cfg(cls, cfg) -> "Protocol":
        """The protocol that the settings of a run describe."""
        crop = cfg.DATA.TEST_CROP_SIZE
        return cls(
            sampling=ClipSampling(
                cfg.DATA.NUM_FRAMES,
                cfg.DATA.SAMPLING_RATE,
                cfg.DATA.SAMPLING,
                cfg.DATA.USE_OFFSET_SAMPLING,
                cfg.DATA.TARGET_FPS,
            ),
            views=EvalViews(
                short_side=cfg.DATA.TEST_SCALE or crop,
                crop_size=crop,
                num_crops=cfg.TEST.NUM_SPATIAL_CROPS,
                normalise=Normalisation(
                    tuple(cfg.DATA.MEAN), tuple(cfg.DATA.STD), cfg.DATA.CHANNEL_ORDER
                ),
            ),
            num_clips=cfg.TEST.NUM_ENSEMBLE_VIEWS,
            score=cfg.TEST.SCORE,
            precision=cfg.TRAIN.PRECISION,
            decode_short_side=cfg.DATA.DECODE_SHORT_SIDE,
            decoder=cfg.DATA.DECODING_BACKEND,
        )

    @property
    def num_views(self) -> int:
        """Views of a video: every crop of every clip."""
        return self.num_clips * self.views.num_crops

    def with_views(self, num_clips: int | None = None, num_crops: int | None = None) -> "Protocol":
        """The same with other numbers of clips and crops; None leaves them as they are.

        Raises `ConfigError` for numbers that no test may have.
        """
        given = {"TEST.NUM_ENSEMBLE_VIEWS": num_clips, "TEST.NUM_SPATIAL_CROPS": num_crops}
        for key, value in given.items():
            if value is not None and SETTINGS[key].convert(value) is None:
                raise SETTINGS[key].error(value)
            if value is not None:
                SETTINGS[key].check(value)
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
        return {**asdict(self.sampling), **views, **pixels, **own}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], source: str = "the file") -> "Protocol":
        """The protocol in a record of `to_dict`, or of an earlier version.

        `source` is where it stands, for messages. Raises `DataError` where something is missing.
        """
        if not isinstance(record, Mapping):
            raise DataError(f"the test protocol in {source} is damaged: it is {quote(record)}")
        known = {**_EARLIER_DEFAULTS, **{_EARLIER_NAMES.get(k, k): v for k, v in record.items()}}
        _check_values(known, source)
        try:
            pixels = Normalisation(
                tuple(known["mean"]), tuple(known["std"]), known["channel_order"]
            )
            sizes = {key: known[key] for key in ("short_side", "crop_size", "num_crops")}
            return cls(
                sampling=ClipSampling(**{f.name: known[f.name] for f in fields(ClipSampling)}),
                views=EvalViews(**sizes, normalise=pixels),
                num_clips=known["num_clips"],
                score=known["score"],
                precision=known["precision"],
                decode_short_side=known["decode_short_side"],
                decoder=known["decoder"],
            )
        except (KeyError, TypeError) as error:
            raise DataError(
                f"the test protocol in {source} is damaged: {_what_is_wrong(error)}"
            ) from None


def _check_values(record, source):
    """Raise `DataError` for a value that the setting of the same meaning could not have."""
    for name, key in _SETTINGS.items():
        if name not in record:
            continue
        row, value = SETTINGS[key], record[name]
        value = list(value) if isinstance(value, tuple) else value
        try:
            converted = row.convert(value)
            if converted is None or (name == "short_side" and converted < 1):
                raise row.error(value)
            row.check(converted)
        except ConfigError as error:
            raise DataError(
                f"the test protocol in {source} is damaged: {name} stands for {error}"
            ) from None


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


def _what_is_wrong(error):
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error)

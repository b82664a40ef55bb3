"""The weights that the authors of UniFormer published: what each file is for, and where it lies.

Weights have terms of their own and are not part of this repository. File names follow the published
lists; where these give only links, the name of the published run stands in.
"""

import csv
import os
import re
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from uniformer_video.data.clips.transforms import EvalViews, Normalisation
from uniformer_video.data.lists.media import IMAGE
from uniformer_video.data.protocol import Protocol, recorded_protocol
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import CheckpointError, MissingLibraryError
from uniformer_video.program import command
from uniformer_video.weights.checkpoint import Weights
from uniformer_video.weights.download import fetch, is_remote

WEIGHTS_FOLDER = "weights"  # UNIFORMER_WEIGHTS names another
SUFFIXES = (".pth", ".pt", ".pyth", ".safetensors")
IMAGENET = "in1k"
# Titles of the data sets, in the order of lists.
DATASETS = {
    IMAGENET: "ImageNet",
    "k400": "K400",
    "k600": "K600",
    "ssv1": "SSv1",
    "ssv2": "SSv2",
    "ucf101": "UCF101",
    "hmdb51": "HMDB51",
}


@dataclass(frozen=True)
class PublishedWeights:
    """One published file. Sides are in pixels, `top1` is in percent, over all views of `test`."""

    name: str
    model: str
    data: str  # "in1k" for images, else the dataset of `class_names`
    num_frames: int  # 0 for images
    frame_stride: int
    crop_size: int
    top1: float
    drive: str  # id on Google Drive, or ""
    hub: str  # repository on the Hugging Face hub, or ""
    address: str  # of a file that programs can download, or ""

    @property
    def url(self) -> str:
        """Where people download it, or ""."""
        return f"https://drive.google.com/file/d/{self.drive}" if self.drive else self.address

    @property
    def class_order(self) -> str:
        """The spelling of its outputs' order for `named_classes`."""
        if self.data == IMAGENET:
            return "imagenet"
        return f"{self.data}-published" if self.data in ("k400", "k600") else self.data

    def describe_protocol(self) -> str:
        """The input and the views of its published accuracy, for people."""
        protocol = self.protocol()
        if protocol.medium == IMAGE.name:
            return f"{self.crop_size} pixels"
        return (
            f"{self.num_frames} frames, stride {self.frame_stride}, {self.crop_size} pixels, "
            f"{protocol.num_clips}x{protocol.views.num_crops} views"
        )

    def protocol(self) -> Protocol:
        """How videos or images are prepared for it, and the views of its published accuracy."""
        if not self.num_frames:
            return Protocol.of_images(self.crop_size, *_OF_IMAGES[_TOKEN_LABELLED in self.name])
        facts = _PROTOCOLS.get(self.model) or _PROTOCOLS[self.data]
        clips, crops = facts["views"]
        pixels = Normalisation(channel_order=facts["channel_order"])
        return Protocol(
            ClipSampling(self.num_frames, self.frame_stride, facts["rule"]),
            EvalViews(self.crop_size, self.crop_size, crops, pixels),
            num_clips=clips,
        )

    def doubt(self, source: str | Path) -> str:
        """What is not known for sure of its protocol, and how the file `source` shows it; "" for most."""
        if self.num_frames or _TOKEN_LABELLED not in self.name:
            return ""
        # a file of another name does not tell which one it is
        told = "" if published_by_name(source) is self else f" --published {self.name}"
        convert = command(f"convert {quote(str(source))}{told} --imagenet-pixels --out OTHER.pt")
        return (
            "its mean and standard deviation are in doubt: the published code takes the defaults of the timm "
            "that is installed, 0.5 and 0.5 with the one that it names, ImageNet's with older ones. Here it "
            f"is 0.5. Convert it the other way too ({convert}), test both, and keep the better"
        )


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_TOKEN_LABELLED = "_tl_"  # in the names of files that were trained with labels of tokens
# Side of the crop over the short side, mean, standard deviation. Of labels of tokens see `doubt`.
_OF_IMAGES = {
    False: (0.875, IMAGENET_MEAN, IMAGENET_STD),
    True: (0.9, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
_KINETICS: dict[str, Any] = {"rule": "dense", "channel_order": "RGB", "views": (4, 1)}
_SOMETHING: dict[str, Any] = {"rule": "segment", "channel_order": "BGR", "views": (1, 3)}
_SPARSE: dict[str, Any] = {"rule": "segment", "channel_order": "RGB", "views": (1, 1)}
# By model where it has its own, else by data set.
_PROTOCOLS: dict[str, dict[str, Any]] = {
    "uniformer_xxs": _SPARSE,
    "uniformer_xs": _SPARSE,
    "k400": _KINETICS,
    "k600": _KINETICS,
    "ssv1": _SOMETHING,
    "ssv2": _SOMETHING,
    "ucf101": {"rule": "dense", "channel_order": "RGB", "views": (5, 3)},
    "hmdb51": {"rule": "dense", "channel_order": "BGR", "views": (5, 3)},
}


def _read_table() -> dict[str, PublishedWeights]:
    """`published.csv` as `{name: PublishedWeights}`."""
    weights = {}
    with open(Path(__file__).with_name("published.csv"), newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            fields: dict[str, Any] = dict(row)
            for key in ("num_frames", "frame_stride", "crop_size"):
                fields[key] = int(row[key])
            fields["top1"] = float(row["top1"])
            weights[row["name"]] = PublishedWeights(**fields)
    return weights


PUBLISHED = _read_table()


# The same weights as MMAction2 hands them out, with its keys and the classes in the usual order.
_MMACTION2_FOLDER = "https://download.openmmlab.com/mmaction/v1.0/recognition/uniformerv1"
_MMACTION2_NAMES = {
    "uniformer-small_imagenet1k-pre_16x4x1_kinetics400-rgb_20221219-c630a037": "uniformer_small_k400_16x4",
    "uniformer-base_imagenet1k-pre_16x4x1_kinetics400-rgb_20221219-157c2e66": "uniformer_base_k400_16x4",
    "uniformer-base_imagenet1k-pre_32x4x1_kinetics400-rgb_20221219-b776322c": "uniformer_base_k400_32x4",
}
_COPY = re.compile(r"(?: ?\(\d+\)| ?- ?copy|_copy)+$", re.I)  # that a browser or a desktop adds


def file_stem(source: Path | str) -> str:
    """The name of a file or address without folder and suffix, which may be that of published weights."""
    name = Path(str(source).partition("#")[0].partition("?")[0]).name.split(".")[0]
    return _COPY.sub("", name)


def published_by_name(source: Path | str) -> PublishedWeights | None:
    """The published weights whose name, or MMAction2's name of them, a file has; None for others."""
    stem = file_stem(source)
    return PUBLISHED.get(_MMACTION2_NAMES.get(stem, stem))


def order_of_outputs(weights: Weights, entry: PublishedWeights | None = None) -> str | None:
    """How `named_classes` spells the order of the classes of published `weights`, or None.

    `entry` is the `PublishedWeights` that they are; left out, the name of their file tells.
    """
    entry = entry or published_by_name(weights.path)
    if entry is None:
        return None
    # MMAction2 sorted the rows of the Kinetics classifiers anew when it took the weights over.
    of_mmaction2 = file_stem(weights.path) in _MMACTION2_NAMES
    of_mmaction2 |= weights.hints.get("layout") == "mmaction2"
    return entry.data if of_mmaction2 else entry.class_order


def known_protocol(weights: Weights) -> Protocol | None:
    """How the input of weights is prepared: what their file records, or what is known of published ones by
    the name of their file; None for others.
    """
    recorded = recorded_protocol(weights.metadata, weights.path)
    if recorded or weights.metadata:
        return recorded
    entry = published_by_name(weights.path)
    return entry.protocol() if entry else None


def may_be_fetched(source: Path | str) -> bool:
    """Whether `source` is an address or a published name, for `local_file` to find."""
    return is_remote(source) or (_published_name(source) is not None and not os.path.exists(source))


def local_file(source: Path | str) -> Path:
    """The path of weights given as a path, an address (downloaded once) or a published name.

    Names, with or without a suffix, are looked up in the folder `weights` (or $UNIFORMER_WEIGHTS), then
    where programs can download them: on the Hugging Face hub, or among OpenMixup's releases. Raises
    `CheckpointError` that says where to download them, for a path with a published name too.
    """
    name = _published_name(source)
    if is_remote(source) or os.path.exists(source):
        return fetch(source)
    if name is None:
        if known := published_by_name(source):
            raise CheckpointError(
                f"there is no weights file {source}; {_by_hand(file_stem(source), known, source)}"
            )
        if own := [known.name for known in PUBLISHED.values() if known.model == str(source)]:
            raise CheckpointError(
                f"there is no weights file {source}, that is the name of a model; of it {', '.join(own)} are "
                "published: give one of these names, or a file"
            )
        return fetch(source)
    folder = Path(os.environ.get("UNIFORMER_WEIGHTS") or WEIGHTS_FOLDER)
    for suffix in SUFFIXES:
        if (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    weights = PUBLISHED[_MMACTION2_NAMES.get(name, name)]
    by_hand = _by_hand(name, weights, f"{folder / name}.pth")
    if name not in _MMACTION2_NAMES and not weights.url:
        raise CheckpointError(by_hand)
    address = f"hf://{weights.hub}/{name}.pth" if weights.hub else weights.address
    if not address or name in _MMACTION2_NAMES:
        raise CheckpointError(
            f"the published weights {name} are not in {folder}{os.sep}; {by_hand}"
        )
    try:
        return fetch(address)
    except (CheckpointError, MissingLibraryError) as error:
        raise CheckpointError(f"{error}; or {by_hand}") from None


def _published_name(source: Path | str) -> str | None:
    """The published name that `source` is, without its suffix; None for a path or another name."""
    text = str(source)
    for suffix in ("", *SUFFIXES):
        name = text.removesuffix(suffix) if suffix else text
        if name in PUBLISHED or name in _MMACTION2_NAMES:
            return name
    return None


def _by_hand(name: str, weights: PublishedWeights, target: Path | str) -> str:
    """What to do to have published weights, under the name that MMAction2 or the authors give them."""
    if name in _MMACTION2_NAMES:
        return f"download it from {_MMACTION2_FOLDER}/{name}.pth and save it as {target}"
    if not weights.url:
        return f"{name} was never published; train it, or choose other weights"
    return f"download it in a browser from {weights.url} and save it as {target}"

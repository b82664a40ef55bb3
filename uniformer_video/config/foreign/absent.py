"""Networks and data sets of PySlowFast and its forks that are not here: what comes nearest, what to do.

By the beginnings of their names, in small letters without signs between them.
"""

import re

from uniformer_video.errors import ConfigError, quote
from uniformer_video.program import command

_NEAREST_NETWORK = {
    "mvit_base_16x4": "vtn vit timesformer motionformer mformer orvit xvit xclip actionclip swin videoswin "
    "vivit videomae memvit mvitv2 mvit2 revmvit revvit reversiblemvit hiera omnivore",
    "uniformer_b": "uniformerv2 videomamba",
    "slow_r50": "slowonly c3d tsm tsn tdn tanet nonlocal resnext",
    "slowfast_r50": "slowfastnl",
    "r2plus1d_r50": "csn ircsn ipcsn r21d r3d s3d p3d",
    "x3d_m": "x3dl x3dxl movinet efficientnet3d",
    "image_uniformer_s": "deit beit convnext efficientnet regnet mobilenet densenet",
}
_SPELLED_OTHERWISE = (
    "lists of folders of frames are the format frames, Something-Something's own json files and "
    "videos ssv2-json"
)
_VIDEOS = "write its lists as csv, `path,label`, and set {key} kinetics"
_DATASETS = {
    "charades": f"{_VIDEOS} with TRAIN.TASK multi-label, a video's labels with blanks between",
    "ava": "it is one for detection, and only whole videos are recognised",
    "imagenet": "no model is trained on pictures; `{inflate}` makes weights for videos of theirs",
    "ssv1": _SPELLED_OTHERWISE,
    "ssv2": _SPELLED_OTHERWISE,
    "sth": _SPELLED_OTHERWISE,
    "something": _SPELLED_OTHERWISE,
    "ucf": "its own lists are the format ucf101",
    "hmdb": "its own lists are the format hmdb51",
    "diving": _VIDEOS,
    "k400": _VIDEOS,
    "k600": _VIDEOS,
    "k700": _VIDEOS,
    "epic": _VIDEOS,
    "moments": _VIDEOS,
    "activitynet": _VIDEOS,
}
_taken: set[str] = set()


def take_name(name: str) -> None:
    """Note a model that somebody has registered: it is here, whatever it is called."""
    _taken.add(name)


def refuse_network(name: object, key: str) -> None:
    """Raise `ConfigError` where `name`, the value of the setting `key`, is a network that is not here."""
    nearest = _find(
        name, {stem: peer for peer, row in _NEAREST_NETWORK.items() for stem in row.split()}
    )
    if nearest and name not in _taken:
        raise ConfigError(
            f"{key} {name} is a model of another project that is not here; the nearest one is {nearest}: "
            f"set MODEL.MODEL_NAME {nearest} to take that, or see `{command('models')}` (one of your own "
            "is known once PLUGINS or --plugins names its plugin)"
        )


def refuse_dataset(name: object, key: str) -> None:
    """Raise `ConfigError` where `name`, the value of the setting `key`, is a data set of theirs."""
    name = re.sub("^ptv", "", name, flags=re.IGNORECASE) if isinstance(name, str) else name
    if instead := _find(name, _DATASETS):
        instead = instead.format(key=key, inflate=command("inflate"))
        raise ConfigError(
            f"{key} is {quote(name)}, a data set; it takes a format of lists here: {instead}"
        )


def _find(name: object, known: dict[str, str]) -> str:
    """What is known of the longest beginning of a name; empty = nothing."""
    plain = re.sub("[^a-z0-9]", "", str(name).lower())
    found = [stem for stem in known if plain.startswith(stem)]
    return known[max(found, key=len)] if found else ""

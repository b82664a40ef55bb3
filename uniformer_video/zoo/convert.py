"""Whole weights files from one kind to another: theirs to ours and back."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from uniformer_video.data.clips.pixel_views import PixelViews
from uniformer_video.data.lists.class_names import named_classes
from uniformer_video.data.lists.media import IMAGE, VIDEO
from uniformer_video.data.protocol import EARLIER_PARTS, Protocol, recorded_protocol
from uniformer_video.errors import CheckpointError, ConfigError
from uniformer_video.files import check_new_file
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.program import command
from uniformer_video.weights import dense, openmixup
from uniformer_video.weights.architectures import name_architecture
from uniformer_video.weights.checkpoint import (
    CALIBRATION,
    TEMPERATURE_LEFT_OUT,
    Weights,
    fit_weights,
    read_weights,
    write_checkpoint,
)
from uniformer_video.weights.container import write_content
from uniformer_video.weights.inflate import fit_kernel_in_time
from uniformer_video.weights.values import check_values
from uniformer_video.zoo.architecture import is_light, read_arguments
from uniformer_video.zoo.create import build_for_weights, build_network
from uniformer_video.zoo.family import read_model_name
from uniformer_video.zoo.published import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    PUBLISHED,
    PublishedWeights,
    local_file,
    order_of_outputs,
    published_by_name,
)
from uniformer_video.zoo.published_dense import (
    names_of_outputs,
    palette_of_outputs,
    published_pixels,
)
from uniformer_video.zoo.registry import (
    count_classes,
    find_model,
    identify_model,
    models_of,
    recorded_class_names,
)
from uniformer_video.zoo.uniformer_family import UniFormerFamily
from uniformer_video.zoo.uniformers import LIGHT, UNIFORMER

_WITH_SPARE_OUTPUTS = "uniformer_s16x4_hmdb51_prek400"  # 101, for 51 classes

ReadSettings = Callable[[dict[str, Any]], Protocol | None]


def convert_file(
    source: Path | str,
    target: Path | str,
    name: str | None = None,
    head_dim: int | None = None,
    published: str | None = None,
    classes: str | None = None,
    protocol: Protocol | None = None,
    read_settings: ReadSettings | None = None,
    ema: bool = False,
    imagenet_pixels: bool = False,
) -> list[str]:
    """Write the checkpoint `target` of this toolkit from weights of any project.

    Args:
        source, target: the weights as `read_weights` takes them; the file to write (`.safetensors`
            for that format).
        name, head_dim: the model and the width of its attention heads, where the file cannot tell.
        published: the name of the published weights that these are; left out, the file's name tells.
        classes: the order of the outputs, a name or a file as `named_classes` takes it.
        protocol: the `Protocol` by which they are tested; left out, what is known of published weights.
        read_settings: makes a `Protocol` of the settings that training left in a file, nested, or None.
        ema: take the averaged weights of a training checkpoint.
        imagenet_pixels: record ImageNet's mean and standard deviation of pixels in place of others.

    Returns the lines of a report. Raises `CheckpointError` when the file does not fit the model, or
    does not tell its `head_dim` and none is given.
    """
    check_target(target)
    weights = read_weights(local_file(source), "ema" if ema else "model")
    entry = _published_entry(source, published)
    if published and entry:
        _check_answers(entry, name, head_dim)
    model, metadata, order = complete(
        weights, entry, name, head_dim, classes, protocol, read_settings
    )
    if imagenet_pixels:
        _record_imagenet_pixels(metadata, source)
    metadata["converted"] = {"from": Path(str(source)).name, "published": entry and entry.name}
    write_checkpoint(target, model.state_dict(), metadata)
    left_out = [TEMPERATURE_LEFT_OUT] if CALIBRATION in weights.metadata else []
    return [*left_out, *_report(source, target, metadata, entry, order)]


def complete(
    weights: Weights,
    entry: PublishedWeights | None,
    name: str | None = None,
    head_dim: int | None = None,
    classes: str | None = None,
    protocol: Protocol | None = None,
    read_settings: ReadSettings | None = None,
) -> tuple[RecognitionModel, dict[str, Any], str | None]:
    """(model with `weights`, what a checkpoint of it records, spelling of the order of its outputs or None).

    entry: the published weights that these are, or None; other arguments as of `convert_file`.
    """
    if entry:
        _refuse_other_network(weights, entry)
    model, name = _fresh_model(weights, name or (entry.model if entry else None), head_dim)
    fit_weights(model, weights)
    recorded_class_names(weights, model.num_classes)
    metadata: dict[str, Any] = {
        **weights.metadata,
        "model": {"name": name, "arguments": dict(model.arguments)},
    }
    for key in ("config", CALIBRATION, *EARLIER_PARTS):
        metadata.pop(key, None)
    if weights.chosen:
        metadata["weights"] = {"chosen": weights.chosen}  # without the other set
    if protocol is None:
        protocol = _known_protocol(weights, name, entry, read_settings)
    medium = IMAGE if find_model(name).takes_images else VIDEO
    if protocol and protocol.medium != medium.name:
        raise ConfigError(
            f"{weights.path} holds {name}, which takes {medium.name}s, and the settings given for it are of "
            f"{protocol.medium}s; give those of {medium.name}s (TRAIN.DATASET)"
        )
    if protocol:
        metadata["protocol"] = protocol.to_dict()
    order = classes or (None if weights.metadata else order_of_outputs(weights, entry))
    names = list(named_classes(order)) if order else _names_inside(weights, model.num_classes)
    if classes and len(names) != model.num_classes:
        raise CheckpointError(
            f"{weights.path} tells {model.num_classes} classes apart and {classes} names {len(names)}; give "
            "the list that it was trained with"
        )
    spare = entry is not None and entry.name == _WITH_SPARE_OUTPUTS
    if names and (len(names) == model.num_classes or (spare and len(names) < model.num_classes)):
        _drop_spare_outputs(model, len(names))
        metadata["class_names"] = names
    if palette := palette_of_outputs(weights.hints, model.num_classes):
        metadata["palette"] = palette
    return model, metadata, order


def export_file(source: Path | str, target: Path | str, layout: str) -> list[str]:
    """Write `target` as the published code ("published"), MMAction2 or OpenMixup reads it; returns a report.

    layout: "published", "mmaction2" or "openmixup".

    A local kernel shorter in time than theirs is put into the middle of a 5x5x5 one with zeros around
    it, which computes the same.
    """
    check_target(target)
    if Path(target).suffix == ".safetensors":
        raise CheckpointError(f"{target}: those projects read torch files; let it end in .pth")
    weights = read_weights(local_file(source))
    if dense.is_dense(weights.state):
        return _export_dense(weights, target, layout)
    shown = read_arguments(weights)
    if not shown:
        what = name_architecture(weights.state)
        held = (
            f"holds the weights of {what}, not of a UniFormer" if what else "is not a UniFormer's"
        )
        raise CheckpointError(f"{source} {held}; only these have another layout")
    check_values(weights.state, source)
    state = dict(weights.state)
    lines = [TEMPERATURE_LEFT_OUT] if CALIBRATION in weights.metadata else []
    kernel = shown["local_kernel"]
    if len(kernel) == 3 and kernel[0] < 5:
        for key in [key for key in state if key.endswith("attn.weight")]:
            state[key] = fit_kernel_in_time(state[key], 5)
        lines.append(f"local kernels {kernel} set in zeros to [5, {kernel[1]}, {kernel[2]}]")
    if layout == "mmaction2":
        content: dict[str, Any] = {"state_dict": _mmaction2_keys(state, shown, source)}
    elif layout == openmixup.LAYOUT:
        content, told = _openmixup_content(state, shown, weights)
        lines += told
    elif is_light(state):
        content = state
    else:
        content = {"model_state" if shown["ndim"] == 3 else "model": state}
    head_dim = weights.metadata.get("model", {}).get("arguments", {}).get("head_dim")
    if head_dim and "model_state" in content:
        content["cfg"] = f"UNIFORMER:\n  HEAD_DIM: {head_dim}\n"  # as a training there leaves it
    write_content(target, content)
    if head_dim:
        lines.append(f"not part of that format: head_dim, set UNIFORMER.HEAD_DIM {head_dim} there")
    return [*lines, f"written: {target}, {len(state)} tensors in the layout {layout}"]


def _export_dense(weights: Weights, target: Path | str, layout: str) -> list[str]:
    """Write a segmentation model as the published code reads it: the keys are the same."""
    if layout != "published":
        raise CheckpointError(
            f"{weights.path} holds a segmentation model, which has no layout {layout}; take published"
        )
    check_values(weights.state, weights.path)
    num_classes = len(weights.state.get("decode_head.conv_seg.weight", ()))
    known = weights.metadata
    names = known.get("class_names") or names_of_outputs(weights.hints, num_classes)
    meta = {"CLASSES": list(names)}
    if palette := known.get("palette") or palette_of_outputs(weights.hints, num_classes):
        meta["PALETTE"] = palette
    write_content(target, {"state_dict": dict(weights.state), "meta": meta})
    recorded = known.get("model", {}).get("arguments", {})
    own = ("head_dim", "window", "hybrid")
    told = ", ".join(f"{key} {recorded[key]}" for key in own if key in recorded)
    lines = [f"not part of that format: {told}, set them there"] if told else []
    views = getattr(recorded_protocol(known, weights.path), "views", None)
    usual = published_pixels(known.get("model", {}).get("name", ""))
    if isinstance(views, PixelViews) and views != usual.views:
        mean, std = (_numbers(each) for each in (views.normalise.mean, views.normalise.std))
        lines.append(
            f"not part of that format: {views.in_words()}, mean {mean}, standard deviation {std}; "
            "predictions by the file take the published way of preparing pictures"
        )
    return [*lines, f"written: {target}, {len(weights.state)} tensors in the layout {layout}"]


def check_target(target: Path | str) -> None:
    """Raise `CheckpointError` for a file that exists, `ConfigError` where none can be written."""
    if Path(target).is_file():
        raise CheckpointError(f"{target} exists already; delete it, or choose another --out")
    check_new_file(Path(target))


def _published_entry(source: Path | str, published: str | None) -> PublishedWeights | None:
    if published is not None and published in PUBLISHED:
        entry, by_name = PUBLISHED[published], published_by_name(source)
        if by_name is not None and by_name != entry:
            raise ConfigError(
                f"{source} has the name of the published {by_name.name}, and --published is {published}; "
                "leave one of them out: drop --published, or rename the file"
            )
        return entry
    if published:
        raise ConfigError(
            f"there are no published weights {published!r}; `{command('models')}` lists them"
        )
    return published_by_name(source)


def _refuse_other_network(weights: Weights, entry: PublishedWeights) -> None:
    """Raise `CheckpointError` where a file has the name of published weights and shows another network."""
    model, shown = find_model(entry.model), read_arguments(weights)
    family = model.family
    if not shown or not isinstance(family, UniFormerFamily):
        return
    same = is_light(weights.state) == family.light and shown["ndim"] == model.arguments["ndim"]
    if not (same and family.may_stem_from(model, shown)):
        kind = "video (3D)" if shown["ndim"] == 3 else "image (2D)"
        head = ", with a second head" if shown["aux_head"] else ""
        raise CheckpointError(
            f"the published {entry.name} are weights of {entry.model}, and {weights.path} holds those of "
            f"another network: {kind}, depths {shown['depths']}, channels {shown['embed_dims']}{head}; "
            "rename the file, or leave --published out"
        )


def _check_answers(entry: PublishedWeights, name: str | None, head_dim: int | None) -> None:
    """Raise `ConfigError` where the model that is named beside published weights is not theirs."""
    own = find_model(entry.model).arguments["head_dim"]
    wrong = [f"--model is {name}"] if name not in (None, entry.model) else []
    wrong += [f"--head-dim is {head_dim}"] if head_dim not in (None, own) else []
    if wrong:
        raise ConfigError(
            f"the published {entry.name} are weights of {entry.model} with head_dim {own}, and "
            f"{' and '.join(wrong)}; leave that out, or --published"
        )


def _known_protocol(
    weights: Weights,
    name: str,
    entry: PublishedWeights | None,
    read_settings: ReadSettings | None,
) -> Protocol | None:
    """The `Protocol` that the file, the published table or the settings in the file tell, or None; of a model
    `name` of segmentation the published one.
    """
    if entry and (published := entry.protocol()):
        return published
    if own := recorded_protocol(weights.metadata, weights.path):
        return own
    if read_settings and {"NUM_FRAMES", "SAMPLING_RATE"} <= set(_data_settings(weights)):
        return read_settings(weights.hints["config"])
    return published_pixels(name) if find_model(name).family.labels_pixels else None


def _data_settings(weights: Weights) -> dict[str, Any]:
    """The DATA section of the settings that training left in the file."""
    section = weights.hints.get("config", {}).get("DATA")
    return section if isinstance(section, dict) else {}


def _names_inside(weights: Weights, num_classes: int) -> list[str]:
    """The class names of the outputs of a segmentation model of another project; [] where nothing tells."""
    if weights.hints.get("layout") != dense.LAYOUT:
        return []
    return names_of_outputs(weights.hints, num_classes)


def _fresh_model(
    weights: Weights, name: str | None, head_dim: int | None
) -> tuple[RecognitionModel, str]:
    """The model that the weights fit, and its name."""
    options: dict[str, Any] = {"head_dim": head_dim} if head_dim else {}
    if not name:
        try:
            name = identify_model(weights, options).name
        except CheckpointError:
            shown = read_arguments(weights)
            if read_model_name(weights) or not (head_dim and shown):
                raise
            # No named model: its shapes are all there is to know.
            family, size = (LIGHT, "xxs") if is_light(weights.state) else (UNIFORMER, "s")
            name = f"uniformer_{size}" if shown["ndim"] == 3 else f"image_uniformer_{size}"
            family.check_head_dim(weights, models_of(family), head_dim)
            classes = count_classes(weights, name) or 1
            return build_network(name, classes, **{**shown, **options}), name
    return build_for_weights(weights, name, **options), name


def _drop_spare_outputs(model: RecognitionModel, num_classes: int) -> None:
    """Leave out outputs beyond the classes, see `_WITH_SPARE_OUTPUTS`."""
    for name in model.classifiers() if model.num_classes > num_classes else ():
        head = cast(nn.Linear, model.get_submodule(name))
        for key, value in head.named_parameters():
            setattr(head, key, torch.nn.Parameter(value[:num_classes].detach().clone()))
        head.out_features = num_classes


def _mmaction2_keys(
    state: Mapping[str, Tensor], shown: Mapping[str, Any], source: Path | str
) -> dict[str, Tensor]:
    options = {"split": "divided attention", "std": "std", "layer_scale": "layer scale"}
    unknown = [text for key, text in options.items() if shown[key]]
    if is_light(state) or shown["conv_embeds"] or shown["ndim"] == 2:
        unknown = ["image models" if shown["ndim"] == 2 else "light models or convolutional stems"]
    if unknown:
        raise CheckpointError(f"{source}: MMAction2's UniFormer knows no {', '.join(unknown)}")
    return {
        key.replace("head.", "cls_head.fc_cls.")
        if key.startswith("head.")
        else f"backbone.{key}": value
        for key, value in state.items()
    }


def _openmixup_content(
    state: Mapping[str, Tensor], shown: Mapping[str, Any], weights: Weights
) -> tuple[dict[str, Any], list[str]]:
    """What OpenMixup reads, and what to say of it."""
    unknown = {
        "video models": shown["ndim"] == 3,
        "light models": is_light(state),
        "second head on tokens": shown["aux_head"],
        "layer before the head": bool(shown["representation_size"]),
        "convolutions in the first stage alone": shown["conv_embeds"] == 1,
    }
    if found := [what for what, is_there in unknown.items() if is_there]:
        raise CheckpointError(f"{weights.path}: OpenMixup's UniFormer knows no {', '.join(found)}")
    lines = []
    if shown["layer_scale"] is not True:
        lines.append(
            "blocks without layer scale have factors of 1, which its models have in every block"
        )
    recorded = weights.metadata.get("model", {}).get("arguments", {})
    if recorded.get("embed_norm_eps", 1e-5) != openmixup.EMBED_NORM_EPS:
        lines.append(
            "its patch embeddings have LayerNorms with an epsilon of 1e-6, these were made with 1e-5: logits "
            "differ by some 5e-6 of the largest"
        )
    return {"state_dict": openmixup.to_openmixup(state)}, lines


def _report(
    source: Path | str,
    target: Path | str,
    metadata: Mapping[str, Any],
    entry: PublishedWeights | None,
    order: str | None,
) -> list[str]:
    model, names = metadata["model"], metadata.get("class_names")
    arguments, chosen = model["arguments"], metadata.get("weights", {}).get("chosen")
    lines = [f"{source}: {model['name']}" + (f", the published {entry.name}" if entry else "")]
    if chosen:
        lines.append(f"taken: the {chosen} weights")
    if "head_dim" in arguments:
        lines.append(f"head_dim {arguments['head_dim']}, local kernel {arguments['local_kernel']}")
    if names:
        lines.append(
            f"classes: {len(names)}, output 0 is {names[0]!r}" + (f" ({order})" if order else "")
        )
    else:
        lines.append("classes: not named; give --classes, or predictions will be numbers")
    facts = metadata.get("protocol")
    if facts and facts["medium"] == IMAGE.name:
        views = Protocol.from_dict(facts).views
        seen = f"images, {views.crop_size} pixels of a short side of {views.short_side}"
        if isinstance(views, PixelViews):
            seen = views.in_words()
        lines.append(
            f"input: {seen}, mean {_numbers(facts['mean'])}, standard deviation {_numbers(facts['std'])}"
        )
        doubt = entry.doubt(source) if entry else ""
        if doubt and facts["mean"] != list(IMAGENET_MEAN):
            lines.append(doubt)
    elif facts:
        lines.append(
            f"input: {facts['num_frames']} frames, stride {facts['frame_stride']}, "
            f"{facts['rule']}, {facts['crop_size']} pixels, {facts['channel_order']}"
        )
    else:
        lines.append(
            "input: not recorded; give --published NAME or --cfg FILE, prediction needs it"
        )
    return [*lines, f"written: {target}"]


def _record_imagenet_pixels(metadata: dict[str, Any], source: Path | str) -> None:
    """Put ImageNet's mean and standard deviation into the protocol in `metadata`."""
    if "protocol" not in metadata:
        raise ConfigError(
            "--imagenet-pixels changes how pixels are normalised, and nothing tells how the input of "
            f"{source} is prepared; give --published NAME, or a --cfg that sets DATA.MEAN and DATA.STD"
        )
    metadata["protocol"] |= {"mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)}


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)

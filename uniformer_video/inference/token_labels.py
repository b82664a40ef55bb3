"""Label maps for token labelling, made by an image model: what it says of each place of a picture."""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from uniformer_video.data.clips.label_maps import FACTS_FILE, MAX_CLASSES, TOP_CLASSES, map_names
from uniformer_video.data.lists.media import IMAGE
from uniformer_video.data.loading.dataset import EvalDataset
from uniformer_video.data.loading.loader import eval_loader, resolve_workers
from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import CheckpointError, ConfigError, DataError
from uniformer_video.files import atomic_write, write_text
from uniformer_video.inference.predictor import Predictor
from uniformer_video.inference.records import records_at
from uniformer_video.models.contract import name_of
from uniformer_video.models.uniformer import MIN_SIDE, UniFormer
from uniformer_video.prepare.folders import claim_folder, drop_outdated, source_setting
from uniformer_video.prepare.jobs import Outcome
from uniformer_video.prepare.summary import Summary
from uniformer_video.tasks.single_label import SingleLabel
from uniformer_video.weights.checkpoint import file_sha256
from uniformer_video.zoo.published import local_file

_LARGEST = torch.finfo(torch.float16).max


def make_token_labels(
    weights: str | Path,
    pictures: str | Path,
    out: str | Path,
    size: int = 0,
    batch_size: int = 32,
    workers: int = -1,
    progress: Callable[[int, int, int], None] | None = None,
) -> Summary:
    """Write the label map of each picture into the folder `out`, as `label_maps.py` describes them.

    A map is the classifier of the model in `weights` at every place of its last map, for the crop of the
    picture that a test sees. What an interrupted call has finished is kept; a map is made again when its
    picture is newer. `out/token_labels.json` tells the model and its classes, `out/failed.csv` the
    pictures that cannot be read.

    Args:
        weights: a file, an address or a published name, of a model of images.
        pictures: a folder, a csv list or a folder of shards.
        size: side of the crop in pixels, for maps of more places; 0 = the model's own.
        batch_size: pictures of a forward pass.
        workers: processes that read pictures; -1 = one a core.
        progress: called with counts (finished, of how many, failed).

    Returns a `Summary`. Raises `CheckpointError` for weights of another kind, `ConfigError` for a size
    that cannot be, and `DataError` for what is no such list, or two pictures that would share a map.
    """
    predictor = Predictor.from_checkpoint(weights)
    model = _require_image_uniformer(predictor, weights)
    protocol = with_size(predictor.protocol, size)
    records, _ = records_at([pictures], IMAGE)
    targets = [Path(out) / name for name in map_names(records)]
    _refuse_among_pictures(targets, [record.path for record in records], out)
    digest, views = file_sha256(local_file(weights)), protocol.views
    settings = {
        "command": "token-labels",
        **source_setting(pictures),
        "weights": digest[:16],
        "size": views.crop_size,
    }
    with claim_folder(out, settings, targets):
        for record, target in zip(records, targets, strict=True):
            drop_outdated(record.path, [target])
        left = [index for index, target in enumerate(targets) if not os.path.lexists(target)]
        summary = Summary(len(records), kept=len(records) - len(left), progress=progress)
        facts = {
            "model": Path(str(weights)).name,
            "sha256": digest,
            "class_names": list(predictor.class_names),
            "protocol": protocol.to_dict(),
        }
        write_text(Path(out) / FACTS_FILE, json.dumps(facts, ensure_ascii=False, indent=1) + "\n")
        dataset = EvalDataset(records, protocol.sampling, views, 1, backend=protocol.decoder)
        with summary.write_failures(out):
            for samples in eval_loader(dataset, left, batch_size, resolve_workers(workers)):
                good = [sample for sample in samples if sample.views is not None]
                inputs = [sample.views for sample in good if sample.views is not None]
                maps = _maps_of(predictor, model, torch.cat(inputs)) if inputs else []
                for sample, label_map in zip(good, maps, strict=True):
                    with atomic_write(targets[sample.index]) as file:
                        torch.save(label_map, file)
                for sample in samples:
                    path = records[sample.index].path
                    summary.add(Outcome((path,), "made", sample.reason))
    return summary


def label_map(logits: Tensor) -> Tensor:
    """Class logits `[..., K, h, w]` -> the highest five at most, and their numbers: `[..., 2, k, h, w]`."""
    highest = logits.float().topk(min(TOP_CLASSES, logits.shape[-3]), dim=-3)
    values = highest.values.clamp(-_LARGEST, _LARGEST)
    return torch.stack([values.half(), highest.indices.half()], -4)


def with_size(protocol: Protocol, size: int) -> Protocol:
    """The protocol with crops of `size` pixels, out of the same share of the picture; 0 = as it is."""
    if not size:
        return protocol
    if size % MIN_SIDE:
        raise ConfigError(
            f"--size is {size}; it takes a multiple of {MIN_SIDE} pixels, a place of the map each"
        )
    views = protocol.views
    short_side = views.short_side * size // views.crop_size
    return replace(protocol, views=replace(views, crop_size=size, short_side=short_side))


def _refuse_among_pictures(
    targets: Iterable[Path], pictures: Iterable[str], out: str | Path
) -> None:
    """Raise `DataError` where a label map would lie in a folder of pictures."""
    taken = {os.path.realpath(folder) for folder in {os.path.dirname(path) for path in pictures}}
    for folder in {target.parent for target in targets}:
        if os.path.realpath(folder) in taken:
            raise DataError(
                f"{folder} is a folder of the pictures, and their label maps would lie among them; choose "
                f"another --out than {out}"
            )


def _require_image_uniformer(predictor: Predictor, weights: str | Path) -> UniFormer:
    """The model, if label maps can be made by it."""
    protocol, model, classes = predictor.protocol, predictor.model, len(predictor.class_names)
    if protocol.medium != IMAGE.name or not isinstance(model, UniFormer):
        raise CheckpointError(
            f"{weights} holds a model of {protocol.medium}s ({name_of(model)}); label maps are made by "
            "a UniFormer for images, such as image_uniformer_s"
        )
    if classes > MAX_CLASSES:
        raise CheckpointError(
            f"{weights} tells {classes} classes apart, and a label map holds class numbers in half "
            f"precision, which is exact for {MAX_CLASSES} at the most"
        )
    if predictor.task.name != SingleLabel.name:
        raise CheckpointError(
            f"{weights} was trained for TRAIN.TASK {predictor.task.name}, and the labels of a map are shares "
            f"of one class a picture; take a model of TRAIN.TASK {SingleLabel.name}"
        )
    return model


@torch.inference_mode()
def _maps_of(predictor: Predictor, model: UniFormer, images: Tensor) -> list[Tensor]:
    """The maps of `[B, 3, H, W]`, each with memory of its own, as files need it."""
    with predictor.autocast():
        logits = model.place_logits(images.to(predictor.device))
    return [each.clone() for each in label_map(logits.movedim(-1, 1)).cpu()]

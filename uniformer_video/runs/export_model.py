"""A checkpoint as a file for another runtime, written once it was seen to answer as the model does."""

import re
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import simplejson
import torch
from torch import nn

from uniformer_video.config.recorded import config_from_text
from uniformer_video.errors import CheckpointError, ConfigError, UserError
from uniformer_video.export.drafts import draft_folder, place_files
from uniformer_video.export.files import check_opset, files_of, write_program
from uniformer_video.export.formats import FORMATS, ExportFormat, choose_format
from uniformer_video.export.graph import OPSET, trace
from uniformer_video.export.int8_parity import Int8Parity
from uniformer_video.export.metadata import ExportInfo, fingerprint_of, json_beside
from uniformer_video.export.parity import TOLERANCE, Parity, compare
from uniformer_video.export.planes import Planes
from uniformer_video.export.preparation import PreparedModel, trace_prepared
from uniformer_video.export.sessions import Run, open_session
from uniformer_video.files import write_text
from uniformer_video.inference.predictor import Predictor
from uniformer_video.inference.segmenter import labels_pixels
from uniformer_video.models.contract import name_of
from uniformer_video.models.inference_mode import for_inference
from uniformer_video.plugins import import_installed
from uniformer_video.runs.export_clips import INT8_VIEWS, VIEWS, ExportClips, Generate, find_clips
from uniformer_video.runs.export_int8 import (
    Int8Clips,
    Int8Options,
    WriteFloat,
    find_int8_clips,
    quantize,
)
from uniformer_video.versions import versions
from uniformer_video.weights.checkpoint import CALIBRATION, Weights, read_weights
from uniformer_video.words import one_line
from uniformer_video.zoo.convert import check_target
from uniformer_video.zoo.published import local_file

# what normalisation keeps beside its parameters
_BUFFERS = re.compile(r"(^|\.)(running_mean|running_var|num_batches_tracked)$")


@dataclass(frozen=True)
class Exported:
    """What came of an export.

    path: of the file, which is there only where `fault` is "". parity: of the file in float32. source: what
    the file was checked on, in words. left_out: what of that could not be; "" where nothing. int8: of the
    file in int8; None where it was not asked for, or the one in float32 did not pass.
    """

    path: Path
    info: ExportInfo
    parity: Parity
    source: str
    left_out: str = ""
    int8: Int8Parity | None = None

    @property
    def fault(self) -> str:
        """Why no file was written, in words; "" where it was."""
        return self.parity.fault() or (self.int8.fault() if self.int8 else "")

    @property
    def files(self) -> list[Path]:
        """What was written, the file itself last."""
        return files_of(self.path)

    def to_dict(self) -> dict[str, Any]:
        """What the file says of itself, with what was measured."""
        int8 = {"int8_parity": self.int8.to_dict()} if self.int8 else {}
        measured = {"parity": self.parity.to_dict(), **int8, "checked_on": self.source}
        return {**self.info.to_dict(), **measured}

    def lines(self) -> list[str]:
        """What was compared, and how it went, for people."""
        lines = self.parity.lines(FORMATS[self.info.format].title, self.source)
        if self.int8:
            lines += self.int8.lines(self.source)
        return [*lines, f"left out: {self.left_out}"] if self.left_out else lines


def export_model(
    checkpoint: str | Path,
    target: str | Path,
    generate: Generate,
    format_name: str | None = None,
    preprocess: bool = False,
    dynamic_size: bool = False,
    opset: int | None = None,
    videos: Sequence[str] | None = None,
    tolerance: float = TOLERANCE,
    int8: Int8Options | None = None,
    check_count: int | None = None,
) -> Exported:
    """Write `target`, with a JSON beside it, unless its answers differ from those of the checkpoint's model.

    Args:
        checkpoint: a file, an address, or the name of published weights, of a model that classifies.
        generate: makes videos to compare on where neither `videos` nor the run's test list are there.
        format_name: one of `formats.FORMATS`; None = by the suffix of `target`.
        preprocess: with the preparation inside, see `PreparedModel`.
        dynamic_size: clips may have other heights and widths; not with `preprocess`, whose frames always may.
        opset: of ONNX's operators; None = `OPSET`.
        videos: places of videos to compare on; None = the test list that the checkpoint's run had.
        tolerance: see `parity.Parity`.
        int8: how the file is quantised; None = it stays in float32.
        check_count: how many views are compared at most; None = `INT8_VIEWS` of an int8 file, else `VIEWS`.

    Raises `CheckpointError` for weights that are no classifier's, whose network the format cannot hold, and
    where `target` exists, or does by the end, see `place_files`; `ConfigError` where another process is
    exporting to it; other `UserError`s for arguments that do not fit.
    """
    if preprocess and dynamic_size:
        raise ConfigError(
            "--dynamic-size is of clips, and with --preprocess the file takes frames, of any size already: "
            "leave --dynamic-size out; or leave --preprocess out for clips of sizes that vary"
        )
    target = Path(target)
    chosen = choose_format(target, format_name)
    for file in reversed(files_of(target)):  # the one that was asked for first
        check_target(file)
    chosen.require()
    if opset is not None:
        check_opset(chosen, opset)
    if int8 is not None:
        int8.check(chosen)
    count = (INT8_VIEWS if int8 else VIEWS) if check_count is None else check_count
    if count < 1:
        raise ConfigError(f"--check-count is {count}; a file is checked on one view at least")
    predictor, weights = _open(checkpoint)
    network = for_inference(deepcopy(predictor.model))
    if preprocess:
        protocol = predictor.protocol
        temperature = predictor.applied.temperature if predictor.applied else 1.0
        network = PreparedModel(
            network, protocol.views, protocol.score, predictor.task, temperature
        ).eval()
    info = _describe(predictor, weights, chosen, preprocess, dynamic_size)
    with draft_folder(target) as folder:
        generated = None if int8 else generate
        clips = find_clips(predictor.protocol, weights, videos, generated, folder, count)
        int8_clips = find_int8_clips(int8, predictor.protocol, weights, clips) if int8 else None
        clips = int8_clips.check if int8_clips else clips
        draft = folder / target.name
        write = partial(_write, network, info, dynamic_size, OPSET if opset is None else opset)
        info = write(draft)
        some = replace(clips, count=min(count, VIEWS))
        answers = open_session(draft, info.format, target)
        parity = _compare(predictor, info, answers, some, tolerance)
        done = Exported(target, info, parity, clips.source, some.note())
        if int8 and int8_clips and not parity.fault():
            done = _quantize(done, predictor, draft, int8, int8_clips, write)
        if not done.fault:
            write_text(json_beside(draft), simplejson.dumps(done.to_dict(), indent=1) + "\n")
            place_files(draft, target)
    return done


def _quantize(
    done: Exported,
    predictor: Predictor,
    draft: Path,
    options: Int8Options,
    clips: Int8Clips,
    write: WriteFloat,
) -> Exported:
    """The draft in int8, and what came of it."""
    info, parity = quantize(
        draft,
        done.info,
        options,
        clips,
        lambda decoded: _inputs(predictor, done.info, decoded),
        _float_run(predictor, done.info),
        write,
    )
    return replace(done, info=info, int8=parity, left_out=clips.note())


def _open(checkpoint: str | Path) -> tuple[Predictor, Weights]:
    """What classifies, on the processor in float32, as it is exported; and the weights that it has."""
    import_installed()
    weights = read_weights(local_file(checkpoint))
    if labels_pixels(weights):
        raise CheckpointError(
            f"{checkpoint} is a segmentation model, and export takes models that classify videos or images"
        )
    return Predictor.from_weights(weights, device="cpu", precision="fp32"), weights


def _describe(
    predictor: Predictor,
    weights: Weights,
    chosen: ExportFormat,
    preprocess: bool,
    dynamic_size: bool,
) -> ExportInfo:
    metadata, protocol = weights.metadata, predictor.protocol
    settings = metadata.get("config")
    frames, crop = protocol.sampling.num_frames, protocol.views.crop_size
    sides: list[int | str] = ["height", "width"] if dynamic_size else [crop, crop]
    time: list[int | str] = [frames] if predictor.medium.of_frames else []
    taken: dict[str, Any] = {
        "name": "clip",
        "shape": ["batch", 3, *time, *sides],
        "type": "float32",
    }
    if preprocess:
        shape = ["batch", frames, "height", "width", 3]
        taken = {"name": "frames", "shape": shape, "type": "uint8"}
    applied = predictor.applied if preprocess else None
    return ExportInfo(
        format=chosen.name,
        model=name_of(predictor.model),
        task=predictor.task.name,
        class_names=predictor.class_names,
        protocol=predictor.used_protocol,
        preprocess=preprocess,
        temperature=applied.temperature if applied else None,
        calibration=metadata.get(CALIBRATION),
        license=str(config_from_text(settings, weights.path).DATA.LICENSE) if settings else "",
        versions=versions(chosen.libraries),
        fingerprint=fingerprint_of(weights.state),
        parameters=sum(
            value.numel() for name, value in weights.state.items() if not _BUFFERS.search(name)
        ),
        input=taken,
        output={
            "name": "probabilities" if preprocess else "logits",
            "shape": ["batch", len(predictor.class_names)],
            "type": "float32",
        },
    )


def _write(
    network: nn.Module,
    info: ExportInfo,
    dynamic_size: bool,
    opset: int,
    draft: Path,
    planes: Planes = Planes.ALL,
) -> ExportInfo:
    """The file, not yet checked. Raises `CheckpointError` where the network cannot become one."""
    protocol = info.protocol
    try:
        if info.preprocess:
            program = trace_prepared(network, protocol.sampling.num_frames, protocol.views)
        else:
            # 2: of a batch of 1, tracing would take the 1 for a constant
            crop = protocol.views.crop_size
            sides = {"batch": 2, "height": crop, "width": crop}
            example = torch.zeros([sides.get(side, side) for side in info.input["shape"]])
            program = trace(network, example, dynamic_batch=True, dynamic_size=dynamic_size)
        return write_program(program, info, draft, opset, planes)
    except (UserError, OSError):
        raise
    except (
        Exception
    ) as error:  # torch, onnx and openvino have no common class for a network they cannot take
        raise CheckpointError(
            f"the model {info.model} cannot be exported as {info.format}"
            f"{' with sizes that vary' if dynamic_size else ''} ({type(error).__name__}: "
            f"{one_line(error)[:300]})"
        ) from error


def _compare(
    predictor: Predictor, info: ExportInfo, file: Run, clips: ExportClips, tolerance: float
) -> Parity:
    """The file beside the model of the predictor, on clips of which there is one at least."""
    return compare(_inputs(predictor, info, clips), _float_run(predictor, info), file, tolerance)


def _inputs(
    predictor: Predictor, info: ExportInfo, clips: Iterable[np.ndarray]
) -> Iterator[np.ndarray]:
    """What the file takes of decoded clips: frames as they are, or a view of each, `[...]`."""
    views = predictor.protocol.views
    for number, clip in enumerate(clips):
        # of several crops each in turn
        yield clip if info.preprocess else views([clip])[number % views.num_crops].numpy()


def _float_run(predictor: Predictor, info: ExportInfo) -> Run:
    """What the file should answer to batches of such inputs, by the model of the predictor."""
    views = predictor.protocol.views

    @torch.inference_mode()
    def logits(batch: np.ndarray) -> np.ndarray:
        return predictor.model(torch.from_numpy(batch)).numpy()

    def probabilities(batch: np.ndarray) -> np.ndarray:
        answers = [predictor.answer("clip", logits(views([clip]).numpy())) for clip in batch]
        return np.stack([answer.probabilities for answer in answers])

    return probabilities if info.preprocess else logits

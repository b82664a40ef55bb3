"""An exported file in int8: on which clips it is calibrated and judged, and which layers stay in float."""

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import ConfigError, choice_error
from uniformer_video.export.formats import DYNAMIC, METHODS, ONNX, RANGES, STATIC, ExportFormat
from uniformer_video.export.int8 import (
    FloatGraph,
    Quantization,
    quantization_tools,
    record_quantization,
)
from uniformer_video.export.int8_parity import Int8Parity, write_int8
from uniformer_video.export.metadata import ExportInfo
from uniformer_video.export.parity import Run
from uniformer_video.export.planes import Planes
from uniformer_video.runs.export_clips import (
    CALIBRATION_CLIPS,
    INT8_VIEWS,
    ExportClips,
    find_calibration,
)
from uniformer_video.weights.checkpoint import Weights
from uniformer_video.words import plural

log = logging.getLogger(__name__)
_FEW_VIEWS = 50  # of fewer, the share that has to agree is all of them
_RANGES = "minmax"  # what is taken unless something else is asked for
Inputs = Callable[[ExportClips], Iterable[np.ndarray]]  # decoded clips as the file takes them
WriteFloat = Callable[[Path, Planes], object]  # a file in float32, with such convolutions by planes


@dataclass(frozen=True)
class Int8Options:
    """How a file is quantised.

    method: "static" or "dynamic". ranges: one of `RANGES`; None = "minmax". calibration: places of videos to
    calibrate on; None = the training list of the checkpoint's run.
    """

    method: str
    ranges: str | None = None
    calibration: Sequence[str] | None = None

    def check(self, chosen: ExportFormat) -> None:
        """Raise `ConfigError` for options that do not fit, `MissingLibraryError` without what quantises."""
        if chosen is not ONNX:
            raise ConfigError(
                f"int8 is written as ONNX alone, and the format is {chosen.name}; give --out a name that "
                f"ends in {ONNX.suffix}"
            )
        if self.method not in METHODS:
            raise choice_error("the method of int8", self.method, METHODS)
        if self.ranges is not None and self.ranges not in RANGES:
            raise choice_error("the ranges", self.ranges, RANGES)
        if self.ranges is not None and self.method == DYNAMIC:
            raise ConfigError(
                "--ranges is of static int8: dynamic finds its ranges while it runs; leave it out"
            )
        quantization_tools()


@dataclass(frozen=True)
class Int8Clips:
    """What a file is judged on, and what it is calibrated on; None where that is not at hand, nor a must."""

    check: ExportClips
    calibration: ExportClips | None

    def note(self) -> str:
        """What of both was left out, for people."""
        both = [self.check, self.calibration] if self.calibration else [self.check]
        return "; ".join(each.note() for each in both if each.note())


def find_int8_clips(
    options: Int8Options, protocol: Protocol, weights: Weights, check: ExportClips
) -> Int8Clips:
    """The clips of the calibration, and those of `check` that are not of the same videos.

    Raises `ConfigError` where static int8 has no videos to calibrate on, `DataError` where none is left.
    """
    try:
        calibration = find_calibration(protocol, weights, options.calibration)
    except ConfigError as error:
        if options.method == STATIC:
            raise
        log.info("No layer can be left in float: %s", error)
        return Int8Clips(check, None)
    for _ in calibration:  # broken videos have others in their place: which ones, is known now
        pass
    taken = list(calibration.taken.values())
    if len(taken) < CALIBRATION_CLIPS and options.method == STATIC:
        log.warning(
            "Calibrated on clips of %s alone; %d are usual.",
            plural(len(taken), protocol.medium),
            CALIBRATION_CLIPS,
        )
    check = check.apart_from(taken).without_copies_of(taken)
    check.check()  # of those that are left none may be whole
    return Int8Clips(check, replace(calibration, records=taken))


def quantize(
    draft: Path,
    info: ExportInfo,
    options: Int8Options,
    clips: Int8Clips,
    inputs: Inputs,
    model: Run,
    write: WriteFloat,
) -> tuple[ExportInfo, Int8Parity]:
    """Put an int8 file in the place of the float32 one at `draft`; what it says of itself, and how it went.

    inputs: makes of clips what the file takes, a view `[...]` each. model: the model in float32, on these.
    write: writes another file like the draft. Raises `CheckpointError` for a network that ONNX Runtime cannot
    quantise.
    """
    calibration = clips.calibration
    room = draft.with_name("quantised")  # apart from the draft, whatever that is called
    room.mkdir()
    # Repeated weights would be repeated in the file, and bring no speed in int8 (`docs/export.md`).
    write(room / "float.onnx", Planes.LAST)
    graph = FloatGraph(room / "float.onnx", room, options.method)
    ranges, count = None, 0
    if options.method == STATIC:
        assert calibration is not None
        ranges = options.ranges or _RANGES
        log.info("Calibrating on %s.", calibration.source)
        count = graph.calibrate((view[None] for view in inputs(calibration)), ranges)
    videos = len(calibration.taken) if calibration and count else 0
    source = calibration.source if calibration and count else ""

    def describe(left: tuple[str, ...]) -> Quantization:
        quantized = len(graph.layers) - len(left)
        return Quantization(
            options.method, ranges, videos, count, source, quantized, left, graph.passed_over
        )

    written = room / "int8.onnx"
    parity = write_int8(
        graph,
        written,
        lambda: inputs(clips.check),
        (lambda: inputs(calibration)) if calibration else None,
        model,
        draft,
        describe,
        lambda line: log.info("int8: %s", line),
    )
    if parity.views < _FEW_VIEWS:
        log.warning(
            "Judged on %s alone, of which a single other answer is too many; %d are usual.",
            plural(parity.views, "view"),
            INT8_VIEWS,
        )
    info = replace(info, quantization=parity.quantization.to_dict())
    record_quantization(written, info.to_json())
    sizes = (parity.sizes[0], written.stat().st_size)  # with what it says of itself now
    os.replace(written, draft)
    return info, replace(parity, sizes=sizes)

"""What a training would take on this machine: one step of the model is timed, and some videos are decoded."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fvcore.common.config import CfgNode

from uniformer_video.advice.videos import evenly
from uniformer_video.config.settings import load_config
from uniformer_video.cores import usable_cores
from uniformer_video.data.decoding import open_video
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import DataError, DecodeError
from uniformer_video.prepare.jobs import Outcome, run_jobs
from uniformer_video.runs.build_training import build_timetable
from uniformer_video.training.turns import wait_for

_LONGEST = 180  # seconds for the measurement of a step
_DECODED = 8  # videos
_CLIPS_ON_GPU = 8  # of a step that is timed; a GPU is not busy with one
# A clip without gradients takes a third: the backward pass is twice the forward one.
_OF_A_STEP = 1 / 3
_GIGABYTE = 1e9


@dataclass(frozen=True)
class Cost:
    """Time and memory of a training and its test on this machine, from a short measurement.

    step_seconds: of one clip in a training step. decode_seconds: of opening a video and decoding a clip, on
    one core. seconds: in all. clips: that training sees. device: its name. memory, available: bytes, of the
    GPU's memory or, without one, the computer's; None = not known. reason: why nothing could be measured;
    then all numbers are 0.
    """

    device: str
    step_seconds: float = 0.0
    decode_seconds: float = 0.0
    clips: int = 0
    seconds: float = 0.0
    memory: float | None = None
    available: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Step:
    """What the measuring process says: seconds a clip, bytes that a model takes and those of each clip."""

    device: str
    seconds: float
    base_bytes: float
    clip_bytes: float
    available: float | None


# (config, words of its settings, classes)
_Task = tuple[str, tuple[str, ...], int]


def estimate(
    cfg: CfgNode, task: _Task, train: Sequence[VideoRecord], validated: int, tested: int
) -> Cost:
    """The `Cost` of the run of `cfg`, whose config and settings are those of `task`.

    train: the training videos; validated, tested: how many videos each validation and the test have.
    """
    measured: list[Outcome[_Task, Step]] = []
    run_jobs(measure_step, [task], measured.append, 1, _LONGEST)
    (outcome,) = measured
    if outcome.result is None:
        return Cost("", reason=outcome.reason)
    step, decoding = outcome.result, _time_decoding(cfg, train)
    copies = cfg.AUG.NUM_SAMPLE if cfg.AUG.ENABLE else 1
    batch = min(cfg.TRAIN.BATCH_SIZE, len(train))
    timetable = build_timetable(cfg, len(train) // batch)
    videos = timetable.last_step * batch
    validations = validated * timetable.validations()
    views = tested * cfg.TEST.NUM_ENSEMBLE_VIEWS * cfg.TEST.NUM_SPATIAL_CROPS
    model = step.seconds * (videos * copies + (validations + views) * _OF_A_STEP)
    data = decoding * (videos + validations + tested * cfg.TEST.NUM_ENSEMBLE_VIEWS) / usable_cores()
    return Cost(
        device=step.device,
        step_seconds=step.seconds,
        decode_seconds=decoding,
        clips=videos * copies,
        # a GPU computes while the cores decode, which without one have to do both
        seconds=max(model, data) if step.device.startswith("cuda") else model + data,
        memory=step.base_bytes + step.clip_bytes * batch * copies,
        available=step.available,
    )


def _time_decoding(cfg: CfgNode, records: Sequence[VideoRecord]) -> float:
    """Seconds to open a video and decode a clip, on one core: the mean of some; 0 = none opens."""
    sampling, seconds = Protocol.from_cfg(cfg).sampling, []
    for place in evenly(len(records), _DECODED):
        record, started = records[place], time.perf_counter()
        try:
            with open_video(record.path, num_frames=record.num_frames) as reader:
                timeline = sampling.timeline(
                    reader.num_frames, reader.fps, record.start, record.end, reader.times
                )
                reader.frames(timeline[sampling.test_clips(len(timeline), 1)[0]])
        except (DecodeError, DataError):
            continue
        seconds.append(time.perf_counter() - started)
    return sum(seconds) / len(seconds) if seconds else 0.0


def measure_step(task: _Task) -> Step:
    """Time training steps of a run's model on clips of zeros, in a process of its own."""
    import torch

    from uniformer_video.runs import build_model
    from uniformer_video.runs.build_model import model_options
    from uniformer_video.runs.build_training import build_optimizer
    from uniformer_video.training.precision import autocast_for, choose_precision
    from uniformer_video.zoo.create import build_network

    config, words, classes = task
    cfg = build_model.name_model(load_config(config, words))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    autocast = autocast_for(choose_precision(cfg.TRAIN.PRECISION, device), device)
    model = build_network(cfg.MODEL.MODEL_NAME, classes, **model_options(cfg)).to(device).train()
    optimizer = build_optimizer(cfg, model)
    side = cfg.DATA.TRAIN_CROP_SIZE

    def step(clips: int) -> float:
        started = time.perf_counter()
        batch = torch.zeros(clips, 3, cfg.DATA.NUM_FRAMES, side, side, device=device)
        with autocast():
            loss = model(batch).float().logsumexp(1).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        wait_for(device)
        return time.perf_counter() - started

    if device.type == "cuda":
        return time_on_gpu(step)
    before = _resident_bytes()
    step(1)  # memory is taken, and kernels are chosen
    first = _resident_bytes()
    seconds = step(1)
    return Step("cpu", seconds, before, max(first - before, 0.0), _available_bytes())


def time_on_gpu(step: Callable[[int], float]) -> Step:
    """The `Step` that `step`, from a number of clips to seconds, makes on the GPU."""
    import torch

    peaks = []
    for clips in (1, _CLIPS_ON_GPU):
        step(clips)
        torch.cuda.reset_peak_memory_stats()
        seconds = min(step(clips) for _ in range(3))
        peaks.append(torch.cuda.max_memory_allocated())
    clip_bytes = (peaks[1] - peaks[0]) / (_CLIPS_ON_GPU - 1)
    free, _ = torch.cuda.mem_get_info()
    name = f"cuda ({torch.cuda.get_device_name()})"
    available = free + torch.cuda.memory_reserved()  # what this process holds is free when it ends
    return Step(name, seconds / _CLIPS_ON_GPU, peaks[0] - clip_bytes, clip_bytes, available)


def _resident_bytes() -> float:
    """The most memory that this process has had so far; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    import sys

    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def _available_bytes() -> float | None:
    """Memory that programs could have now; None where the system does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            found = dict(line.split(":", 1) for line in file)
        return float(found["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None

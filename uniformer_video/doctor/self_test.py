"""A minute of everything: videos are made, decoded, learnt from for some steps, tested, predicted."""

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from uniformer_video.doctor.finding import Finding, wrong
from uniformer_video.errors import UserError
from uniformer_video.logs import errors_alone
from uniformer_video.signals import Interrupted
from uniformer_video.words import duration, one_line

_SETTINGS = {
    "MODEL.MODEL_NAME": "uniformer_s",
    "UNIFORMER.EMBED_DIM": "[8,16,16,32]",
    "UNIFORMER.DEPTH": "[1,1,1,1]",
    "UNIFORMER.HEAD_DIM": "8",
    "DATA.NUM_FRAMES": "4",
    "DATA.SAMPLING_RATE": "2",
    "DATA.TRAIN_CROP_SIZE": "32",
    "DATA.TEST_CROP_SIZE": "32",
    "TRAIN.BATCH_SIZE": "4",
    "SOLVER.MAX_EPOCH": "2",
    "SOLVER.WARMUP_EPOCHS": "1",
    "TEST.NUM_ENSEMBLE_VIEWS": "2",
    "DATA_LOADER.NUM_WORKERS": "1",
    "TENSORBOARD.ENABLE": "False",
}
# Of the logits of the same model and clip, relative to the largest: those of another precision.
_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1}
_WARM_UP, _ROUNDS = 1, 3  # forward passes of each precision
_REPORT = "report this, with all that is printed here"


def self_test(folder: Path) -> Iterator[Finding]:
    """Make videos, train, test, predict inside `folder`, which is empty; compare precisions."""
    yield from _try("videos", lambda: _make_videos(folder / "videos"))
    yield from _try("model", _compare_precisions)
    yield from _try("bf16", _time_bfloat16)
    if not (folder / "videos" / "test.csv").is_file():
        return
    yield from _try("training, test", lambda: _run(folder))
    if (best := folder / "run" / "best.pt").is_file():
        video = min((folder / "videos" / "test").glob("*.mp4"))
        yield from _try("prediction", lambda: _predict(best, video))


def _try(about: str, action: Callable[[], str]) -> Iterator[Finding]:
    """The finding of one step: what `action` says, and how long it took; or why it failed."""
    started = time.monotonic()
    try:
        with errors_alone():
            said = action()
    except Interrupted:  # a training that was asked to stop; so is the doctor
        raise KeyboardInterrupt from None
    except (UserError, OSError) as error:
        yield wrong(about, one_line(error), _REPORT)
    except Exception as error:  # whatever it is, it is what the doctor was asked to find
        yield wrong(about, f"{type(error).__name__}: {one_line(error)}", _REPORT)
    else:
        yield Finding(about, f"{said} ({duration(time.monotonic() - started, 1)})")


def _compare_precisions() -> str:
    """The same small model in several precisions on the device, against float64 on the CPU."""
    import torch

    from uniformer_video.randomness import seed_torch
    from uniformer_video.zoo.create import build_network

    seed_torch("weights", 0)
    sizes = {"embed_dims": [16, 16, 32, 32], "depths": [1, 1, 1, 1], "head_dim": 16}
    model = build_network("uniformer_s", 8, **sizes).eval()
    torch.nn.init.normal_(model.get_parameter("head.weight"))
    clip = torch.rand(1, 3, 4, 64, 64)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    said = []
    with torch.inference_mode():
        truth = model.double()(clip.double())
        for name, tolerance in _TOLERANCE.items():
            kind = getattr(torch, name)
            logits = model.to(device, kind)(clip.to(device, kind)).double().cpu()
            error = ((logits - truth).abs().max() / truth.abs().max()).item()
            said.append(f"{name} {error:.0e}")
            if not error <= tolerance:
                raise ArithmeticError(
                    f"{name} on {device} is off by {error:.0e} of the largest logit, above {tolerance:g}"
                )
            model.double().cpu()
    return f"on {device}, off from float64 by {', '.join(said)}"


def _time_bfloat16() -> str:
    """Forward passes of a clip in float32 and under bfloat16's autocast, in turn, and what that means."""
    import torch

    from uniformer_video.training.precision import autocast_for
    from uniformer_video.zoo.create import build_network

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build_network("uniformer_s", 400, depths=[1, 1, 2, 1]).eval().to(device)
    clip = torch.rand(1, 3, 8, 112, 112, device=device)
    times: dict[str, list[float]] = {"fp32": [], "bf16": []}
    with torch.inference_mode():
        for _ in range(_WARM_UP + _ROUNDS):
            for precision, taken in times.items():
                started = time.perf_counter()
                with autocast_for(precision, device)():
                    model(clip).cpu()
                taken.append(time.perf_counter() - started)
    usual = {precision: median(taken[_WARM_UP:]) for precision, taken in times.items()}
    ratio = usual["fp32"] / usual["bf16"]
    advice = "TEST.PRECISION bf16 and --precision bf16 pay" if ratio > 1.1 else "fp32 is as well"
    return f"a forward pass is {ratio:.1f} times as fast as in fp32 on {device.type}: {advice}"


def _make_videos(folder: Path) -> str:
    from uniformer_video.prepare.demo import generate_demo

    return f"{generate_demo(folder, train=16, val=8, test=8, processes=2)} made"


def _run(folder: Path) -> str:
    from uniformer_video.config.settings import load_config
    from uniformer_video.runs.run import run

    places = {"DATA.PATH_TO_DATA_DIR": folder / "videos", "OUTPUT_DIR": folder / "run"}
    words = [str(word) for pair in {**_SETTINGS, **places}.items() for word in pair]
    tested = run(load_config(overrides=words), "doctor")
    assert tested is not None  # as TEST.ENABLE is its default
    results = json.loads((tested / "results.json").read_text())
    summary = results["summary"]
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line).get("loss") for line in lines]
    if not losses or not all(loss and math.isfinite(loss) for loss in losses):
        raise ArithmeticError(f"losses that are not finite: {losses}")
    if summary["failed"]:
        raise ArithmeticError(f"{summary['failed']} of its videos could not be decoded")
    return f"{len(results['videos'])} videos tested after 2 epochs, with a worker process"


def _predict(checkpoint: Path, video: Path) -> str:
    from uniformer_video.inference.predictor import Predictor

    name, score = Predictor.from_checkpoint(checkpoint)(video).top(1)[0]
    return f"{name}, {score:.0%}"

"""The model of a config by itself: a forward pass and a training step in each precision, beside the limit.

The limit is what the operations would take at the rate that this machine reaches with large matrix products.
All cases take turns. Made-up clips, no data; a learning rate of 0.
"""

import copy
from collections.abc import Iterator, Sequence

import torch
from fvcore.common.config import CfgNode

from uniformer_video.bench import limits
from uniformer_video.bench.figures import Figure, Measured, short
from uniformer_video.bench.progress import Progress, of_rounds
from uniformer_video.config.settings import set_values, with_settings
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import ConfigError, choice_error
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.models.inference_mode import lay_out, prepare_for_inference
from uniformer_video.randomness import seed_torch
from uniformer_video.runs.build_clips import clip_shape
from uniformer_video.runs.build_depthwise import choose_depthwise
from uniformer_video.runs.build_model import build_model, name_model
from uniformer_video.runs.build_training import build_freezing, build_optimizer
from uniformer_video.runs.check import check_settings
from uniformer_video.training.precision import autocast_for, choose_precision
from uniformer_video.training.turns import Work, in_turn

PRECISIONS = ("fp32", "bf16", "fp16")
FORWARD, STEP = "forward", "training step"
_CLASSES = 400  # where the config names no number


def measure(
    cfg: CfgNode,
    batch: int = 2,
    rounds: int = 5,
    precisions: Sequence[str] = ("fp32", "bf16"),
    found: Measured | None = None,
) -> Measured:
    """Figures "PRECISION: forward" and "PRECISION: training step" in ms for `batch` clips, and their limits.

    found: gets the figures round by round, for whoever is interrupted; it is what is returned. Raises
    `ConfigError` for a precision that the device has not, and for more clips than fit into memory.
    """
    cfg = name_model(with_settings(cfg, {"UNIFORMER.PRETRAIN_NAME": ""}))
    check_settings(cfg)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = found or Measured("model", {})
    found.what = {**set_values(cfg), "batch": batch}
    at = Progress()
    at("building the model")
    seed_torch("weights", cfg.RNG_SEED)
    model, _ = build_model(cfg, cfg.MODEL.NUM_CLASSES or _CLASSES)
    model.to(device)
    try:
        clips = torch.randn(clip_shape(cfg, batch), device=device)
    except (
        RuntimeError,
        MemoryError,
        OverflowError,
        TypeError,
    ):  # larger than a number may be, too
        raise ConfigError(
            f"--batch {batch}: so many clips do not fit into memory; give fewer"
        ) from None
    works: dict[str, Work] = {}
    for name in precisions:
        if name not in PRECISIONS:
            raise choice_error("--precisions", name, PRECISIONS)
        choose_precision(name, device)
        works[f"{name}: {FORWARD}"] = forward_pass(model, clips, name)
        works[f"{name}: {STEP}"] = _step(cfg, model, clips, name, found.notes)
    in_turn(
        works,
        device,
        rounds,
        begins=lambda name, number: at(f"{name}, {of_rounds(number, rounds)}"),
        ends=found.add_seconds,
    )
    operations = limits.forward_operations(model, clip_shape(cfg), found.notes.append)
    times_of = {FORWARD: 1}  # the operations of a forward pass
    if limits.learns_all(_as_trained(cfg, model), found.notes.append):
        times_of[STEP] = 1 + limits.BACKWARD
    for name in precisions:
        at(f"{limits.RATE}{name}")
        rate = limits.rate_in(found, name, device)
        for work, times in times_of.items() if operations else ():
            limit = times * batch * (operations or 0.0) / (1e9 * rate.high)
            found.figures[f"{name}: {work}, limit"] = Figure.of_seconds([limit])
    return found


def forward_pass(model: RecognitionModel, clips: torch.Tensor, precision: str) -> Work:
    """One pass in inference mode, as tests and predictions compute; `model` itself is left as it is."""
    ready = prepare_for_inference(copy.deepcopy(model))
    lay_out(ready, clips.device, precision)
    autocast = autocast_for(precision, clips.device)

    @torch.inference_mode()
    def run() -> None:
        with autocast():
            ready(clips)

    return run


def _as_trained(cfg: CfgNode, model: RecognitionModel) -> RecognitionModel:
    """A copy in training mode; what the config freezes is frozen, and rests."""
    trained = copy.deepcopy(model).train()
    for resting in build_freezing(cfg).apply(trained):
        resting.eval()
    return trained


def _step(
    cfg: CfgNode, model: RecognitionModel, clips: torch.Tensor, precision: str, notes: list[str]
) -> Work:
    """As a training computes, but for its loss: some number of the logits. notes: get what is said of it."""
    trained = _as_trained(cfg, model)
    ranks = Ranks(0, 1, clips.device)
    said = choose_depthwise(cfg, [trained], len(clips), precision, ranks, {}).lines
    notes += [line for line in said if line not in notes]
    optimizer = build_optimizer(cfg, trained)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    autocast = autocast_for(precision, clips.device)

    def run() -> None:
        with autocast():
            logits = trained(clips)
        logits.float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return run


def lines(found: Measured) -> Iterator[str]:
    """A table of what was measured."""
    title = f"ms, batch of {found.what['batch']}"
    yield f"{title:24} {'median':>9} {'limit':>9} {'share':>6}   lowest - highest"
    for name, figure in found.figures.items():
        if name.endswith((FORWARD, STEP)):
            limit = found.figures.get(f"{name}, limit")
            beside = (
                f"{short(limit.median):>9} {limit.median / figure.median:6.0%}"
                if limit
                else " " * 16
            )
            yield f"{name:24} {short(figure.median):>9} {beside}   {figure.spread}".rstrip()
    for name, figure in found.figures.items():
        if name.startswith(limits.RATE):
            yield f"{name}: {short(figure.median)} {figure.unit} ({figure.spread})"
    yield from found.notes

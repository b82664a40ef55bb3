"""What a training consists of, by a config: optimiser, schedule, state, what is frozen and mixed."""

from collections.abc import Callable
from typing import Any

import torch
from fvcore.common.config import CfgNode

from uniformer_video.config.rows import DEFAULTS
from uniformer_video.data.lists.formats import holds_masks, medium_of
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import ConfigError, quote
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.models.layer_groups import layer_groups
from uniformer_video.runs.build_norms import synchronise_norms
from uniformer_video.training.averages import EMA, AveragedWeights
from uniformer_video.training.compiling import CompiledOutputs
from uniformer_video.training.freezing import Freezing
from uniformer_video.training.mixup import Mixup
from uniformer_video.training.optim import (
    SGD,
    CosineSchedule,
    PolySchedule,
    RatesByEpoch,
    StepSchedule,
    adamw,
    parameter_groups,
)
from uniformer_video.training.settings import TrainSettings
from uniformer_video.training.state import TrainingOutputs, TrainState
from uniformer_video.training.timetable import Timetable
from uniformer_video.words import plural


def build_mixup(cfg: CfgNode) -> Mixup | None:
    """Mixup and cutmix, or None; masks are not mixed."""
    if not cfg.MIXUP.ENABLE or holds_masks(cfg.TRAIN.DATASET):
        return None
    return Mixup(cfg.MIXUP.ALPHA, cfg.MIXUP.CUTMIX_ALPHA, cfg.MIXUP.PROB, cfg.MIXUP.SWITCH_PROB)


def build_optimizer(cfg: CfgNode, model: RecognitionModel) -> torch.optim.Optimizer:
    """The optimiser with the published parameter groups, if the settings do not change them."""
    solver = cfg.SOLVER
    decay: dict[str, Any] = {
        "weight_decay": solver.WEIGHT_DECAY,
        "spare_model_list": solver.ZERO_WD_POS_EMBED,
        "spare_class_token": solver.ZERO_WD_CLASS_TOKEN,
        "spare_vectors": solver.ZERO_WD_1D_PARAM,
        "spared_names": solver.NO_DECAY_PATTERNS,
        "batch_norm_decay": cfg.BN.WEIGHT_DECAY if cfg.BN.WEIGHT_DECAY >= 0 else None,
        "layer_decay": solver.LAYER_DECAY,
    }
    names = [name for name, _ in model.named_parameters()]
    for pattern in solver.NO_DECAY_PATTERNS:
        if not any(pattern in name for name in names):
            raise ConfigError(
                f"SOLVER.NO_DECAY_PATTERNS has {quote(pattern)}, which is in the name of no parameter of "
                f"{cfg.MODEL.MODEL_NAME}; names are such as {names[0]} and {names[-1]}; correct it or leave "
                "it out"
            )
    if solver.OPTIMIZING_METHOD == "sgd":
        groups = parameter_groups(model, **decay)
        return SGD(groups, solver.MOMENTUM, solver.DAMPENING, solver.NESTEROV)
    return adamw(model, betas=solver.BETAS, **decay)


def build_train_state(
    cfg: CfgNode, model: RecognitionModel, precision: str, ranks: Ranks
) -> TrainState:
    """The `TrainState` at the beginning, of a model on its device."""
    _set_batch_norms(cfg, model)
    resting = build_freezing(cfg).apply(model)
    synchronised = synchronise_norms(cfg, model, resting, ranks)
    outputs = CompiledOutputs if cfg.MODEL.COMPILE and not synchronised else TrainingOutputs
    network = ranks.wrap(outputs(model, resting))  # before anybody holds the parameters
    parts = {EMA: AveragedWeights(model, cfg.EMA.DECAY, cfg.EMA.WARMUP)} if cfg.EMA.ENABLE else {}
    return TrainState(
        model=model,
        network=network,
        optimizer=build_optimizer(cfg, model),
        scaler=torch.amp.GradScaler(ranks.device.type, enabled=precision == "fp16"),
        parts=parts,
    )


def build_freezing(cfg: CfgNode) -> Freezing:
    """What of the model is not trained."""
    model = cfg.MODEL
    return Freezing(
        tuple(model.FREEZE), model.DETACH_FINAL_FC, model.FROZEN_BN, model.FROZEN_BN_AFFINE
    )


def _set_batch_norms(cfg: CfgNode, model: RecognitionModel) -> None:
    """Give BatchNorm another momentum than its own, where one is set."""
    momentum = cfg.BN.MOMENTUM
    if momentum == DEFAULTS["BN.MOMENTUM"]:
        return
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = momentum


def counts_iterations(cfg: CfgNode) -> bool:
    """Whether the run counts iterations, since something may be due inside an epoch; else it counts epochs.

    TRAIN.CHECKPOINT_ITERS alone does not decide that, since it may change when the run goes on.
    """
    return bool(cfg.SOLVER.MAX_ITER or cfg.TRAIN.EVAL_ITERS)


def length_setting(cfg: CfgNode) -> tuple[str, int]:
    """The setting that says how long the training is, SOLVER.MAX_ITER or SOLVER.MAX_EPOCH, and its value."""
    solver = cfg.SOLVER
    if solver.MAX_ITER:
        return "SOLVER.MAX_ITER", solver.MAX_ITER
    return "SOLVER.MAX_EPOCH", solver.MAX_EPOCH


def build_timetable(cfg: CfgNode, steps_per_epoch: int) -> Timetable:
    """What is due after which step."""
    train = cfg.TRAIN
    return Timetable(
        steps_per_epoch,
        last_step=cfg.SOLVER.MAX_ITER or cfg.SOLVER.MAX_EPOCH * steps_per_epoch,
        eval_steps=train.EVAL_ITERS or train.EVAL_PERIOD * steps_per_epoch,
        checkpoint_steps=train.CHECKPOINT_ITERS or train.CHECKPOINT_PERIOD * steps_per_epoch,
        by_iterations=counts_iterations(cfg),
    )


def build_schedule(cfg: CfgNode, steps_per_epoch: int = 1) -> Callable[[float], float]:
    """The learning rate as a function of the epoch, a real number; of the iteration if the run counts these.

    Raises `ConfigError` where no time is left behind the warm-up, or between it and the cool-down.
    """
    schedule = _schedule_by_step(cfg, steps_per_epoch)
    if cfg.SOLVER.LR_INTERVAL == "step":
        return schedule
    delay = int(cfg.SOLVER.LR_INTERVAL == "previous-epoch")
    return RatesByEpoch(schedule, delay, steps_per_epoch if counts_iterations(cfg) else 1)


def _nothing_left(cfg: CfgNode, steps_per_epoch: int, cooldown: bool) -> str:
    """What is wrong with a warm-up that leaves no time, by the settings that say so."""
    solver = cfg.SOLVER
    warmup = f"SOLVER.WARMUP_EPOCHS {solver.WARMUP_EPOCHS:g}"
    if solver.WARMUP_ITERS:
        warmup = f"SOLVER.WARMUP_ITERS {solver.WARMUP_ITERS}"
    key, length = length_setting(cfg)
    leaves = (
        f"and SOLVER.COOLDOWN_EPOCHS {solver.COOLDOWN_EPOCHS:g} leave" if cooldown else "leaves"
    )
    steps = plural(steps_per_epoch, "iteration")
    return (
        f"{warmup} {leaves} nothing of {key} {length}, as an epoch has {steps}; shorten the "
        f"{'two' if cooldown else 'warm-up'} or train longer"
    )


def _schedule_by_step(
    cfg: CfgNode, steps_per_epoch: int
) -> CosineSchedule | PolySchedule | StepSchedule:
    solver = cfg.SOLVER
    factor = _rate_factor(cfg)
    in_iterations = counts_iterations(cfg)
    epoch = steps_per_epoch if in_iterations else 1
    length = solver.MAX_ITER or solver.MAX_EPOCH * epoch
    cooldown = solver.COOLDOWN_EPOCHS * epoch if solver.LR_POLICY == "cosine" else 0
    warmup = solver.WARMUP_EPOCHS * epoch
    if solver.WARMUP_ITERS:
        warmup = solver.WARMUP_ITERS if in_iterations else solver.WARMUP_ITERS / steps_per_epoch
    if warmup + cooldown >= length:
        raise ConfigError(_nothing_left(cfg, steps_per_epoch, bool(cooldown)))
    shared = {
        "base_lr": solver.BASE_LR * factor,
        "warmup_start_lr": solver.WARMUP_START_LR * factor,
        "warmup_epochs": warmup,
        "warmup_ratio": solver.WARMUP_RATIO,
    }
    if solver.LR_POLICY == "steps_with_relative_lrs":
        steps = tuple(step * epoch for step in solver.STEPS)
        return StepSchedule(**shared, steps=steps, factors=tuple(solver.LRS))
    if solver.LR_POLICY == "poly":
        return PolySchedule(**shared, max_epoch=length, power=solver.POWER)
    return CosineSchedule(
        **shared,
        end_lr=solver.COSINE_END_LR * factor,
        max_epoch=length - cooldown,
        after_warmup=solver.COSINE_AFTER_WARMUP,
        to_base_lr=solver.WARMUP_TO_BASE_LR,
    )


def _rate_factor(cfg: CfgNode) -> float:
    if cfg.SOLVER.BASE_LR_BATCH_SIZE:
        return videos_of_step(cfg) / cfg.SOLVER.BASE_LR_BATCH_SIZE
    return cfg.NUM_SHARDS if cfg.SOLVER.BASE_LR_SCALE_NUM_SHARDS else 1


def videos_of_step(cfg: CfgNode) -> int:
    """How many videos an update of the weights sees, on all machines."""
    return cfg.TRAIN.BATCH_SIZE * cfg.NUM_SHARDS * cfg.SOLVER.ACCUMULATION_STEPS


def decay_line(cfg: CfgNode, model: RecognitionModel) -> str:
    """What the layers' rates are, or "" where all learn at one."""
    decay = cfg.SOLVER.LAYER_DECAY
    if decay == 1:
        return ""
    layers = layer_groups(model)
    by_name = dict(model.named_parameters())
    is_trained = [any(by_name[name].requires_grad for name in names) for names in layers]
    shares = [decay ** (len(layers) - 1 - depth) for depth in range(len(layers))]
    trained = [share for share, learns in zip(shares, is_trained, strict=True) if learns]
    if trained == [1]:
        return f"SOLVER.LAYER_DECAY {decay:g} has no effect: only the head is trained."
    over = f"SOLVER.LAYER_DECAY {decay:g} over {len(layers)} layers"
    if all(is_trained):
        return f"{over}: the head learns at the learning rate, the stem at {shares[0]:.2g} of it."
    return (
        f"{over}: of the {len(trained)} that are trained the last learns at {trained[-1]:.2g} of the "
        f"learning rate, the first at {trained[0]:.2g}."
    )


def rate_line(cfg: CfgNode) -> str:
    """What scaling did to the learning rates, or "" where they are as given."""
    solver, factor = cfg.SOLVER, _rate_factor(cfg)
    if factor == 1:
        return ""
    if solver.BASE_LR_BATCH_SIZE:
        meant = solver.BASE_LR_BATCH_SIZE
        noun = medium_of(cfg.TRAIN.DATASET)
        why = f"a step has {videos_of_step(cfg)} {noun}s, SOLVER.BASE_LR_BATCH_SIZE is {meant}"
    else:
        why = f"SOLVER.BASE_LR_SCALE_NUM_SHARDS True, and NUM_SHARDS is {cfg.NUM_SHARDS}"
    return (
        f"All learning rates are multiplied by {factor:g} ({why}): the peak is {solver.BASE_LR * factor:g}, "
        f"in place of SOLVER.BASE_LR {solver.BASE_LR:g}."
    )


def build_train_settings(cfg: CfgNode) -> TrainSettings:
    """The numbers of the training loop."""
    return TrainSettings(
        seed=cfg.RNG_SEED,
        clip_gradient=cfg.SOLVER.CLIP_GRADIENT,
        checkpoint_seconds=cfg.TRAIN.CHECKPOINT_MINUTES * 60,
        max_bad_ratio=cfg.DATA.MAX_BAD_RATIO,
        noun=medium_of(cfg.TRAIN.DATASET),
        max_nonfinite=cfg.TRAIN.MAX_NONFINITE,
        patience=cfg.TRAIN.PATIENCE,
        precise_batches=cfg.BN.NUM_BATCHES_PRECISE if cfg.BN.USE_PRECISE_STATS else 0,
    )

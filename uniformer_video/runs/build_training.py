"""What a training consists of, by a config: optimiser, schedule, state, what is frozen and mixed."""

from collections.abc import Callable
from typing import Any

import torch
from fvcore.common.config import CfgNode

from uniformer_video.config.rows import DEFAULTS
from uniformer_video.data.lists.formats import holds_masks, medium_of
from uniformer_video.distributed.ranks import Ranks
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
    RatesByEpoch,
    StepSchedule,
    adamw,
    parameter_groups,
)
from uniformer_video.training.settings import TrainSettings
from uniformer_video.training.state import TrainingOutputs, TrainState


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
        "batch_norm_decay": cfg.BN.WEIGHT_DECAY,
        "layer_decay": solver.LAYER_DECAY,
    }
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


def build_schedule(cfg: CfgNode) -> Callable[[float], float]:
    """The learning rate as a function of the epoch, a real number."""
    schedule = _schedule_by_step(cfg)
    if cfg.SOLVER.LR_INTERVAL == "step":
        return schedule
    return RatesByEpoch(schedule, delay=int(cfg.SOLVER.LR_INTERVAL == "previous-epoch"))


def _schedule_by_step(cfg: CfgNode) -> CosineSchedule | StepSchedule:
    solver = cfg.SOLVER
    factor = _rate_factor(cfg)
    shared = {
        "base_lr": solver.BASE_LR * factor,
        "warmup_start_lr": solver.WARMUP_START_LR * factor,
        "warmup_epochs": solver.WARMUP_EPOCHS,
    }
    if solver.LR_POLICY == "steps_with_relative_lrs":
        return StepSchedule(**shared, steps=tuple(solver.STEPS), factors=tuple(solver.LRS))
    return CosineSchedule(
        **shared,
        end_lr=solver.COSINE_END_LR * factor,
        max_epoch=solver.MAX_EPOCH - solver.COOLDOWN_EPOCHS,
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
        max_epoch=cfg.SOLVER.MAX_EPOCH,
        seed=cfg.RNG_SEED,
        clip_gradient=cfg.SOLVER.CLIP_GRADIENT,
        eval_period=cfg.TRAIN.EVAL_PERIOD,
        checkpoint_period=cfg.TRAIN.CHECKPOINT_PERIOD,
        checkpoint_seconds=cfg.TRAIN.CHECKPOINT_MINUTES * 60,
        max_bad_ratio=cfg.DATA.MAX_BAD_RATIO,
        noun=medium_of(cfg.TRAIN.DATASET),
        max_nonfinite=cfg.TRAIN.MAX_NONFINITE,
        patience=cfg.TRAIN.PATIENCE,
        precise_batches=cfg.BN.NUM_BATCHES_PRECISE if cfg.BN.USE_PRECISE_STATS else 0,
    )

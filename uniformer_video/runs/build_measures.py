"""What a training measures of itself, as the config asks for it: its costs, a trace of some steps."""

from fvcore.common.config import CfgNode

from uniformer_video.config.settings import with_settings
from uniformer_video.cores import usable_cores
from uniformer_video.data.loading.loader import TrainPlan
from uniformer_video.distributed import environment
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import ConfigError
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.models.shapes import shapes_only
from uniformer_video.runs.build_clips import clip_shape
from uniformer_video.runs.build_model import model_options
from uniformer_video.runs.folder import RunFolder
from uniformer_video.training.costs import RunCosts
from uniformer_video.training.recomputation import recomputed_share
from uniformer_video.training.timetable import Timetable
from uniformer_video.training.tracing import TRACE_FOLDER, StepTrace
from uniformer_video.versions import device_name
from uniformer_video.words import one_line
from uniformer_video.zoo.create import build_network


def build_costs(cfg: CfgNode, timetable: Timetable, ranks: Ranks) -> RunCosts:
    """The `RunCosts` of a training: in GPU-hours, or in core-hours where it runs on CPUs."""
    if ranks.device.type == "cuda":
        devices, unit, hardware = ranks.size, "GPU", f"{ranks.size} x {device_name()}"
    else:
        devices, unit = usable_cores() * environment.machines(), "core"
        hardware = f"{devices} cores, {device_name()}"
    may_end_early = cfg.TRAIN.PATIENCE > 0
    return RunCosts(timetable, devices, unit, hardware, may_end_early, cfg.BN.USE_PRECISE_STATS)


def build_trace(cfg: CfgNode, plan: TrainPlan, folder: RunFolder, ranks: Ranks) -> StepTrace:
    """The `StepTrace` that TRAIN.PROFILE asks for; `ConfigError` for steps that the run does not have."""
    if not cfg.TRAIN.PROFILE:
        return StepTrace()
    first, more = cfg.TRAIN.PROFILE
    last, steps = first + more, cfg.SOLVER.MAX_ITER or cfg.SOLVER.MAX_EPOCH * plan.steps_per_epoch
    made_of = f"{cfg.SOLVER.MAX_EPOCH} epochs of {plan.steps_per_epoch}"
    if cfg.SOLVER.MAX_ITER:
        made_of = f"SOLVER.MAX_ITER {steps}"
    if not 1 <= first <= last <= steps:
        raise ConfigError(
            f"TRAIN.PROFILE {[first, more]} asks for a trace of the steps {first} to {last}, and this run "
            f"has the steps 1 to {steps} ({made_of}); give "
            "[k, n] for the steps k to k + n"
        )
    return StepTrace(folder / TRACE_FOLDER, first, last, ranks.rank)


def note_untraced(cfg: CfgNode, first_step: int) -> list[str]:
    """What to say where the steps of TRAIN.PROFILE, or some of them, are done already."""
    if not cfg.TRAIN.PROFILE or (first := cfg.TRAIN.PROFILE[0]) > first_step:
        return []
    done = min(sum(cfg.TRAIN.PROFILE), first_step)
    return [
        f"TRAIN.PROFILE {list(cfg.TRAIN.PROFILE)}: the run goes on behind step {first_step}, so the steps "
        f"{first} to {done} are not traced."
    ]


def recomputation_lines(cfg: CfgNode, model: RecognitionModel) -> list[str]:
    """What MODEL.USE_CHECKPOINT costs, in a line; none where nothing is recomputed."""
    if not (cfg.MODEL.USE_CHECKPOINT and any(cfg.MODEL.CHECKPOINT_NUM)):
        return []

    def build(recomputes: bool) -> RecognitionModel:
        settings = with_settings(cfg, {"MODEL.USE_CHECKPOINT": recomputes})
        options = {**model_options(settings), **model.arguments}
        with shapes_only():
            return build_network(cfg.MODEL.MODEL_NAME, model.num_classes, **options)

    what = f"Activation checkpointing (MODEL.CHECKPOINT_NUM {list(cfg.MODEL.CHECKPOINT_NUM)})"
    try:  # of two, which BatchNorm may need; the share is that of any number
        share = recomputed_share(build, clip_shape(cfg, 2))
    except (RuntimeError, NotImplementedError) as error:  # a model that looks at its numbers
        return [f"{what} costs time that cannot be counted for this model: {one_line(error)}"]
    return [f"{what} saves memory, and makes a step {share:.0%} more work."]

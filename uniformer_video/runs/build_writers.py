"""TensorBoard and Weights & Biases as the config asks for them."""

from collections.abc import Callable
from functools import partial

from fvcore.common.config import CfgNode

from uniformer_video.config.settings import flat_config
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import ConfigError
from uniformer_video.runs.build_task import build_task
from uniformer_video.runs.folder import RunFolder
from uniformer_video.training.tensorboard import TensorBoardWriter
from uniformer_video.training.weights_and_biases import NOT_IN_PROJECTS, WandbWriter, check_wandb
from uniformer_video.training.writers import Writer, Writers


def build_writers(cfg: CfgNode, folder: RunFolder, ranks: Ranks) -> Writers:
    """The writers of a run; none but on the main process."""
    openers: dict[str, Callable[[int | None], Writer]] = {}
    if ranks.is_main and cfg.TENSORBOARD.ENABLE:
        openers["TensorBoard"] = partial(TensorBoardWriter, folder / "tensorboard")
    if ranks.is_main and cfg.WANDB.ENABLE:
        openers["Weights & Biases"] = partial(
            WandbWriter, folder.path, cfg.WANDB.PROJECT, cfg.WANDB.MODE
        )
    figures = build_task(cfg).figures
    compared = ["train/loss", "val/loss"]
    compared += [f"{part}/{figure.key}" for part in ("train", "val", "test") for figure in figures]
    return Writers(openers, flat_config(cfg), compared)


def check_writers(cfg: CfgNode) -> None:
    """Raise `MissingLibraryError` where a writer that somebody asked for needs what is not installed.

    TensorBoard is on unless it is turned off, so a run says that it is missing, and goes on. `ConfigError`
    for a name that no project of Weights & Biases may have.
    """
    if cfg.WANDB.ENABLE:
        check_wandb()
        if wrong := sorted(set(cfg.WANDB.PROJECT).intersection(NOT_IN_PROJECTS)):
            raise ConfigError(
                f"WANDB.PROJECT {cfg.WANDB.PROJECT} is no project of Weights & Biases: their names have "
                f"none of {' '.join(NOT_IN_PROJECTS)}; leave out {' '.join(wrong)}"
            )

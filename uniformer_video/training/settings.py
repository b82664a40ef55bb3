"""The settings of a training as plain numbers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainSettings:
    """Numbers of the loop, from SOLVER, TRAIN and DATA, see `runs/build_training.build_train_settings`."""

    seed: int
    clip_gradient: float
    checkpoint_seconds: float
    max_bad_ratio: float
    max_nonfinite: int
    patience: int = 0
    # steps whose clips BatchNorm is measured on before validations; 0 = none
    precise_batches: int = 0
    noun: str = "video"  # what the training is on, for messages

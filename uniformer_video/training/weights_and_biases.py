"""Weights & Biases as a `Writer`."""

import importlib.util
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uniformer_video.errors import MissingLibraryError
from uniformer_video.files import write_text
from uniformer_video.program import install

# The run's name at Weights & Biases, which a resumed training goes on with.
RUN_FILE = "wandb_run.txt"
NOT_IN_PROJECTS = "/\\#?%:"  # characters that the name of a project there cannot have


class WandbWriter:
    """One run of a project; its local files go to `folder/wandb`.

    mode: "online", "offline", or "auto" = as the environment says (WANDB_MODE), else online. Each point names
    its step; those that an earlier attempt has sent stay there beside the new ones. A run that the calling
    program has begun is used, and left to it. Raises `MissingLibraryError` where wandb is not installed.
    """

    def __init__(self, folder: Path | str, project: str, mode: str, first_step: int | None = None):
        check_wandb()
        import wandb

        folder = Path(folder)
        self._library, self._is_own = wandb, wandb.run is None
        self._run = wandb.run or wandb.init(
            project=project,
            name=folder.name,
            id=_run_id(folder / RUN_FILE),
            resume="allow",
            dir=str(folder),
            mode=None if mode == "auto" else mode,
        )
        self._run.define_metric("*", step_metric="step")

    def settings(self, values: Mapping[str, Any], compared: Sequence[str]) -> None:
        """As the run's config."""
        self._run.config.update(dict(values), allow_val_change=True)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Curves by their names, over "step"; the last ones are the run's summary."""
        self._run.log({**values, "step": step})

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        """uint8 `[H, W, 3]`."""
        self._run.log({name: self._library.Image(pixels), "step": step})

    def close(self) -> None:
        """Finish the run, so that all is uploaded, or stored for `wandb sync`."""
        if self._is_own:
            self._run.finish()


def check_wandb() -> None:
    """Raise `MissingLibraryError` where wandb is not installed."""
    if importlib.util.find_spec("wandb") is None:
        raise MissingLibraryError(
            "WANDB.ENABLE is True and wandb is not installed; set it to False, or run: "
            f"{install('wandb')}"
        )


def _run_id(path: Path) -> str:
    """The run's name, drawn once and kept in the run's folder."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, secrets.token_hex(8))
    return path.read_text(encoding="utf-8").strip()

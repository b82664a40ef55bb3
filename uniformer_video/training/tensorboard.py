"""TensorBoard as a `Writer`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uniformer_video.errors import MissingLibraryError
from uniformer_video.files import METRICS_FILE
from uniformer_video.program import install


class TensorBoardWriter:
    """Event files in `folder`; those of an earlier attempt count up to `first_step`, None = all.

    Raises `MissingLibraryError` where TensorBoard is not installed.
    """

    def __init__(self, folder: Path | str, first_step: int | None = None):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingLibraryError(
                f"TensorBoard is not installed, and {METRICS_FILE} alone holds the curves; for it, run: "
                f"{install('report')}"
            ) from None
        # what it hides of earlier files begins with this step
        purged = None if first_step is None else first_step + 1
        self._writer = SummaryWriter(str(folder), purge_step=purged)

    def settings(self, values: Mapping[str, Any], compared: Sequence[str]) -> None:
        """As hyperparameters, in the tab of that name; lists as text."""
        from torch.utils.tensorboard.summary import hparams

        plain = {
            key: v if isinstance(v, bool | int | float) else str(v) for key, v in values.items()
        }
        # not by `add_hparams`, which wants final values of what is compared, and a run of its own
        events: Any = self._writer.file_writer
        for summary in hparams(plain, dict.fromkeys(compared, 0.0)):
            events.add_summary(summary)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Curves by their names."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        """uint8 `[H, W, 3]`, in the tab of images."""
        self._writer.add_image(name, pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Write what is still held back."""
        self._writer.close()

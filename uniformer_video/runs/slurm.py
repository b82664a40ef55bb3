"""A run as a job of Slurm, through submitit: one process a GPU, saved and requeued before its end."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from uniformer_video.errors import ConfigError, MissingLibraryError
from uniformer_video.program import install
from uniformer_video.words import one_line

_LOG_LEVEL = "SUBMITIT_LOG_LEVEL"  # of the environment, which submitit reads when it is imported
_REQUEUES = 1000  # times that a job may run into its limit; submitit's own number is 3


@dataclass
class SlurmJob:
    """What a job asks for. minutes: its limit; processes: on each node. sbatch: further options by name.

    signal_seconds: how long before the limit the run is asked to save.
    """

    name: str
    nodes: int
    processes: int
    gpus: int
    cpus: int
    minutes: int
    signal_seconds: int
    partition: str = ""
    sbatch: Mapping[str, str] = field(default_factory=dict)

    def parameters(self) -> dict[str, Any]:
        """As submitit's executor takes them."""
        asked = {
            "name": self.name,
            "nodes": self.nodes,
            "tasks_per_node": self.processes,
            "gpus_per_node": self.gpus or None,
            "cpus_per_task": self.cpus,
            "timeout_min": self.minutes,
            "slurm_signal_delay_s": self.signal_seconds,
            "slurm_partition": self.partition or None,
            "slurm_additional_parameters": dict(self.sbatch) or None,
            "stderr_to_stdout": True,
        }
        return {key: value for key, value in asked.items() if value is not None}


class SlurmRun:
    """What each process of the job does: start `command`, told what torchrun would tell, and pass signals on.

    stopped: the exit status of a run that was asked to stop, and has saved.

    submitit pickles it. At Slurm's signal, before the limit or a preemption, the run is asked to stop, which
    saves it; then submitit's own answer to that signal requeues the job, and the same command goes on.
    """

    def __init__(self, command: Sequence[str], stopped: int):
        self.command, self.stopped = list(command), stopped

    def __call__(self) -> None:
        from submitit import helpers

        environment = helpers.TorchDistributedEnvironment()
        environment.export(set_cuda_visible_devices=False, overwrite=True)
        status, requeue = self._run()
        if requeue and status in (self.stopped, -signal.SIGTERM):
            number, answer = requeue
            answer(number, None)
        elif status:
            raise RuntimeError(f"the run has ended with status {status}; what it says stands above")

    def checkpoint(self) -> Any:
        """What submitit submits in place of a job that it requeues: the same."""
        from submitit import helpers

        return helpers.DelayedSubmission(self)

    def _run(self) -> tuple[int, tuple[int, Any] | None]:
        """(the exit status, the signal that came and submitit's answer to it)."""
        answers: dict[int, Any] = {
            number: handler
            for number in (signal.SIGUSR1, signal.SIGUSR2)
            if callable(handler := signal.getsignal(number))
        }
        came: list[int] = []
        # Slurm's signal reaches all processes of a task; where nobody handles it, it would end them.
        process = subprocess.Popen(
            self.command,
            preexec_fn=lambda: [signal.signal(number, signal.SIG_IGN) for number in answers],
        )

        def ask_to_stop(number: int, _frame: FrameType | None) -> None:
            if not came:
                process.terminate()
            came.append(number)

        for number in answers:
            signal.signal(number, ask_to_stop)
        try:
            status = process.wait()
        finally:
            for number, handler in answers.items():
                signal.signal(number, handler)
        return status, (came[0], answers[came[0]]) if came else None


def _import_submitit() -> Any:
    """submitit, which leaves the logs of this process as they are.

    When it is imported it would configure them, which closes every handler that there is, and with absl's
    (of TensorBoard, of OpenVINO) `sys.stderr`. In a job it configures them as ever.
    """
    asked = os.environ.get(_LOG_LEVEL)
    os.environ[_LOG_LEVEL] = "NOCONFIG"
    try:
        import submitit
    except ImportError:
        raise MissingLibraryError(
            f"jobs are submitted through submitit, which is not installed; run: {install('slurm')}"
        ) from None
    finally:
        if asked is None:
            del os.environ[_LOG_LEVEL]
        else:
            os.environ[_LOG_LEVEL] = asked
    return submitit


def submit(
    words: Sequence[str], job: SlurmJob, folder: Path | str, stopped: int
) -> tuple[str, Path]:
    """Submit `uniformer-video run` with these words; (the job's number, the log of its main process).

    folder: of scripts and logs. stopped: as for `SlurmRun`. Raises `MissingLibraryError` without submitit,
    and `ConfigError` where there is no Slurm or it refuses the job.
    """
    submitit = _import_submitit()
    for program in ("sbatch", "srun"):
        if not shutil.which(program):
            raise ConfigError(
                f"there is no {program} on the PATH; submit from a machine of the Slurm cluster"
            )
    try:
        executor = submitit.AutoExecutor(
            Path(folder), cluster="slurm", slurm_max_num_timeout=_REQUEUES
        )
        executor.update_parameters(**job.parameters())
        command = [sys.executable, "-u", "-m", "uniformer_video", "run", *words]
        submitted = executor.submit(SlurmRun(command, stopped))
    except (RuntimeError, subprocess.SubprocessError) as error:  # submitit's are of the first kind
        raise ConfigError(f"Slurm refuses the job: {one_line(error)}") from None
    return submitted.job_id, submitted.paths.stdout

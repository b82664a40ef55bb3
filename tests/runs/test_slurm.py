"""`submit-slurm`: the job's script, its processes, and that it goes on by itself.

Slurm is replaced by three scripts on the PATH: `sbatch` starts a job at once, `srun` its processes on this
machine, and `scontrol requeue` starts it again.
"""

import logging
import os
import re
import signal
import stat
import sys
import textwrap
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import simplejson
from tiny_run import tiny_overrides

from uniformer_video.commands.slurm import _minutes
from uniformer_video.config.settings import load_config
from uniformer_video.runs.run import run
from uniformer_video.runs.slurm import SlurmRun, _import_submitit
from uniformer_video.weights.checkpoint import read_weights

needs_submitit = pytest.mark.skipif(
    find_spec("submitit") is None, reason="needs submitit (the extra `slurm`)"
)
ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs/demo/uniformer_demo.yaml"
SCRIPTS = {
    "sbatch": """
        cp "$1" "$SLURM_FAKE/job.sh"
        grep -h '^#SBATCH' "$1" > "$SLURM_FAKE/options"
        echo "Submitted batch job 42"
        setsid "$SLURM_FAKE/start" > "$SLURM_FAKE/batch.log" 2>&1 &
    """,
    "start": """
        export SLURM_JOB_ID=42 SLURM_JOB_NUM_NODES=1 SLURM_JOB_NODELIST=localhost SLURM_NODEID=0
        export SLURM_NTASKS=$(sed -n 's/.*--ntasks-per-node=//p' "$SLURM_FAKE/options")
        exec bash "$SLURM_FAKE/job.sh"
    """,
    "srun": """
        while [[ $1 == --* ]]; do
            [[ $1 == --output ]] && { log=$2; shift; }
            shift
        done
        for ((task = 0; task < SLURM_NTASKS; task++)); do
            file=${log//%j/42}
            SLURM_PROCID=$task SLURM_LOCALID=$task "$@" >> "${file//%t/$task}" 2>&1 &
        done
        wait
        echo "$SLURM_JOB_ID is over" >> "$SLURM_FAKE/over"
    """,
    "scontrol": """
        echo "$@" >> "$SLURM_FAKE/scontrol.log"
        setsid bash -c "sleep 1; exec '$SLURM_FAKE/start'" > "$SLURM_FAKE/batch2.log" 2>&1 &
    """,
}


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """The folder of a Slurm that is none."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in SCRIPTS.items():
        path = folder / name
        path.write_text(f"#!/bin/bash\n{textwrap.dedent(text)}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_FAKE", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield folder
    signal_all(folder, signal.SIGKILL)


def signal_all(folder, number):
    """Signal every process of this Slurm's tasks, as Slurm does.

    Their environment tells which they are: a number that one of them had may be another process's by now.
    """
    mark = f"SLURM_FAKE={folder}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            its = (entry / "environ").read_bytes().split(b"\0")
            if mark in its and any(part.startswith(b"SLURM_PROCID=") for part in its):
                os.kill(int(entry.name), number)
        except OSError:  # it has ended, or is another user's
            continue


def wait_until(is_so, seconds=120):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def text_of(path):
    return path.read_text(errors="replace") if path.exists() else ""


def submit(call, words, *options):
    common = [
        "--cfg",
        str(ROOT / "configs/demo/uniformer_demo.yaml"),
        "--time",
        "60",
        "--cpus",
        "1",
    ]
    return call(*common, *options, *words, command="submit-slurm")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("processes", [1, 2])
@needs_submitit
def test_a_job_that_is_signalled_saves_requeues_and_ends_as_one_that_was_not(
    slurm, call, demo, tmp_path, processes
):
    settings = {"SOLVER__MAX_EPOCH": 3, "TEST__ENABLE": False, "NUM_GPUS": processes}
    settings |= {"TRAIN__BATCH_SIZE": 2, "DATA_LOADER__NUM_WORKERS": 1}
    words = tiny_overrides(demo, tmp_path / "run", **settings)
    status, out, _ = submit(call, words, "--gpus", "0", "--processes", str(processes))
    assert status == 0 and "Submitted job 42" in out
    log = Path(re.search(r"its log: (.*)", out)[1])
    wait_until(lambda: "step 3/" in text_of(log))
    signal_all(slurm, signal.SIGUSR2)
    wait_until(lambda: "requeue 42" in text_of(slurm / "scontrol.log"))
    wait_until(lambda: "Trained in" in text_of(log))
    wait_until(lambda: text_of(slurm / "over").count("is over") == 2)
    told = text_of(log)
    assert "Stopped; what was finished is saved" in told and told.count("Resuming at epoch") == 1
    assert "Traceback" not in told
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    steps = [line["step"] for line in map(simplejson.loads, lines) if line["kind"] == "train"]
    assert steps == list(range(1, 25))
    if processes == 1:
        run(load_config(CONFIG, tiny_overrides(demo, tmp_path / "whole", **settings)), "whole")
        expected = read_weights(tmp_path / "whole" / "last.pt").state
        found = read_weights(tmp_path / "run" / "last.pt").state
        assert all(found[key].equal(tensor) for key, tensor in expected.items())


@needs_submitit
def test_what_slurm_is_asked_for(slurm, call, tiny):
    (slurm / "start").write_text("#!/bin/bash\n")
    options = ["--gpus", "4", "--nodes", "2", "--partition", "long", "--sbatch", "account=me"]
    parts = {"NUM_GPUS": 2, "NUM_SHARDS": 2, "SOLVER__ACCUMULATION_STEPS": 2}  # 8 in all
    status, _, _ = submit(call, tiny(**parts), *options, "--name", "mine")
    assert status == 0
    asked = (slurm / "options").read_text()
    for option in (
        "--nodes=2",
        "--ntasks-per-node=4",
        "--gpus-per-node=4",
        "--cpus-per-task=1",
        "--time=60",
        "--signal=USR2@300",
        "--partition=long",
        "--account=me",
        "--job-name=mine",
    ):
        assert f"#SBATCH {option}\n" in asked


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--nodes", "3"], "3 processes .* cannot share the 1 equal parts"),
        (["--sbatch", "account"], "must be OPTION=VALUE"),
        (["--time", "soon"], "'soon' is none of"),
        (["--time", "5"], "--signal-seconds 300 asks the run to save before it begins"),
        (["--gpus", "-1"], "not a whole number|expected one argument"),
        (["SOLVER.BASE_RL", "1"], "unknown setting SOLVER.BASE_RL"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_submitted(options, said, slurm, call, tiny):
    status, _, errors = submit(call, tiny(), *options)
    assert status == 2 and re.search(said, errors) and "Traceback" not in errors
    assert not (slurm / "options").exists()


def test_without_slurm_and_without_submitit(call, tiny, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "submitit", None)
    status, _, errors = submit(call, tiny())
    assert status == 2 and 'pip install "uniformer-video[slurm]"' in errors
    monkeypatch.undo()
    if not find_spec("submitit"):
        pytest.skip("the rest needs submitit (the extra `slurm`)")
    monkeypatch.setenv("PATH", str(tmp_path))
    status, _, errors = submit(call, tiny())
    assert status == 2 and "there is no sbatch on the PATH" in errors


@needs_submitit
def test_a_job_that_slurm_refuses(slurm, call, tiny):
    (slurm / "sbatch").write_text("#!/bin/bash\necho 'invalid partition' >&2\nexit 1\n")
    status, _, errors = submit(call, tiny())
    assert status == 2 and "Slurm refuses the job" in errors and "invalid partition" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("text", "minutes"), [("90", 90), ("1:30:00", 90), ("2-00:00:00", 2880), ("0:00:01", 1)]
)
def test_ways_to_write_a_time(text, minutes):
    assert _minutes(text) == minutes


STOPS = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(130)); "


@pytest.mark.parametrize(
    ("script", "asked", "requeued"),
    [
        (STOPS + "open(sys.argv[1], 'w'); time.sleep(60)", True, True),
        ("import sys, time; open(sys.argv[1], 'w'); time.sleep(60)", True, True),  # not yet ready
        ("import sys; open(sys.argv[1], 'w'); sys.exit(0)", False, False),
        (
            "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); "
            "open(sys.argv[1], 'w'); time.sleep(60)",
            True,
            False,
        ),
    ],
)
def test_submitit_answers_the_signal_once_the_run_has_stopped(
    script, asked, requeued, tmp_path, monkeypatch
):
    """Also where nothing is to be done any more: a run that has ended well is not requeued."""
    answered, ready = [], tmp_path / "ready"
    previous = signal.signal(signal.SIGUSR2, lambda number, _: answered.append(number))
    try:
        if asked:
            watch = f"while [ ! -e {ready} ]; do sleep 0.05; done; kill -USR2 {os.getpid()}"
            os.system(f"({watch}) &")
        command = SlurmRun([sys.executable, "-c", script, str(ready)], stopped=130)
        status, came = command._run()
        assert signal.getsignal(signal.SIGUSR2) is not previous and not answered
    finally:
        signal.signal(signal.SIGUSR2, previous)
    assert bool(came) == asked and (status != 0) == requeued


@needs_submitit
def test_the_logs_of_this_process_stay_as_they_are(monkeypatch):
    monkeypatch.delenv("SUBMITIT_LOG_LEVEL", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "submitit"]:
        monkeypatch.delitem(sys.modules, name)
    closed = []
    handler = logging.NullHandler()
    monkeypatch.setattr(handler, "close", lambda: closed.append(handler))
    assert _import_submitit().AutoExecutor and not closed
    assert "SUBMITIT_LOG_LEVEL" not in os.environ

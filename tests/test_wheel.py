"""The toolkit as an installed user has it: a wheel, built from the source release, outside the check-out."""

import os
import re
import shlex
import shutil
import site
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from tiny_run import tiny_overrides
from toy_folder import make_toy_folder

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
REPORT_LIBRARIES = ("jinja2", "matplotlib", "tensorboard")


def call(*command, cwd, env=None, status=0):
    """What a command has printed; it must end with `status`, unless that is None."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert status is None or done.returncode == status, done.stdout
    return done.stdout


def copy_sources(target):
    """The check-out without what it has made, and with a file beside a guide that nobody ships."""

    def left_out(folder, names):
        inside = Path(folder).relative_to(ROOT).parts
        made = {name for name in names if name.startswith((".", "__pycache__"))}
        if not inside:
            return made | {"build", "dist", "runs", "weights"}
        is_data = inside[0] == "datasets" and len(inside) == 2
        return made | {name for name in names if is_data and name != "README.md"}

    shutil.copytree(ROOT, target, ignore=left_out)
    for leftover in target.glob("*.egg-info"):
        shutil.rmtree(leftover)
    own = target / "datasets/k400/videos/README.md"
    own.parent.mkdir()
    own.write_text("not shipped")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The source release and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("built")
    copy_sources(folder / "source")
    call(sys.executable, "setup.py", "-q", "sdist", "-d", folder, cwd=folder / "source")
    (release,) = folder.glob("*.tar.gz")
    build = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, release)
    call(sys.executable, "-m", "pip", *build, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return release, wheel


@pytest.fixture(scope="module")
def user(built, tmp_path_factory):
    """A function: call a program of an environment that has the wheel, and no check-out; what it prints.

    The libraries are those of this environment, seen through a path file, which does not bring its
    editable install along. lacking: libraries that cannot be imported.
    """
    home = tmp_path_factory.mktemp("user")
    call(sys.executable, "-m", "venv", "--without-pip", home / "venv", cwd=home)
    python = home / "venv" / "bin" / "python"
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "UNIF"))
    }
    install = ("install", "--quiet", "--no-deps", "--no-index", built[1])
    call(sys.executable, "-m", "pip", "--python", python, *install, cwd=home, env=kept)
    (packages,) = (home / "venv").glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text("\n".join(site.getsitepackages()))
    for library in REPORT_LIBRARIES:
        (home / "lacking").mkdir(exist_ok=True)
        (home / "lacking" / f"{library}.py").write_text("raise ModuleNotFoundError(__name__)")
    env = {**kept, "HOME": str(home), "PATH": f"{python.parent}:/usr/bin:/bin"}
    (home / "work").mkdir()

    def run(*words, lacking=False, status=0):
        hidden = {"PYTHONPATH": str(home / "lacking")} if lacking else {}
        return call(*words, cwd=home / "work", env={**env, **hidden}, status=status)

    run.folder, run.packages = home / "work", packages
    return run


def shipped(folder=ROOT):
    """The configs and guides of a check-out, as paths in it."""
    guides = [*folder.glob("datasets/README.md"), *folder.glob("datasets/*/README.md")]
    files = [*folder.glob("configs/**/*.yaml"), *guides]
    return {path.relative_to(folder).as_posix() for path in files}


def test_what_is_in_the_source_release_and_the_wheel(built):
    release, wheel = built
    with tarfile.open(release) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
    assert shipped() <= names
    assert {"LICENSE", "CHANGELOG.md", "Makefile", "constraints.txt", "tests/conftest.py"} <= names
    with zipfile.ZipFile(wheel) as files:
        names = set(files.namelist())
        (metadata,) = (name for name in names if name.endswith("/METADATA"))
        text = files.read(metadata).decode()
    inside = {
        name.removeprefix("uniformer_video/shipped/") for name in names if "/shipped/" in name
    }
    assert inside == shipped()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names} == {"uniformer_video", metadata.split("/")[0]}
    for line in (
        r"Author: .+",
        r"Project-URL: .+https://",
        r"Classifier: .*3\.13",
        r"License.*: Apache-2\.0",
    ):
        assert re.search(f"^{line}", text, re.MULTILINE), line


def test_what_is_shipped_is_found(user):
    where = user("python", "-c", "import uniformer_video; print(uniformer_video.__file__)")
    assert "site-packages" in where and str(ROOT) not in where
    assert re.fullmatch(r"uniformer-video \d+\.\d+\.\d+\n", user("uniformer-video", "--version"))
    listed = user("uniformer-video", "configs", "k400")
    assert "k400/uniformer_s_16x4_published  " in listed
    names = ("k400/uniformer_s_16x4", "k400/uniformer_s_16x4_published.yaml")
    differ = user("uniformer-video", "config", "diff", *names).splitlines()
    assert differ[1:] == [f"{'UNIFORMER.LOCAL_KERNEL':22}  {'[3, 5, 5]':21}  [5, 5, 5]"]
    failed = user("uniformer-video", "run", "--cfg", names[0], status=2)
    told = re.search(r"How to get and prepare them: `(.*)`", failed)[1]
    assert "# Kinetics-400" in user(*shlex.split(told))


def test_a_whole_run(user):
    """Videos, training, a test without the page's libraries, the page, a test with them, predictions."""
    made = ("--train", "16", "--val", "8", "--test", "8", "--out", "videos")
    user("uniformer-video", "make-demo-data", *made)
    (user.folder / "mine.yaml").write_text("_BASE_: demo/uniformer_demo\nRNG_SEED: 3\n")
    words = tiny_overrides("videos", "trained", TENSORBOARD__ENABLE=True, AUG__ENABLE=False)
    run = ("uniformer-video", "run", "--cfg", "mine.yaml", *words)
    printed = user(*run, lacking=True)
    assert "Traceback" not in printed and "TensorBoard is not installed" in printed
    assert (user.folder / "trained/results.json").is_file()
    assert not (user.folder / "trained/report.html").exists()
    assert "backwards" in printed  # the demo's config is the base
    later = re.search(r"Then `(.*)` makes the page", printed)[1]
    user(*shlex.split(later))
    assert (user.folder / "trained/report.html").is_file()
    (user.folder / "trained/report.html").unlink()
    assert "trained/report.html" in user(*run)
    video = "videos/test/00000.mp4"
    best = ("--checkpoint", "trained/best.pt", "--top", "8")
    predicted = user("uniformer-video", "predict", video, *best)
    assert predicted.startswith(f"{video}\n") and "move left" in predicted
    torchrun = (
        "python",
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "1",
        "-m",
        "uniformer_video",
    )
    assert "tested already" in user(*torchrun, *run[1:])


def test_a_plugin(user):
    """From a folder of one's own: training, test, report, prediction; then installed, by its entry point."""
    made = ("--train", "8", "--val", "8", "--test", "8", "--out", "toy-videos")
    user("uniformer-video", "make-demo-data", *made)
    make_toy_folder(user.folder, user.folder / "toy-videos")
    assert "Report: run/report.html" in user("uniformer-video", "run", "--cfg", "toy.yaml")
    assert "8 videos of toy, says the toy" in (user.folder / "run/report.html").read_text()
    video = "toy-videos/test/00000.mp4"
    predict = ("uniformer-video", "predict", video, "--checkpoint", "run/best.pt")
    plugin = user.folder / "my_toy.py"
    assert f"--plugins {plugin}" in user(*predict, status=2)
    assert "odd" in user(*predict, "--plugins", "my_toy.py")
    assert "toy " in user("uniformer-video", "models", "--filter", "toy", "--plugins", "my_toy")
    about = user.packages / "my_toy-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-toy\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[uniformer_video.plugins]\nmy-toy = my_toy\n")
    plugin.rename(user.packages / "my_toy.py")
    try:
        assert "odd" in user(*predict)
        assert "toy " in user("uniformer-video", "models", "--filter", "toy")
    finally:
        shutil.rmtree(about)


def test_the_doctor(user):
    printed = user("uniformer-video", "doctor", "--quick", status=None)
    for about in ("libraries", "torch", "pyav", "disk, here"):
        assert re.search(rf"^(fine |note )  {about} ", printed, re.MULTILINE), printed
    printed = user("uniformer-video", "doctor", status=None)
    assert "All that is needed works." in printed or "WRONG" in printed  # it came to its end
    for about in ("pyav reads", "model", "videos", "training, test", "prediction"):
        assert re.search(rf"^fine   {about} ", printed, re.MULTILINE), printed

"""The README typed from top to bottom: each of its commands is known here, and runs on small files.

Models have few channels and clips are small; otherwise the commands are those of the README, in its order
and in one folder. A command that the README gains needs a line in `COMMANDS`, and a line whose command is
gone is told too.
"""

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from file_server import hub_answer, serve
from masked_pictures import write_masked_pictures
from PIL import Image
from tiny_run import TINY

from uniformer_video import cli
from uniformer_video.data.lists.class_names import class_names
from uniformer_video.zoo.create import build_network
from uniformer_video.zoo.dense import DENSE
from uniformer_video.zoo.registry import MODELS
from uniformer_video.zoo.uniformers import UNIFORMERS

ROOT = Path(__file__).parents[1]
PROGRAMS = {"python", "torchrun", "uniformer-video", "make", "git", "pip", "mkdir", ".", "ln", "cp"}
SMALL_CLIPS = ["DATA.NUM_FRAMES", "4", "DATA.TRAIN_CROP_SIZE", "32", "DATA.TEST_CROP_SIZE", "32"]
SHORT = [*SMALL_CLIPS, "SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_EPOCHS", "0"]
SHORT += ["DATA_LOADER.NUM_WORKERS", "0", "TENSORBOARD.ENABLE", "False", "TRAIN.BATCH_SIZE", "8"]
SCENES = ["DATA.TRAIN_CROP_SIZE", "64", "SEGMENTATION.SCALE", "[128, 64]"]
K400 = "k400/uniformer_s_16x4"


@dataclass(frozen=True)
class Known:
    """How a command is run here: with words `added`, in it some text `changed`; what it `makes`.

    reason: why it is not run, where it is not.
    """

    added: list = field(default_factory=list)
    changed: dict = field(default_factory=dict)
    makes: tuple = ()
    reason: str = ""


INSTALLS = Known(reason="installs into an environment of its own, from a package index")
MENTIONED = Known(added=["--help"])  # a tool is named, not called
DENSE_DEMO = Known(reason="minutes; `tests/prepare/test_dense_demo.py` makes a few of its pictures")
INFLATION = Known(reason="minutes; `tests/runs/test_inflation.py` does it on tiny sets")

COMMANDS = {
    "make demo": Known(reason="six minutes; `.ci/run` does it on fewer videos"),
    "make test": Known(reason="this is it"),
    'make demo DEMO_SETTINGS="RNG_SEED 1 OUTPUT_DIR runs/seed1"': Known(reason="as make demo"),
    "make install": INSTALLS,
    "make install TORCH_INDEX=https://download.pytorch.org/whl/cpu": INSTALLS,
    ". .venv/bin/activate": INSTALLS,
    "pip install .": INSTALLS,
    'pip install "uniformer-video[export]"': INSTALLS,
    "uniformer-video audit": MENTIONED,
    "python -m pip wheel --no-deps .": Known(reason="`tests/test_wheel.py` does it"),
    "uniformer-video doctor": Known(),
    "uniformer-video configs": Known(),
    "uniformer-video guide k400": Known(),
    "uniformer-video audit my_videos --checkpoint runs/folder/best.pt --out audit": Known(
        reason="`tests/audit` does it"
    ),
    "make lint": Known(reason="is called beside the tests"),
    "uniformer-video run": MENTIONED,
    "python tools/run_net.py --cfg configs/k400/uniformer_s_16x4.yaml": Known(
        reason="as uniformer-video run"
    ),
    "python -m uniformer_video run": Known(reason="as uniformer-video run"),
    "uniformer-video models": Known(),
    "mkdir by_heart && ln -s ../my_videos by_heart/train && ln -s ../my_videos by_heart/val": Known(
        makes=("by_heart/train/jump", "by_heart/val/walk")
    ),
    "uniformer-video run --cfg demo/overfit TRAIN.DATASET folder "
    "DATA.PATH_TO_DATA_DIR by_heart": Known(
        added=[*SHORT[:10], "UNIFORMER.EMBED_DIM", "[8,8,16,16]", "DATA_LOADER.NUM_WORKERS", "0"],
        makes=("runs/overfit/report.html",),
    ),
    "uniformer-video run --cfg finetune/folder DATA.PATH_TO_DATA_DIR my_videos "
    "UNIFORMER.PRETRAIN_NAME uniformer_small_k400_16x4.pth": Known(
        added=SHORT, makes=("runs/folder/best.pt", "runs/folder/report.html")
    ),
    "uniformer-video run --cfg images/small OUTPUT_DIR runs/my_images DATA.PATH_TO_DATA_DIR my_pictures "
    "UNIFORMER.PRETRAIN_NAME uniformer_small_in1k.pth": Known(
        added=SHORT[2:], makes=("runs/my_images/best.pt", "runs/my_images/report.html")
    ),
    "uniformer-video predict new_picture.jpg --checkpoint runs/my_images/best.pt": Known(),
    "uniformer-video run --cfg masks/small OUTPUT_DIR runs/my_masks DATA.PATH_TO_DATA_DIR my_scenes "
    "UNIFORMER.PRETRAIN_NAME uniformer_small_in1k.pth": Known(
        added=[*SCENES, *SHORT[6:]], makes=("runs/my_masks/best.pt", "runs/my_masks/report.html")
    ),
    "uniformer-video predict new_picture.jpg new_video.mp4 --checkpoint runs/my_masks/best.pt "
    "--overlay coloured --steady": Known(
        makes=("coloured/new_picture.png", "coloured/new_video.mp4")
    ),
    "uniformer-video advise my_videos": Known(added=["--quick", "--weights", "none"]),
    "uniformer-video advise": MENTIONED,
    "uniformer-video run --cfg finetune/folder DATA.PATH_TO_DATA_DIR my_videos "
    "MODEL.MODEL_NAME uniformer_xxs SOLVER.BASE_LR 1e-3 TEACHER.CHECKPOINT runs/folder/best.pt "
    "OUTPUT_DIR runs/small": Known(added=SHORT, makes=("runs/small/report.html",)),
    "uniformer-video run --cfg finetune/folder DATA.PATH_TO_DATA_DIR my_videos TRAIN.ENABLE False "
    "TEST.SPLIT train TEST.CHECKPOINT_FILE_PATH runs/folder/best.pt OUTPUT_DIR runs/answers": Known(
        added=SHORT, makes=("runs/answers/scores.npz",)
    ),
    "uniformer-video run --cfg finetune/folder DATA.PATH_TO_DATA_DIR my_videos "
    "MODEL.MODEL_NAME uniformer_xxs SOLVER.BASE_LR 1e-3 TEACHER.SCORES runs/answers "
    "OUTPUT_DIR runs/small_by_answers": Known(
        added=SHORT, makes=("runs/small_by_answers/report.html",)
    ),
    "uniformer-video crossval --cfg finetune/folder OUTPUT_DIR runs/folds DATA.FOLDS 5 "
    "DATA.PATH_TO_DATA_DIR my_videos UNIFORMER.PRETRAIN_NAME uniformer_small_k400_16x4.pth": Known(
        added=[*SHORT, "TRAIN.BATCH_SIZE", "2"],
        changed={"DATA.FOLDS 5": "DATA.FOLDS 2"},
        makes=("runs/folds/fold1/best.pt", "runs/folds/report.html"),
    ),
    "uniformer-video compare runs/folder runs/small": Known(
        makes=("runs/compare-folder-small/compare.html", "runs/compare-folder-small/compare.json")
    ),
    "uniformer-video run --cfg finetune/folder DATA.PATH_TO_DATA_DIR my_videos "
    "UNIFORMER.PRETRAIN_NAME uniformer_small_k400_16x4.pth TEST.MOTION_CHECK True "
    "TEST.ROBUSTNESS '[drop,jpeg]'": Known(added=SHORT, makes=("runs/folder/variants.npz",)),
    "uniformer-video predict new_video.mp4 --checkpoint runs/folder/best.pt": Known(),
    "uniformer-video predict folder_of_videos --checkpoint runs/folder/best.pt --json": Known(),
    "uniformer-video predict folder_of_videos --checkpoint runs/folder/best.pt --out answers.csv": Known(
        makes=("answers.csv",)
    ),
    "uniformer-video timeline new_video.mp4 --checkpoint runs/folder/best.pt --out timeline": Known(
        makes=("timeline/timeline.html", "timeline/segments.srt")
    ),
    "uniformer-video timeline timeline --score truth.csv --render labelled.mp4": Known(
        makes=("labelled.mp4",)
    ),
    "uniformer-video features folder_of_videos --checkpoint runs/folder/best.pt --out features.npz": Known(
        makes=("features.npz",)
    ),
    "uniformer-video neighbours features.npz new_video.mp4 --checkpoint runs/folder/best.pt": Known(),
    "uniformer-video explain new_video.mp4 --checkpoint runs/folder/best.pt --out heat": Known(
        makes=("heat/new_video_heat.npz", "heat/new_video_heat.png", "heat/new_video_heat.mp4")
    ),
    "uniformer-video export runs/folder/best.pt --out model.onnx --preprocess": Known(
        makes=("model.onnx", "model.onnx.json")
    ),
    "uniformer-video watch new_video.mp4 --checkpoint runs/folder/best.pt": Known(),
    f"uniformer-video run --cfg {K400}": Known(
        added=SHORT, makes=("runs/uniformer_s_16x4/report.html",)
    ),
    f"uniformer-video run --cfg {K400}_published": Known(
        added=SHORT, makes=("runs/uniformer_s_16x4_published/report.html",)
    ),
    "uniformer-video convert uniformer_small_k400_16x4.pth --out s_k400.pt": Known(
        makes=("s_k400.pt",)
    ),
    "uniformer-video predict my_video.mp4 --checkpoint s_k400.pt": Known(),
    f"uniformer-video run --cfg {K400}_published TRAIN.ENABLE False "
    "TEST.CHECKPOINT_FILE_PATH s_k400.pt DATA.CLASS_NAMES k400": Known(added=SMALL_CLIPS),
    "uniformer-video remap-labels": MENTIONED,
    "uniformer-video inflate": MENTIONED,
    "uniformer-video flops uniformer_s --frames 32": Known(changed={"32": "4 --size 32"}),
    "uniformer-video flops semantic_fpn_uniformer_s --window 14 --hybrid --size 512x2048": Known(
        changed={"512x2048": "32x64"}
    ),
    "uniformer-video convert theirs.pth --out ours.pt": Known(makes=("ours.pt",)),
    "uniformer-video convert ours.pt --out published.pth --to published": Known(
        makes=("published.pth",)
    ),
    "uniformer-video inflate uniformer_small_in1k.pth --out uniformer_s_3d.pt --check": Known(
        makes=("uniformer_s_3d.pt",)
    ),
    "uniformer-video find-lr": MENTIONED,
    "uniformer-video find-lr --cfg finetune/folder DATA.PATH_TO_DATA_DIR my_videos": Known(
        reason="a few videos need not show where their loss falls; `tests/runs/test_find_rate.py` does it"
    ),
    "uniformer-video average runs/folder/epoch_*.pt --out mean.pt": Known(
        changed={"runs/folder/epoch_*.pt": "runs/folder/best.pt runs/folder/last.pt"},
        makes=("mean.pt",),
    ),
    "uniformer-video calibrate runs/folder --out calibrated.pt --false-accepts 0.05 "
    "--unknown other_videos": Known(
        reason="a few videos tell no temperature; `tests/runs/test_calibrate.py` does it"
    ),
    "uniformer-video predict new_video.mp4 --checkpoint calibrated.pt": Known(
        reason="as the one before it"
    ),
    "uniformer-video config --keys": Known(),
    "uniformer-video config --cfg demo/uniformer_demo": Known(),
    f"uniformer-video config diff {K400} mine.yaml": Known(
        changed={"mine.yaml": f"{K400}_published"}
    ),
    "uniformer-video rescore runs/folder --out runs/one_clip --clips 1 --score softmax": Known(
        makes=("runs/one_clip/report.html", "runs/one_clip/scores.npz")
    ),
    "uniformer-video rescore runs/folder --out runs/two --classes jump walk --videos '*.mp4'": Known(
        makes=("runs/two/report.html",)
    ),
    "uniformer-video export-predictions runs/folder --out predictions.csv": Known(
        makes=("predictions.csv",)
    ),
    "uniformer-video report runs/folder runs/one_clip --markdown": Known(),
    "uniformer-video report runs/folder --explain 12": Known(makes=("runs/folder/report.html",)),
    f"uniformer-video run --cfg {K400} --from best SOLVER.BASE_LR 5e-5": Known(
        added=[*SHORT, "SOLVER.MAX_EPOCH", "2"]
    ),
    f"torchrun --nproc_per_node 8 -m uniformer_video run --cfg {K400}": Known(
        changed={"--nproc_per_node 8": "--nproc_per_node 2"},
        makes=("runs/processes/results.json",),
    ),
    f"torchrun --nproc_per_node 2 --max-restarts 3 -m uniformer_video run --cfg {K400}": Known(),
    "tools/submit_slurm.py": MENTIONED,
    f"uniformer-video submit-slurm --cfg {K400} --nodes 1 --gpus 8 --time 24:00:00 "
    "--partition long": Known(reason="needs Slurm; `tests/runs/test_slurm.py` does it without"),
    "uniformer-video submit-slurm": MENTIONED,
    "uniformer-video run --cfg finetune/folder --plugins my_net MODEL.MODEL_NAME my_net "
    "MYNET.WIDTH 96 DATA.PATH_TO_DATA_DIR my_videos OUTPUT_DIR runs/my_net": Known(
        changed={"WIDTH 96": "WIDTH 8"}, added=SHORT, makes=("runs/my_net/report.html",)
    ),
    "uniformer-video bench loader --cfg FILE": Known(
        changed={"FILE": f"{K400} --clips 2 --repeat 1 --workers 1"}, added=SHORT
    ),
    "uniformer-video bench run --cfg FILE --test": Known(
        changed={"FILE": f"{K400} --steps 1 --videos 2 --repeat 1"}, added=SHORT
    ),
    "uniformer-video prepare": MENTIONED,
    "uniformer-video prepare shards": MENTIONED,
    "uniformer-video prepare token-labels": MENTIONED,
    "uniformer-video prepare resize": MENTIONED,
    "uniformer-video prepare check": MENTIONED,
    "uniformer-video prepare check --overlap train.csv val.csv test.csv": MENTIONED,
    "uniformer-video bench decode": MENTIONED,
    "uniformer-video inflate image.pt --check-file video.pt": MENTIONED,
    "make demo-dense": DENSE_DEMO,
    'make demo-dense DEMO_SETTINGS="RNG_SEED 1 OUTPUT_DIR runs/dense1"': DENSE_DEMO,
    "uniformer-video make-demo-data --dense": Known(
        added=["--train", "4", "--val", "2", "--test", "2"], makes=("datasets/dense/classes.txt",)
    ),
    "uniformer-video run --cfg demo/dense": DENSE_DEMO,
    "make demo-inflate": INFLATION,
    'make demo-inflate DEMO_SETTINGS="RNG_SEED 1"': INFLATION,
    "uniformer-video bench inflation --cfg demo/inflate": INFLATION,
}


def readme_parts():
    """(language, text) of the blocks between fences, "" = commands; None for the prose around them."""
    pieces = re.split(r"^```(\w*)\n(.*?)^```$", (ROOT / "README.md").read_text(), flags=re.M | re.S)
    yield None, pieces[0]
    for language, block, prose in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
        yield language, block
        yield None, prose


def readme_commands():
    """Every command of the README in its order, on one line each; those in its prose too."""
    for language, text in readme_parts():
        if language is None:
            quoted = (" ".join(words.split()) for words in re.findall(r"`([^`]+)`", text))
            yield from (words for words in quoted if _is_command(words))
        elif language == "":
            for line in text.replace("\\\n", " ").splitlines():
                command = " ".join(re.sub(r"\s#\s.*", "", line).split())
                if command and not command.startswith(("my_videos/", "my_pictures/", "my_scenes/")):
                    yield command


def _is_command(words):
    program, _, rest = words.partition(" ")
    return (program in PROGRAMS and rest) or re.match(r"tools/\w+\.py", words)


def test_every_command_is_known():
    assert set(readme_commands()) == set(COMMANDS)


def test_what_a_config_says_to_type_is_what_the_readme_says():
    typed = " ".join((ROOT / "configs/demo/overfit.yaml").read_text().replace("\n#", "").split())
    typed = typed.replace("\\ ", "")
    commands = [command for command in COMMANDS if "by_heart" in command]
    assert commands and all(command in typed for command in commands)


@pytest.fixture
def folder(tmp_path, monkeypatch, demo):
    """A checkout with a user's files beside it, where named models have few channels."""
    monkeypatch.chdir(tmp_path)
    programs = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    monkeypatch.setenv("PATH", programs)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    for known in (*UNIFORMERS, *DENSE):
        head_dim = max(4, known.arguments["head_dim"] // 8)
        narrow = {**known.arguments, "embed_dims": [8, 8, 16, 16], "head_dim": head_dim}
        monkeypatch.setitem(MODELS, known.name, replace(known, arguments=narrow))
    _write_videos(tmp_path, sorted((demo / "train").glob("*.mp4")))
    _write_pictures(tmp_path)
    _write_weights(tmp_path)
    return tmp_path


def _write_pictures(folder):
    for place in range(10):
        target = folder / "my_pictures" / ("cat" if place % 2 else "dog") / f"{place}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (48, 40), (20 * place, 80, 120)).save(target)
    shutil.copy(target, folder / "new_picture.jpg")
    write_masked_pictures(folder / "my_scenes", train=8, val=2)


def _write_videos(folder, videos):
    for place, video in enumerate(videos[:10]):
        target = folder / "my_videos" / ("jump" if place % 2 else "walk") / video.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(video, target)
    (folder / "folder_of_videos").mkdir()
    (folder / "truth.csv").write_text("start,end,label\n0,1,0\n")
    for name in ("new_video.mp4", "my_video.mp4", "folder_of_videos/a.mp4"):
        shutil.copy(videos[0], folder / name)
    lists = folder / "datasets" / "k400"
    lists.mkdir(parents=True)
    rows = [f"{video},{place * 20}\n" for place, video in enumerate(videos[:16])]
    (lists / "train.csv").write_text("".join(rows))
    (lists / "val.csv").write_text("".join(rows[:2]))
    (lists / "classes.txt").write_text("".join(f"{name}\n" for name in class_names("k400")))


def _write_weights(folder):
    torch.manual_seed(0)
    video = build_network("uniformer_s", 400, local_kernel=(5, 5, 5)).state_dict()
    torch.save(video, folder / "uniformer_small_k400_16x4.pth")
    trained = {"epoch": 1, "model_state": video, "cfg": "UNIFORMER:\n  HEAD_DIM: 8\n"}
    for name in ("theirs.pth", "k400.pth"):  # other names tell nothing, so the file does
        torch.save(trained, folder / name)
    (folder / "weights").mkdir()
    for name in ("uniformer_small_in1k.pth", "weights/uniformer_small_in1k.pth"):
        torch.save(build_network("image_uniformer_s", 1000).state_dict(), folder / name)


def _type(command, known, monkeypatch, capsys):
    """Run a command as `Known` says; its errors where it fails, else ""."""
    for old, new in known.changed.items():
        assert old in command
        command = command.replace(old, new)
    program, *words = [*shlex.split(command), *known.added]
    if (
        program in ("mkdir", "torchrun") or "--plugins" in words
    ):  # which this process is not to know
        command = f"{command} {shlex.join(known.added)}"
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=300)
        return done.returncode and done.stderr
    if program == "python":
        program, *words = words
    monkeypatch.setattr(sys, "argv", [program, *words])
    try:
        if program == "uniformer-video":
            status = cli.main(words)
        else:
            runpy.run_path(str(ROOT / program), run_name="__main__")
    except SystemExit as stop:
        status = stop.code
    return status and f"status {status}: {capsys.readouterr().err}"


@pytest.mark.slow
def test_typed_from_top_to_bottom(folder, monkeypatch, capsys):
    processes = {**TINY, "NUM_GPUS": "2", "OUTPUT_DIR": "runs/processes", "SOLVER.MAX_EPOCH": "1"}
    processes |= {"UNIFORMER.PRETRAIN_NAME": "", "SOLVER.WARMUP_EPOCHS": "0"}
    (folder / "my_net.py").write_text(next(block for block in _python() if "# my_net.py" in block))
    sizes = " ".join(shlex.quote(word) for pair in processes.items() for word in pair)
    for command in dict.fromkeys(readme_commands()):
        known = COMMANDS[command]
        if known.reason:
            continue
        if command.startswith("torchrun"):  # its processes know no narrow models
            known = replace(known, changed={**known.changed, K400: f"{K400} {sizes}"})
        failure = _type(command, known, monkeypatch, capsys)
        assert not failure, f"{command}\n{failure}"
        assert all((folder / path).exists() for path in known.makes), command
    _run_python(folder, monkeypatch)


def _python():
    return [text for language, text in readme_parts() if language == "python"]


def _run_python(folder, monkeypatch):
    """The blocks of Python, with the hub's file from a server of the test's own."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    weights = Path("uniformer_small_k400_16x4.pth").read_bytes()
    path = "/Sense-X/uniformer_video/resolve/main/uniformer_small_k400_16x8.pth"
    elsewhere = ("# my_net.py", "import torchvision", "from torchvision")
    blocks = [block for block in _python() if not any(word in block for word in elsewhere)]
    assert len(blocks) == 3 and sum(block.count("**settings") for block in blocks) == 1
    short = dict(zip(SHORT[::2], SHORT[1::2], strict=True))
    blocks = [block.replace("**settings", f"**settings, **{short}") for block in blocks]
    with serve({path: hub_answer(weights)}) as (host, _):
        monkeypatch.setenv("HF_ENDPOINT", host)
        names = {}
        for block in blocks:
            exec(block, names)
    assert names["model"].num_classes == 51


def test_backbones_in_detectors_that_are_not_installed(tmp_path, monkeypatch):
    """As far as these ask: torchvision for ordered maps of one width, MMDetection for a tuple."""
    made, registered = [], {}

    def mask_rcnn(backbone, num_classes):
        made.append(backbone)

    def register_module():
        return lambda function: registered.setdefault(function.__name__, function)

    modules = {
        "torchvision.models.detection": SimpleNamespace(MaskRCNN=mask_rcnn),
        "mmdet.registry": SimpleNamespace(MODELS=SimpleNamespace(register_module=register_module)),
    }
    for name, module in modules.items():
        for place in range(1, name.count(".") + 2):
            parent = ".".join(name.split(".")[:place])
            monkeypatch.setitem(
                sys.modules, parent, module if parent == name else ModuleType(parent)
            )
    monkeypatch.chdir(tmp_path)
    torch.save(build_network("image_uniformer_s", 1000).state_dict(), "uniformer_small_in1k.pth")
    (block,) = (block for block in _python() if "from torchvision" in block)
    names = {}
    exec(block, names)
    image = torch.zeros(1, 3, 64, 96)
    maps = made[0](image)
    assert list(maps) == ["0", "1", "2", "3", "pool"]
    assert {each.shape[1] for each in maps.values()} == {made[0].out_channels}
    options = dict(names["backbone"])
    backbone = registered[options.pop("type")](**options)
    tuple_of_maps = backbone(image)
    assert isinstance(tuple_of_maps, tuple)
    assert [each.shape[1] for each in tuple_of_maps] == backbone.channels
    assert names["neck"]["in_channels"] == backbone.channels
    assert backbone.checkpoint_blocks == (0, 0, 8, 0)

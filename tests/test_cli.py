"""The commands as a user types them: exit status, one clear line, no traceback."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import uniformer_video
from uniformer_video import cli
from uniformer_video.data.lists.class_names import class_names
from uniformer_video.weights.checkpoint import write_checkpoint
from uniformer_video.zoo.create import build_network

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "tool",
    [
        "run_net",
        "inflate_weights",
        "convert_checkpoint",
        "predict",
        "make_demo_data",
        "prepare_dataset",
    ],
)
def test_every_tool_explains_itself_without_being_installed(tool, tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / f"{tool}.py"), "--help"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:")


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "config",
        "configs",
        "guide",
        "doctor",
        "predict",
        "inflate",
        "convert",
        "models",
        "flops",
        "report",
        "rescore",
        "export-predictions",
        "make-demo-data",
        "prepare",
        "remap-labels",
        "bench",
    ],
)
def test_every_command_explains_itself(call, command):
    status, out, _ = call(command, "--help")
    assert status == 0
    assert len(out.splitlines()) > 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--cfg", "nowhere.yaml"], "cannot read the config file nowhere.yaml"),
        (["config", "DATA.NUM_FRAME", "3"], "did you mean DATA.NUM_FRAMES?"),
        (["config", "DATA.NUM_FRAMES"], "pairs"),
        (["config", "SOLVER.BASE_LR=1e-3"], "write SOLVER.BASE_LR 1e-3, with a blank"),
        (["predict", "", "--checkpoint", "no.pt"], "'' is not a file"),
        (["predict", "http://host/a.mp4", "--checkpoint", "no.pt"], "download it first"),
        (["predict", "x.mp4", "--checkpoint", "no.pt"], "no weights file no.pt"),
        (["inflate", "no.pth", "--out", "x.pt"], "no weights file no.pth"),
        (["inflate", "no.pth", "--out", "x.pt", "--local-kernel", "3x5"], "T,H,W"),
        (["report", "nowhere"], "nowhere"),
        (["configs", "k500"], "fits 'k500'; they are in ade20k, demo, finetune,"),
        (["guide", "k40"], "did you mean 'k400'?"),
        (["config", "diff", "k400/uniformer_s_8x8"], "config diff takes two configs"),
        (["config", "--cfg", "uniformer_s_8x8"], "did you mean k400/uniformer_s_8x8?"),
        (["make-demo-data", "--train", "0"], "at least 8"),
        (["make-demo-data", "--hard", "--videos", "5"], "it takes 48 or more"),
        (["make-demo-data", "--hard", "--train", "9"], "--train does not go with --hard"),
        (["make-demo-data", "--classes", "2"], "--classes goes with --hard"),
    ],
)
def test_mistakes_are_one_line_and_status_2(call, arguments, message):
    status, _, errors = call(*arguments)
    assert status == 2
    assert message in errors
    assert "Traceback" not in errors
    assert errors.startswith("error: ")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (["UNIFORMER.HEAD_DIM", "7"], "(UNIFORMER.HEAD_DIM) does not divide"),
        (["AUG.ENABLE", "False", "AUG.NUM_SAMPLE", "2"], "AUG.NUM_SAMPLE 2 (AUG.ENABLE is False)"),
        (["MODEL.MODEL_NAME", "uniformer_x"], "known models: uniformer_xxs"),
        (["AUG.AA_TYPE", "rand-m99"], "AUG.AA_TYPE"),
        (["MIXUP.ALPHA", "0", "MIXUP.CUTMIX_ALPHA", "0"], "MIXUP.ENABLE"),
        (["DATA.OPPOSITE_CLASS_PAIRS", "[[up, down]]", "TEST.MOTION_CHECK", "True"], "'up'"),
    ],
)
def test_settings_that_no_object_can_be_built_from(call, tiny, tmp_path, setting, message):
    (tmp_path / "tiny.yaml").write_text("")
    status, _, errors = call("--cfg", tmp_path / "tiny.yaml", *tiny(), *setting, command="run")
    assert status == 2
    assert "Traceback" not in errors
    assert message in errors.splitlines()[-1]
    assert not (tmp_path / "run" / "last.pt").exists()


def test_what_is_told_of_settings_before_any_list_is_read(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # there are no lists
    config = tmp_path / "given.yaml"
    config.write_text("{AUG: {ENABLE: False, NUM_SAMPLE: 2}, DATA: {PATH_TO_DATA_DIR: nowhere}}")
    said = "These settings have no effect: AUG.NUM_SAMPLE 2 (AUG.ENABLE is False)\n"
    status, printed, errors = call("config", "--cfg", config)
    assert (status, errors) == (0, said)
    assert "NUM_SAMPLE: 2" in printed
    _, _, errors = call("--cfg", config, command="run")
    assert errors.startswith(said) and errors.count("no effect") == 1
    assert "there is no folder nowhere" in errors
    config.write_text("{AUG: {AA_TYPE: rand-m99}, DATA: {PATH_TO_DATA_DIR: nowhere}}")
    for command in ("config", "run"):
        status, _, errors = call(command, "--cfg", config)
        assert status == 2 and errors.startswith("error: AUG.AA_TYPE is 'rand-m99'")
    assert call("run", "--cfg", config, "TRAIN.ENABLE", "False")[2].count("AA_TYPE") == 0


@pytest.mark.parametrize("arguments", [[], ["fly"], ["run"], ["predict", "--checkpoint", "x"]])
def test_wrong_usage_is_status_2(call, arguments):
    status, _, errors = call(*arguments)
    assert status == 2
    assert "usage:" in errors


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["pridict"], "predict"),
        (["train"], "run"),
        (["prepare", "lsits"], "lists"),
        (["bench", "loadr"], "loader"),
        (["convert", "a", "--out", "b", "--to", "mmaction"], "mmaction2"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_nearest(call, arguments, nearest):
    status, _, errors = call(*arguments)
    assert status == 2
    assert errors.strip().endswith(f"did you mean {nearest!r}?")
    assert f"it is {arguments[-1]!r}; allowed: " in errors


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            "predict --checkpoimt x y",
            "arguments are required: --checkpoint; did you mean --checkpoint?",
        ),
        (
            "predict --checkpoimt=x y",
            "arguments are required: --checkpoint; did you mean --checkpoint?",
        ),
        ("predict --checkpoint=x", "arguments are required: VIDEO"),
        ("predict --check x", "arguments are required: VIDEO"),
        ("bench model --depthwyse --zzz", "--depthwyse --zzz; did you mean --depthwise?"),
        ("doctor --zzz", "unrecognized arguments: --zzz"),
    ],
)
def test_a_mistyped_option_is_answered_with_the_nearest(call, words, told):
    status, _, errors = call(*words.split())
    assert status == 2
    assert errors.strip().endswith(told)


def test_other_words_for_commands_mean_commands():
    assert set(cli._OTHER_WORDS.values()) <= set(cli._COMMANDS)
    assert not set(cli._OTHER_WORDS) & set(cli._COMMANDS)


def test_the_version(call):
    assert call("--version")[:2] == (0, f"uniformer-video {uniformer_video.__version__}\n")


def test_config_diff(call, tmp_path):
    (tmp_path / "a.yaml").write_text("DATA: {NUM_FRAMES: 4}\nRNG_SEED: 5")
    (tmp_path / "b.yaml").write_text("DATA: {NUM_FRAMES: 8}\nRNG_SEED: 6")
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    status, out, _ = call("config", "diff", first, second, "RNG_SEED", "7")
    assert status == 0
    assert [line.split() for line in out.splitlines()[1:]] == [["DATA.NUM_FRAMES", "4", "8"]]
    assert call("config", "diff", first, first)[1] == "No setting differs.\n"


def test_missing_data_takes_three_lines(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = ROOT / "configs" / "k400" / "uniformer_s_16x4.yaml"
    status, _, errors = call("--cfg", config, command="run")
    assert status == 2
    assert errors.startswith("error: The videos are not prepared")
    assert len(errors.strip().splitlines()) == 3
    assert errors.strip().endswith("uniformer-video guide k400`")


def test_config_prints_a_tree_that_reads_back(call, tmp_path):
    status, out, _ = call("config", "DATA.NUM_FRAMES", "8")
    assert status == 0
    (tmp_path / "a.yaml").write_text(out)
    assert call("config", "--cfg", tmp_path / "a.yaml")[1] == out
    assert "DATA.NUM_FRAMES" in call("config", "--keys")[1]


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "the disk is full: /data/last.pt; free some space"),
        (errno.EFBIG, "the file gets too large: /data/last.pt; raise .*`ulimit -f unlimited`"),
        (errno.EMFILE, "too many files are open: /data/last.pt; raise .*`ulimit -n`"),
        (errno.EACCES, "Permission denied: /data/last.pt$"),
    ],
)
def test_a_file_that_cannot_be_written_says_why(call, monkeypatch, number, told):
    def fail(*_):
        raise OSError(number, os.strerror(number), "/data/last.pt")

    monkeypatch.setattr("uniformer_video.config.settings.load_config", fail)
    status, _, errors = call("config")
    assert status == 2
    assert re.search(f"^error: {told}", errors, re.MULTILINE)


def test_where_the_memory_of_a_gpu_is_not_enough_one_line_says_what_to_do(call, monkeypatch):
    told = (
        "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which "
        "5.06 GiB is free.\nOf the allocated memory 70 GiB is allocated by PyTorch, and more is said of it."
    )

    def fails(args):
        raise torch.OutOfMemoryError(told)

    monkeypatch.setattr(cli, "_COMMANDS", {**cli._COMMANDS, "models": (lambda parser: None, fails)})
    status, out, errors = call("models")
    assert (status, out) == (2, "") and errors.count("\n") == 1
    assert "5.06 GiB is free. Take smaller batches (TRAIN.BATCH_SIZE" in errors


def test_train_predict_and_report_by_command(call, tiny, tmp_path, demo):
    (tmp_path / "tiny.yaml").write_text("")
    status, _, errors = call("--cfg", tmp_path / "tiny.yaml", *tiny(), command="run")
    assert status == 0, errors
    assert "Report: " in errors
    checkpoint = tmp_path / "run" / "best.pt"

    video = demo / "test" / "00000.mp4"
    status, out, _ = call(video, "--checkpoint", checkpoint, command="predict")
    assert status == 0
    assert out.splitlines()[0] == str(video)
    assert len(out.splitlines()) == 6

    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"x")
    status, out, errors = call("predict", bad, demo / "test", "--checkpoint", checkpoint, "--json")
    assert status == 2
    lines = [json.loads(line) for line in out.splitlines()]
    assert "cannot be opened" in lines[0]["error"]
    assert len(lines) == 9
    scores = [entry["score"] for entry in lines[1]["top"]]
    assert scores == sorted(scores, reverse=True)

    (tmp_path / "run" / "report.html").unlink()
    assert call("report", tmp_path / "run")[0] == 0
    assert (tmp_path / "run" / "report.html").exists()


def test_inflate_by_command(call, tmp_path):
    torch.save(build_network("image_uniformer_s", 1000).state_dict(), tmp_path / "image.pth")
    out_file = tmp_path / "video.pt"
    status, out, _ = call(tmp_path / "image.pth", "--out", out_file, command="inflate")
    assert status == 0
    for part in ("copied as they are", "inflated to 3D (average)", "dropped: the classifier"):
        assert part in out
    content = out_file.read_bytes()
    status, _, errors = call("inflate", tmp_path / "image.pth", "--out", out_file)
    assert (status, out_file.read_bytes()) == (2, content)
    assert "exists already" in errors
    assert call("inflate", tmp_path / "image.pth", "--out", tmp_path / "no" / "x.pt")[0] == 2


def test_remap_labels_by_command(call, tmp_path):
    (tmp_path / "a.csv").write_text("x y.mp4 0\nz.mp4,267\n")
    remap = ("remap-labels", tmp_path / "a.csv", "--from", "k400", "--to")
    status, out, _ = call(*remap, "k400-published", "--out", tmp_path / "b.csv")
    assert status == 0
    assert "b.csv: 2 videos, 2 labels changed" in out
    assert "DATA.CLASS_NAMES k400-published" in out
    content = (tmp_path / "b.csv").read_text()
    assert content.endswith("z.mp4,0\n")

    # The same order from a file of names and from a checkpoint.
    names = class_names("k400", "published")
    (tmp_path / "names.txt").write_text("\n".join(names))
    head = {"head.weight": torch.zeros(400, 2)}
    write_checkpoint(tmp_path / "own.pt", head, {"class_names": names})
    for order in ("names.txt", "own.pt"):
        new = tmp_path / f"{order}.csv"
        assert call(*remap, tmp_path / order, "--out", new)[0] == 0
        assert new.read_text() == content


def test_remap_labels_refuses(call, tmp_path):
    (tmp_path / "a.csv").write_text("x.mp4,0\ny.mp4,400\n")
    torch.save({"head.weight": torch.zeros(400, 2)}, tmp_path / "foreign.pth")
    for given, wanted, message in (
        ("k400", "k600", "only in --from: 'baby waking up'"),
        ("k400", "k400-old", "--to k400-old is not a file"),
        ("k400", tmp_path / "foreign.pth", "records no class names"),
        ("k400", "k400-published", "a.csv:2: label 400 of y.mp4 is outside 0..399"),
    ):
        arguments = ("--from", given, "--to", wanted, "--out", tmp_path / "b.csv")
        status, _, errors = call("remap-labels", tmp_path / "a.csv", *arguments)
        assert status == 2
        assert message in errors
        assert "Traceback" not in errors
        assert not (tmp_path / "b.csv").exists()
    arguments = ("--from", "k400", "--to", "k400-published", "--out", tmp_path / "a.csv")
    assert "exists already" in call("remap-labels", tmp_path / "a.csv", *arguments)[2]

"""Every shipped config builds, recipes hold the published values, and the dataset guides work."""

import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
import torch

from uniformer_video import build
from uniformer_video.build_data import build_data
from uniformer_video.config import flat_config, load_config
from uniformer_video.data.records import VideoRecord, read_class_names, read_csv
from uniformer_video.errors import CheckpointError
from uniformer_video.training.optim import CosineSchedule

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(p for p in (ROOT / "configs").rglob("*.yaml") if p.parent.name != "_base_")
PUBLISHED = [path for path in CONFIGS if path.stem.endswith("_published")]
FOLDER_CONFIG = ROOT / "configs/finetune/folder.yaml"

# The published runs: videos a step and machine, peak learning rate, epochs; frames and stride are
# in the name, and all else depends on the model or is shared.
RUNS = {
    "k400/uniformer_s_8x8": (128, 4e-4, 100),
    "k400/uniformer_s_16x4": (32, 1e-4, 110),
    "k400/uniformer_s_16x8": (32, 1e-4, 110),
    "k400/uniformer_s_32x4": (32, 1e-4, 110),
    "k400/uniformer_b_8x8": (64, 2e-4, 100),
    "k400/uniformer_b_16x4": (40, 1.25e-4, 110),
    "k400/uniformer_b_16x8": (40, 1.25e-4, 110),
    "k400/uniformer_b_32x4": (32, 1e-4, 110),
    "k600/uniformer_s_16x4": (96, 3e-4, 110),
    "k600/uniformer_s_16x8": (32, 1e-4, 110),
    "k600/uniformer_b_16x4": (40, 1.25e-4, 110),
    "k600/uniformer_b_16x8": (32, 1.25e-4, 110),
    "k600/uniformer_b_32x4": (32, 1e-4, 110),
}
BY_MODEL = {
    "uniformer_s": {
        "UNIFORMER.DROP_DEPTH_RATE": 0.1,
        "UNIFORMER.PRETRAIN_NAME": "uniformer_small_in1k",
    },
    "uniformer_b": {
        "UNIFORMER.DROP_DEPTH_RATE": 0.3,
        "UNIFORMER.PRETRAIN_NAME": "uniformer_base_in1k",
    },
}
SHARED = {
    "MODEL.USE_CHECKPOINT": False,
    "MODEL.CHECKPOINT_NUM": [0, 0, 0, 0],
    "UNIFORMER.LOCAL_KERNEL": [3, 5, 5],
    "DATA.SAMPLING": "dense",
    "DATA.USE_OFFSET_SAMPLING": True,
    "DATA.CHANNEL_ORDER": "RGB",
    "DATA.MEAN": [0.45, 0.45, 0.45],
    "DATA.STD": [0.225, 0.225, 0.225],
    "DATA.TRAIN_JITTER_SCALES": [256, 320],
    "DATA.TRAIN_JITTER_SCALES_RELATIVE": [0.08, 1.0],
    "DATA.TRAIN_JITTER_ASPECT_RELATIVE": [0.75, 1.3333],
    "DATA.TRAIN_CROP_SIZE": 224,
    "DATA.TEST_CROP_SIZE": 224,
    "DATA.TEST_SCALE": 0,
    "DATA.RANDOM_FLIP": True,
    "AUG.ENABLE": True,
    "AUG.NUM_SAMPLE": 2,
    "AUG.AA_TYPE": "rand-m7-n4-mstd0.5-inc1",
    "AUG.COLOR_JITTER": 0.4,
    "AUG.RE_PROB": 0.25,
    "MIXUP.ENABLE": True,
    "MIXUP.ALPHA": 0.8,
    "MIXUP.CUTMIX_ALPHA": 1.0,
    "MIXUP.PROB": 1.0,
    "MIXUP.SWITCH_PROB": 0.5,
    "MIXUP.LABEL_SMOOTH_VALUE": 0.1,
    "TEST.NUM_ENSEMBLE_VIEWS": 4,
    "TEST.NUM_SPATIAL_CROPS": 1,
    "TEST.SCORE": "logits",
    "SOLVER.BASE_LR_SCALE_NUM_SHARDS": True,
    "SOLVER.WARMUP_EPOCHS": 10.0,
    "SOLVER.WARMUP_START_LR": 1e-6,
    "SOLVER.COSINE_END_LR": 1e-6,
    "SOLVER.WEIGHT_DECAY": 0.05,
    "SOLVER.ZERO_WD_POS_EMBED": False,
    "SOLVER.CLIP_GRADIENT": 20.0,
    "NUM_GPUS": 8,
    "RNG_SEED": 6666,
}
# Parameters at 400 classes with 5x5x5, as published; and those that a 3x5x5 kernel lacks: two of
# five time steps of 25 weights, for each channel of each local block.
PARAMETERS = {"uniformer_s": 21_400_400, "uniformer_b": 49_813_200}
SHORT_KERNEL_LACKS = {
    "uniformer_s": 50 * (3 * 64 + 4 * 128),
    "uniformer_b": 50 * (5 * 64 + 8 * 128),
}
PARAMETERS_PER_CLASS = 512 + 1


def name_of(path):
    return path.relative_to(ROOT / "configs").with_suffix("").as_posix()


def num_classes_of(cfg):
    return cfg.MODEL.NUM_CLASSES or 8


def meta_model(cfg):
    """The model without memory, weights or the pre-training file, which only a user has."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.UNIFORMER.PRETRAIN_NAME = ""
    with torch.device("meta"):
        model, report = build.build_model(cfg, num_classes_of(cfg))
    assert report is None
    return model


def test_all_published_kinetics_runs_are_there():
    own = {name_of(path) for path in CONFIGS if path.parent.name in ("k400", "k600")}
    assert own == set(RUNS) | {f"{run}_published" for run in RUNS}


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_config_builds(path):
    cfg = load_config(path)
    model = meta_model(cfg)
    optimizer = build.build_optimizer(cfg, model)
    grouped = sum(len(group["params"]) for group in optimizer.param_groups)
    assert grouped == len(list(model.parameters()))

    schedule = build.build_schedule(cfg)
    assert schedule(cfg.SOLVER.WARMUP_EPOCHS) == pytest.approx(schedule.base_lr)
    assert schedule(0) < schedule.base_lr > schedule(cfg.SOLVER.MAX_EPOCH)

    clips = build.build_sampling(cfg).test_clips(300, cfg.TEST.NUM_ENSEMBLE_VIEWS)
    assert clips.shape == (cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.DATA.NUM_FRAMES)

    classes = list(dict.fromkeys(chain(*cfg.DATA.FLIP_CLASS_PAIRS, *cfg.DATA.OPPOSITE_CLASS_PAIRS)))
    assert build.build_augmentation(cfg, classes).crop_size == cfg.DATA.TRAIN_CROP_SIZE
    assert (build.build_mixup(cfg, num_classes_of(cfg)) is not None) == cfg.MIXUP.ENABLE
    assert build.build_train_settings(cfg, num_classes_of(cfg)).max_epoch == cfg.SOLVER.MAX_EPOCH
    num_clips, num_crops = cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS
    tested = build.build_test_dataset(cfg, [VideoRecord("a.mp4", "a", 0)], num_clips, num_crops)
    assert (len(tested), tested.num_clips, tested.views.num_crops) == (1, num_clips, num_crops)


@pytest.mark.parametrize("run", RUNS)
def test_run_has_the_published_values(run):
    dataset, name = run.split("/")
    model, sampling = name.rsplit("_", 1)
    frames, stride = sampling.split("x")
    batch, lr, epochs = RUNS[run]
    expected = {
        **SHARED,
        **BY_MODEL[model],
        "MODEL.MODEL_NAME": model,
        "MODEL.NUM_CLASSES": {"k400": 400, "k600": 600}[dataset],
        "DATA.PATH_TO_DATA_DIR": f"datasets/{dataset}",
        "DATA.NUM_FRAMES": int(frames),
        "DATA.SAMPLING_RATE": int(stride),
        "TRAIN.BATCH_SIZE": batch,
        "SOLVER.BASE_LR": lr,
        "SOLVER.MAX_EPOCH": epochs,
        "NUM_SHARDS": 4 if run == "k600/uniformer_b_32x4" else 1,
    }
    found = flat_config(load_config(ROOT / "configs" / f"{run}.yaml"))
    assert {key: found[key] for key in expected} == expected


def test_four_machines_quadruple_the_learning_rate():
    cfg = load_config(ROOT / "configs/k600/uniformer_b_32x4.yaml")
    assert build.build_schedule(cfg) == CosineSchedule(4e-4, 4e-6, 4e-6, 10.0, 110)


@pytest.mark.parametrize("path", PUBLISHED, ids=name_of)
def test_published_differs_in_the_kernel_alone(path):
    parent = path.with_name(path.name.replace("_published", ""))
    own, parents = flat_config(load_config(path)), flat_config(load_config(parent))
    differing = {key: own[key] for key in own if own[key] != parents[key]}
    assert differing == {"UNIFORMER.LOCAL_KERNEL": [5, 5, 5]}


@pytest.mark.parametrize("run", RUNS)
def test_parameter_counts(run):
    published = load_config(ROOT / "configs" / f"{run}_published.yaml")
    name = published.MODEL.MODEL_NAME
    expected = PARAMETERS[name] + (num_classes_of(published) - 400) * PARAMETERS_PER_CLASS
    assert sum(p.numel() for p in meta_model(published).parameters()) == expected
    own = meta_model(load_config(ROOT / "configs" / f"{run}.yaml"))
    assert sum(p.numel() for p in own.parameters()) == expected - SHORT_KERNEL_LACKS[name]


@pytest.mark.parametrize("run", RUNS)
def test_accuracies_stand_with_the_published_weights_alone(run):
    text = (ROOT / "configs" / f"{run}.yaml").read_text()
    published = (ROOT / "configs" / f"{run}_published.yaml").read_text()
    assert "top-1" not in text
    assert re.search(r"top-1 \d\d\.\d %, \d+ GFLOPs", published)
    assert "for those weights alone" in published


def test_a_recipe_without_its_file_says_what_to_do():
    cfg = load_config(ROOT / "configs/k400/uniformer_s_16x4.yaml")
    with pytest.raises(CheckpointError, match="uniformer_small_in1k is not a file; download"):
        build.build_model(cfg, 400)


@pytest.mark.parametrize("kernel", [(3, 5, 5), (5, 5, 5)])
def test_fine_tuning_takes_the_kernel_of_the_weights(tmp_path, kernel):
    small = ["UNIFORMER.EMBED_DIM", "[8, 8, 16, 16]", "UNIFORMER.DEPTH", "[1, 1, 1, 1]"]
    small += ["UNIFORMER.HEAD_DIM", "8"]
    source = load_config(FOLDER_CONFIG, [*small, "UNIFORMER.LOCAL_KERNEL", str(list(kernel))])
    pretrained, _ = build.build_model(source, 400)
    weights = tmp_path / "weights.pth"
    torch.save({"model_state": pretrained.state_dict()}, weights)

    cfg = load_config(FOLDER_CONFIG, [*small, "UNIFORMER.PRETRAIN_NAME", str(weights)])
    model, report = build.build_model(cfg, 3)
    assert model.blocks1[0].attn.weight.shape[2:] == kernel
    assert model.num_classes == 3
    assert len(report.replaced) == 2 and not report.skipped and not report.missing
    assert torch.equal(model.patch_embed1.proj.weight, pretrained.patch_embed1.proj.weight)


def test_fine_tuning_reads_a_folder_of_videos(tmp_path):
    for video in ("run/a.mp4", "run/b.mp4", "run/c.mp4", "jump/deep/d.avi", "jump/e.mp4"):
        (tmp_path / video).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / video).touch()
    data = build_data(load_config(FOLDER_CONFIG, ["DATA.PATH_TO_DATA_DIR", str(tmp_path)]))
    assert data.class_names == ["jump", "run"]
    assert {record.label for record in data.train} == {0, 1}
    assert {record.label for record in data.val} == {0, 1}
    assert len(data.train) + len(data.val) == 5
    assert data.test == data.val


def code_block(dataset, language):
    """The first code block in `language` of a dataset's guide."""
    guide = (ROOT / "datasets" / dataset / "README.md").read_text()
    return re.search(rf"```{language}\n(.*?)```", guide, re.DOTALL)[1]


def make_lists(folder, *order):
    """Run the script of the Kinetics guide on the dataset in `folder`."""
    script = folder / "make_lists.py"
    script.write_text(code_block("k400", "python"))
    command = [sys.executable, script, folder, *order]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture
def kinetics(tmp_path):
    """A Kinetics folder of three classes; one validation video is missing."""
    header = "label,youtube_id,time_start,time_end,split\n"
    tables = {
        "train": 'zumba,-dash_id___,1,11,train\n"abseiling",b b,20,30,train\nyoga,ccc,3,13,train\n',
        "val": "yoga,ddd,100,110,val\nzumba,eee,0,10,val\n",
    }
    videos = ("train/-dash_id____000001_000011", "train/abseiling/b b_000020_000030")
    videos += ("train/ccc_000003_000013", "val/ddd_000100_000110")
    (tmp_path / "annotations").mkdir()
    for split, rows in tables.items():
        (tmp_path / "annotations" / f"{split}.csv").write_text(header + rows)
    for video in videos:
        (tmp_path / video).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{video}.mp4").touch()
    return tmp_path


def test_script_of_the_kinetics_guide(kinetics):
    done = make_lists(kinetics)
    assert done.returncode == 0, done.stderr
    assert "val.csv: 1 videos, 1 of the annotations lack theirs" in done.stdout
    assert read_class_names(kinetics / "classes.txt") == ["abseiling", "yoga", "zumba"]
    train = {record.name: record.label for record in read_csv(kinetics / "train.csv")}
    assert train == {
        "train/-dash_id____000001_000011.mp4": 2,
        "train/abseiling/b b_000020_000030.mp4": 0,
        "train/ccc_000003_000013.mp4": 1,
    }
    assert (kinetics / "test.csv").read_text() == "val/ddd_000100_000110.mp4,1\n"

    settings = ["DATA.PATH_TO_DATA_DIR", str(kinetics), "MODEL.NUM_CLASSES", "3"]
    data = build_data(load_config(ROOT / "configs/k400/uniformer_s_16x4.yaml", settings))
    assert (len(data.train), len(data.val), len(data.test)) == (3, 1, 1)
    assert not any("do not exist" in note for note in data.notes)


def test_script_of_the_kinetics_guide_with_another_order(kinetics):
    order = kinetics / "order.txt"
    order.write_text("2 0\n1\n")
    assert make_lists(kinetics, order).returncode == 0
    names = read_class_names(kinetics / "classes.txt")
    assert names == ["zumba", "abseiling", "yoga"]
    labels = [names[record.label] for record in read_csv(kinetics / "train.csv")]
    assert labels == ["zumba", "abseiling", "yoga"]

    order.write_text("1 0")
    refused = make_lists(kinetics, order)
    assert refused.returncode == 1
    assert "orders 2 classes, the annotations have 3" in refused.stderr


@pytest.mark.parametrize(("dataset", "classes"), [("k400", 400), ("k600", 600)])
def test_published_order_in_the_guides(dataset, classes):
    order = [int(number) for number in code_block(dataset, "text").split()]
    assert sorted(order) == list(range(classes))
    assert order != sorted(order)


def test_guides_and_configs_name_files_that_exist():
    """Configs and tools in the guides' and the configs' commands."""
    for text_file in [*CONFIGS, *(ROOT / "datasets").glob("**/README.md")]:
        text = text_file.read_text()
        for name in re.findall(r"(?:configs|tools)/[\w/]+\.(?:yaml|py)", text):
            assert (ROOT / name).is_file(), f"{text_file} names {name}"

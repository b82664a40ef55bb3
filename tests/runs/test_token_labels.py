"""Training by token labelling: through the command, resumed, by several processes, and what is refused."""

import json

import numpy as np
import pytest
import torch
from agreement import assert_agree, one_and_many
from PIL import Image
from same import assert_same
from tiny_run import tiny_image_overrides

from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.class_names import stand_ins
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import ConfigError, DataError, DecodeError
from uniformer_video.runs.build_model import build_model
from uniformer_video.runs.build_token_labels import build_label_maps
from uniformer_video.runs.run import run
from uniformer_video.signals import Interrupted
from uniformer_video.weights.checkpoint import read_weights

COLORS = {"blue": (30, 30, 200), "green": (30, 200, 30), "red": (200, 30, 30)}
SIDE = 6
QUICK = {
    "MODEL.MODEL_NAME": "image_uniformer_s_tl",
    "MIXUP.ENABLE": False,
    "TOKEN_LABELS.ENABLE": True,
    "DATA.TRAIN_CROP_SIZE": 64,
    "DATA.TEST_CROP_SIZE": 64,
    "SOLVER.MAX_EPOCH": 3,
    "SOLVER.BASE_LR": 3e-3,
}


def put_map(path, label, classes=3):
    """A map that says the class of the picture everywhere, and is not sure where."""
    rng = np.random.default_rng(label)
    logits = np.sort(rng.uniform(0, 9, (classes, SIDE, SIDE)), 0)[::-1]
    rest = [number for number in range(classes) if number != label]
    numbers = np.broadcast_to(np.array([label, *rest])[:, None, None], logits.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(torch.from_numpy(np.stack([logits, numbers])).half(), path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folders `pictures` and `maps`."""
    root, rng = tmp_path_factory.mktemp("labelled"), np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 2)):
        for label, (name, color) in enumerate(COLORS.items()):
            folder = root / "pictures" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                noise = rng.normal(0, 40, (60, 72, 3)) + np.array(color)
                picture = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
                picture.save(folder / f"{number}.JPEG")
                if part == "train":
                    put_map(root / "maps" / name / f"{number}.pt", label)
    return root


def words(data, output, **changes):
    given = {**QUICK, "TOKEN_LABELS.PATH": data / "maps", **changes}
    return tiny_image_overrides(data / "pictures", output, **given)


def config(data, output, **changes):
    return load_config(overrides=words(data, output, **changes))


def test_a_run_learns_from_maps(data, tmp_path, caplog):
    caplog.set_level("INFO")
    results = json.loads(
        (run(config(data, tmp_path / "whole"), "tokens") / "results.json").read_text()
    )
    assert results["summary"]["top1"]["value"] == 1.0
    assert "3 highest classes at 6 x 6 places" in caplog.text
    assert "The maps do not name their classes" in caplog.text
    steps = [
        json.loads(line)
        for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
        if '"train"' in line
    ]
    assert len(steps) == 18 and all(step["token_loss"] > 0 for step in steps)
    assert "of the tokens" in caplog.text
    assert "Loss of the tokens" in next(tmp_path.glob("whole/**/report.html")).read_text()


def test_resume_equals_uninterrupted(data, tmp_path, interrupt_after):
    short = {"TEST.ENABLE": False, "TRAIN.EVAL_PERIOD": 0}
    run(config(data, tmp_path / "whole", **short), "tokens")
    with interrupt_after(8), pytest.raises(Interrupted):
        run(config(data, tmp_path / "parts", **short), "tokens")
    run(config(data, tmp_path / "parts", **short), "tokens")
    last = [read_weights(tmp_path / name / "last.pt") for name in ("whole", "parts")]
    assert_same(last[0].state, last[1].state)
    assert_same(last[0].training, last[1].training)


def test_the_number_of_processes_changes_nothing(data, tmp_path):
    given = words(
        data, tmp_path / "out", **{"NUM_GPUS": 2, "TRAIN.EVAL_PERIOD": 0, "EMA.ENABLE": True}
    )
    one, many = one_and_many(tmp_path, 2, given)
    assert len(one["losses"]) == 18
    assert_agree(one, many)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"MODEL.MODEL_NAME": "image_uniformer_s"},
            "image_uniformer_s has no head for tokens.*_s_tl",
        ),
        (
            {"TOKEN_LABELS.PATH": ""},
            r"PATH is empty.*github\.com/zihangJiang.*prepare token-labels",
        ),
        ({"MIXUP.ENABLE": True}, "MIXUP.ENABLE is True: MixToken mixes pictures.*set it to False"),
        ({"DATA.TRAIN_CROP_SIZE": 72}, "multiple of 32"),
        ({"DATA.FLIP": "swap-labels"}, "DATA.FLIP is 'swap-labels'.*set it to auto or off"),
        ({"TEACHER.SCORES": "there"}, "TEACHER.SCORES is 'there'.*set it to empty"),
        ({"DATA.TRAIN_JITTER_SCALES_RELATIVE": []}, "follow a resized crop"),
        (
            {"TOKEN_LABELS.CLASS_WEIGHT": 0, "TOKEN_LABELS.DENSE_WEIGHT": 0},
            "nothing would be learnt",
        ),
    ],
)
def test_settings_that_cannot_go_together_are_refused(data, tmp_path, changes, said):
    with pytest.raises(ConfigError, match=said):
        run(config(data, tmp_path / "out", **changes), "tokens")


def test_videos_have_no_label_maps():
    given = ["TOKEN_LABELS.ENABLE", "True", "MIXUP.ENABLE", "False"]
    with pytest.raises(ConfigError, match=r"lists videos; label maps are of images"):
        run(load_config(overrides=given), "tokens")


def copied(data, tmp_path):
    for path in (data / "maps").rglob("*.pt"):
        target = tmp_path / "maps" / path.relative_to(data / "maps")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return tmp_path / "maps"


def test_maps_that_are_missing_or_of_other_classes_end_the_run_before_it_begins(data, tmp_path):
    maps = copied(data, tmp_path)
    cfg = config(data, tmp_path / "out", **{"TOKEN_LABELS.PATH": maps})
    (maps / "red" / "3.pt").unlink()
    with pytest.raises(
        DataError, match=r"no label map for 1 of 24 training pictures.*red/3\.pt.*prepare"
    ):
        run(cfg, "tokens")
    put_map(maps / "red" / "3.pt", 2)
    put_map(maps / "blue" / "0.pt", 0, classes=9)
    with pytest.raises(DataError, match=r"names the class number 8, and there are 3 classes"):
        run(cfg, "tokens")
    absent = config(data, tmp_path / "out", **{"TOKEN_LABELS.PATH": tmp_path / "nowhere"})
    with pytest.raises(DataError, match=r"nowhere is no folder.*prepare token-labels"):
        run(absent, "tokens")


def test_a_map_of_another_size_counts_as_a_broken_picture_and_is_named(data, tmp_path, caplog):
    caplog.set_level("INFO")
    maps = copied(data, tmp_path)
    torch.save(torch.zeros(2, 3, 4, 4).half(), maps / "red" / "3.pt")
    changes = {"TOKEN_LABELS.PATH": maps, "SOLVER.MAX_EPOCH": 1, "SOLVER.WARMUP_EPOCHS": 0}
    run(config(data, tmp_path / "out", **changes, **{"TEST.ENABLE": False}), "tokens")
    assert "red/3.pt is [2, 3, 4, 4], others are [2, 3, 6, 6]" in caplog.text
    known = read_weights(tmp_path / "out" / "last.pt").training["progress"]["bad_videos"]
    assert len(known) == 1


@pytest.mark.parametrize("odd", ["damaged", "of another size"])
def test_the_first_map_is_no_better_than_others(data, tmp_path, odd):
    maps = copied(data, tmp_path)
    first = maps / "blue" / "0.pt"
    if odd == "damaged":
        first.write_bytes(b"no map")
    else:
        torch.save(torch.zeros(2, 3, 4, 4).half(), first)
    found = label_maps_of(data, maps)
    assert found.shape == (2, 3, 6, 6)
    with pytest.raises(DecodeError, match=r"blue/0\.pt.*delete it"):
        found.read(VideoRecord("0.JPEG", "blue/0.JPEG", (0,)))
    for path in maps.rglob("*.pt"):
        path.write_bytes(b"no map")
    with pytest.raises(DataError, match=r"blue/0\.pt cannot be read as a label map.*make it anew"):
        label_maps_of(data, maps)


def label_maps_of(data, maps, class_names=tuple(COLORS)):
    records = [
        VideoRecord(str(path), f"{path.parent.name}/{path.name}", (0,))
        for path in sorted((data / "pictures" / "train").rglob("*.JPEG"))
    ]
    return build_label_maps(
        config(data, "out", **{"TOKEN_LABELS.PATH": maps}), records, class_names
    )


def test_maps_of_as_many_nameless_classes_as_the_data_has(data, tmp_path):
    maps = copied(data, tmp_path)
    facts = {"model": "a.pt", "class_names": stand_ins(3)}
    (maps / "token_labels.json").write_text(json.dumps(facts))
    assert label_maps_of(data, maps).order is None
    (maps / "token_labels.json").write_text(json.dumps({**facts, "class_names": stand_ins(9)}))
    with pytest.raises(DataError, match=r"are of 9 classes .*and the data has 3; make them by"):
        label_maps_of(data, maps)


def test_weights_without_a_head_for_tokens_start_a_run(data, tmp_path):
    plain = tiny_image_overrides(data / "pictures", tmp_path / "plain", **{"SOLVER.MAX_EPOCH": 2})
    run(load_config(overrides=[*plain, "TEST.ENABLE", "False"]), "plain")
    start = str(tmp_path / "plain" / "last.pt")
    cfg = config(data, tmp_path / "out", **{"UNIFORMER.PRETRAIN_NAME": start})
    model, report = build_model(cfg, 3, list(COLORS))
    state = read_weights(start).state
    assert torch.equal(model.head.weight, state["head.weight"])
    assert torch.equal(model.patch_embed1.proj.weight, state["patch_embed1.proj.weight"])
    assert model.aux_head.weight.shape == (3, 32) and "aux_head" in "\n".join(report.lines())


def test_a_recipe_is_shown_without_maps(call):
    code, printed, _ = call("config", "--cfg", "imagenet/uniformer_s_tl")
    assert code == 0 and "image_uniformer_s_tl" in printed


def test_a_picture_that_could_not_have_a_map_counts_as_broken(data, tmp_path, caplog):
    """As `prepare token-labels` left it: no map, and named in failed.csv."""
    caplog.set_level("INFO")
    maps = copied(data, tmp_path)
    (maps / "red" / "3.pt").unlink()
    picture = data / "pictures" / "train" / "red" / "3.JPEG"
    (maps / "failed.csv").write_text(f"path,reason\n{picture},cannot be read as a picture\n")
    label_maps_of(data, maps)
    moved = "another/place/train/red/3.JPEG"
    (maps / "failed.csv").write_text(f"path,reason\n{moved},cannot be read as a picture\n")
    changes = {"TOKEN_LABELS.PATH": maps, "SOLVER.MAX_EPOCH": 1, "SOLVER.WARMUP_EPOCHS": 0}
    run(config(data, tmp_path / "out", **changes, **{"TEST.ENABLE": False}), "tokens")
    assert "there is no label map" in caplog.text
    (maps / "blue" / "3.pt").unlink()
    with pytest.raises(DataError, match=r"no label map for 1 of 24 training pictures.*blue/3\.pt"):
        run(config(data, tmp_path / "other", **changes), "tokens")

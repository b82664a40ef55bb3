"""What no shape shows is never guessed: head_dim is the file's, an answer, or asked for, whoever reads it."""

from dataclasses import replace

import pytest
import torch

from uniformer_video.config.settings import load_config
from uniformer_video.errors import CheckpointError, ConfigError
from uniformer_video.runs import build_model
from uniformer_video.weights.checkpoint import read_weights, write_checkpoint
from uniformer_video.zoo.convert import convert_file
from uniformer_video.zoo.create import build_network, create_model
from uniformer_video.zoo.inflate import inflate_file
from uniformer_video.zoo.registry import MODELS
from uniformer_video.zoo.uniformers import UNIFORMERS

KERNEL = (5, 5, 5)
PUBLISHED = "uniformer_small_tl_224"  # image_uniformer_s_tl


@pytest.fixture(autouse=True)
def narrow_zoo(monkeypatch):
    """The named models with few channels and blocks; head_dim 4 stands for 32, and 8 for 64."""
    depths = {8: [1, 1, 1, 1], 9: [1, 2, 1, 1], 20: [1, 1, 2, 1], 24: [1, 1, 1, 2]}
    for known in UNIFORMERS:
        arguments = {
            **known.arguments,
            "embed_dims": [8, 8, 8 if known.name.endswith("_t") else 16, 16],
            "depths": depths[known.arguments["depths"][2]],
            "head_dim": max(4, known.arguments["head_dim"] // 8),
        }
        monkeypatch.setitem(MODELS, known.name, replace(known, arguments=arguments))


def save(path, name="image_uniformer_s_tl", **beside):
    torch.manual_seed(0)
    state = build_network(name, 7).state_dict()
    torch.save({"model": state, **beside}, path)
    return path


@pytest.fixture
def named(tmp_path):
    return save(tmp_path / f"{PUBLISHED}.pth")


@pytest.fixture
def renamed(tmp_path):
    return save(tmp_path / "mine.pth")


def settings(**changes):
    pairs = {"MODEL.MODEL_NAME": "uniformer_s"}
    pairs |= {key.replace("__", "."): str(value) for key, value in changes.items()}
    return load_config(overrides=[word for pair in pairs.items() for word in pair])


def head_dims(model):
    return {
        block.attn.head_dim if hasattr(block.attn, "head_dim") else None for block in model.blocks3
    }


@pytest.mark.parametrize("wrong", ["image_uniformer_s_tl_dim64", "image_uniformer_s"])
def test_the_published_name_of_a_file_against_the_name_of_another_model(named, tmp_path, wrong):
    said = (
        rf"made with head_dim 4 \(by its name it is the published {PUBLISHED}\), and {wrong} has 8: "
        r"name the model that it holds \(image_uniformer_s_tl\), or set head_dim 4 .*rename it"
    )
    out = tmp_path / "out.pt"
    for read in (
        lambda: create_model(wrong, checkpoint=named),
        lambda: convert_file(named, out, wrong),
        lambda: inflate_file(named, out, "average", KERNEL, wrong),
    ):
        with pytest.raises(CheckpointError, match=said):
            read()
    assert create_model(checkpoint=named).arguments["head_dim"] == 4
    assert create_model(wrong, checkpoint=named, head_dim=4).arguments["head_dim"] == 4


def test_the_published_name_of_a_file_against_a_head_dim(named, tmp_path):
    said = rf"made with head_dim 4 \(by its name .*{PUBLISHED}\), and head_dim 8 is asked for"
    out = tmp_path / "out.pt"
    for read in (
        lambda: create_model(checkpoint=named, head_dim=8),
        lambda: create_model("image_uniformer_s_tl_dim64", checkpoint=named, head_dim=8),
        lambda: convert_file(named, out, head_dim=8),
        lambda: inflate_file(named, out, "average", KERNEL, head_dim=8),
        lambda: build_model.build_model(
            settings(UNIFORMER__PRETRAIN_NAME=named, UNIFORMER__HEAD_DIM=8), 3
        ),
    ):
        with pytest.raises(CheckpointError, match=said):
            read()


@pytest.mark.parametrize("copy", [" (1)", "(2)", " - Copy", "_copy"])
def test_a_copy_of_a_published_file_still_tells(tmp_path, copy):
    path = save(tmp_path / f"{PUBLISHED}{copy}.pth")
    assert create_model(checkpoint=path).arguments["head_dim"] == 4


def test_a_file_that_tells_nothing_asks_whoever_reads_it(renamed, tmp_path):
    said = (
        r"does not tell the width .*: 4 \(image_uniformer_s_tl\), 8 \(image_uniformer_s_tl_dim64\)"
    )
    out = tmp_path / "out.pt"
    for read in (
        lambda: create_model(checkpoint=renamed),
        lambda: create_model("image_uniformer_s", checkpoint=renamed),
        lambda: convert_file(renamed, out),
        lambda: convert_file(renamed, out, "image_uniformer_s"),
        lambda: inflate_file(renamed, out, "average", KERNEL),
        lambda: inflate_file(renamed, out, "average", KERNEL, "image_uniformer_s"),
        lambda: build_model.build_model(settings(UNIFORMER__PRETRAIN_NAME=renamed), 3),
    ):
        with pytest.raises(CheckpointError, match=said):
            read()
    assert not out.exists()


@pytest.mark.parametrize("other", ["uniformer_small_k400_16x4", "uniformer_small_in1k"])
def test_the_published_name_of_another_network_tells_nothing(tmp_path, other):
    """A file of images is of no video model, and one with a second head of no model with one."""
    path = save(tmp_path / f"{other}.pth")
    said = (
        "does not tell the width .*nor does its name, that of (image_)?uniformer_s, another network"
    )
    for read in (
        lambda: create_model(checkpoint=path),
        lambda: create_model("image_uniformer_s", checkpoint=path),
        lambda: inflate_file(path, tmp_path / "out.pt", "average", KERNEL),
    ):
        with pytest.raises(CheckpointError, match=said):
            read()
    assert create_model(checkpoint=path, head_dim=4).arguments["head_dim"] == 4
    said = f"the published {other} are weights of .*uniformer_s, and .* another network: image .*second head"
    with pytest.raises(CheckpointError, match=said):
        convert_file(path, tmp_path / "out.pt", head_dim=4)


def test_what_was_made_of_a_published_file_keeps_its_width(tmp_path):
    video = save(tmp_path / f"{PUBLISHED}.pth", "uniformer_s")
    with pytest.raises(CheckpointError, match=r"made with head_dim 4 .*and uniformer_s has 8"):
        create_model(checkpoint=video)


@pytest.mark.parametrize("head_dim", [4, 8])
def test_an_answer_is_taken(renamed, tmp_path, head_dim):
    name = "image_uniformer_s_tl" if head_dim == 4 else "image_uniformer_s_tl_dim64"
    for model in (
        create_model(name, checkpoint=renamed),
        create_model("image_uniformer_s", checkpoint=renamed, head_dim=head_dim),
        build_model.build_model(
            settings(UNIFORMER__PRETRAIN_NAME=renamed, UNIFORMER__HEAD_DIM=head_dim), 3
        )[0],
    ):
        assert model.arguments["head_dim"] == head_dim
    convert_file(renamed, tmp_path / "a.pt", name)
    inflate_file(renamed, tmp_path / "b.pt", "average", KERNEL, name)
    for file in ("a.pt", "b.pt"):
        recorded = read_weights(tmp_path / file).metadata["model"]["arguments"]
        assert recorded["head_dim"] == head_dim
    # What an answer recorded is then the file's own word.
    wrong = "image_uniformer_s_tl_dim64" if head_dim == 4 else "image_uniformer_s_tl"
    with pytest.raises(CheckpointError, match=f"made with head_dim {head_dim}, and {wrong} has"):
        create_model(wrong, checkpoint=tmp_path / "a.pt")


def test_image_weights_bring_their_head_dim_into_a_training_and_say_so(named, caplog):
    with caplog.at_level("INFO"):
        model, _ = build_model.build_model(settings(UNIFORMER__PRETRAIN_NAME=named), 3)
    assert model.arguments["head_dim"] == 4
    assert "uniformer_s: head_dim 4 comes from the image weights" in caplog.text


@pytest.mark.parametrize(
    ("beside", "head_dim"),
    [
        ({"args": {"model": "uniformer_small_dim8"}}, 8),
        ({"args": {"head_dim": 4}}, 4),
        ({"hyper_parameters": {"head_dim": 8}}, 8),
        ({"cfg": "UNIFORMER: {HEAD_DIM: 8}\n"}, 8),
    ],
)
def test_what_training_left_in_a_file_tells(tmp_path, beside, head_dim):
    path = save(tmp_path / "mine.pth", **beside)
    assert create_model(checkpoint=path).arguments["head_dim"] == head_dim
    wrong = "image_uniformer_s_tl" if head_dim == 8 else "image_uniformer_s_tl_dim64"
    with pytest.raises(CheckpointError, match=f"made with head_dim {head_dim}, and {wrong} has"):
        create_model(wrong, checkpoint=path)


@pytest.mark.parametrize("value", ["4", 0, -8, True, None, [8]])
def test_nonsense_in_a_file_tells_nothing(tmp_path, value):
    path = save(tmp_path / "mine.pth", args={"head_dim": value}, cfg="UNIFORMER: {HEAD_DIM: no}\n")
    with pytest.raises(CheckpointError, match="does not tell the width"):
        create_model(checkpoint=path)


def test_answers_of_a_conversion_agree(renamed, named, tmp_path):
    out = tmp_path / "out.pt"
    for more, said in (
        ({"name": "image_uniformer_s_tl_dim64"}, "--model is image_uniformer_s_tl_dim64; leave"),
        ({"head_dim": 8}, "--head-dim is 8; leave"),
    ):
        with pytest.raises(ConfigError, match=f"weights of image_uniformer_s_tl with .*{said}"):
            convert_file(renamed, out, published=PUBLISHED, **more)
    with pytest.raises(ConfigError, match=f"has the name of the published {PUBLISHED}, and --publ"):
        convert_file(named, out, published="uniformer_small_dim64_tl_224")
    convert_file(renamed, out, published=PUBLISHED)
    assert read_weights(out).metadata["model"]["arguments"]["head_dim"] == 4


def test_sizes_of_ones_own_keep_what_the_file_records(tmp_path):
    sizes = {"embed_dims": [8, 8, 16, 32], "depths": [1, 1, 1, 2]}
    model = build_network("uniformer_s", 3, **sizes, head_dim=4)
    recorded = {"model": {"name": "mine", "arguments": model.arguments}}
    write_checkpoint(tmp_path / "own.pt", model.state_dict(), recorded)
    loaded = create_model("uniformer_s", checkpoint=tmp_path / "own.pt", **sizes)
    assert loaded.arguments["head_dim"] == 4


def test_pruning_of_a_light_model_is_what_training_left_in_the_file(tmp_path, caplog):
    ratios = [[1.0] + [0.25] * 9, [0.25] * 9]
    cfg = f"UNIFORMER: {{PRUNE_RATIO: {ratios}}}\n"
    path = save(tmp_path / "mine.pth", "uniformer_xxs", cfg=cfg)
    depths = MODELS["uniformer_xxs"].arguments["depths"][2:]
    for name in (None, "uniformer_xxs"):
        model = create_model(name, checkpoint=path)
        expected = [stage[:depth] for stage, depth in zip(ratios, depths, strict=True)]
        assert [list(stage) for stage in model.arguments["prune_ratio"]] == expected
    assert caplog.text == ""
    others = [[1.0, *[0.5] * (depths[0] - 1)], [0.5] * depths[1]]
    model = create_model("uniformer_xxs", checkpoint=path, prune_ratio=others)
    assert [list(stage) for stage in model.arguments["prune_ratio"]] == others
    assert "was trained with prune_ratio" in caplog.text

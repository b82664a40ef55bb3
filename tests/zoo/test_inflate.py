"""2D weights of sizes that no named model has become 3D ones by the settings of their training."""

import pytest
import torch

from uniformer_video.config.settings import load_config
from uniformer_video.models.light import LightUniFormer
from uniformer_video.models.uniformer import UniFormer
from uniformer_video.runs.build_model import build_model
from uniformer_video.weights.checkpoint import read_weights

SIZES = {
    "UNIFORMER.EMBED_DIM": "[8,8,16,24]",
    "UNIFORMER.DEPTH": "[1,1,2,1]",
    "UNIFORMER.MLP_RATIO": "2.0",
    "UNIFORMER.HEAD_DIM": "4",
}
ARGUMENTS = {"embed_dims": [8, 8, 16, 24], "depths": [1, 1, 2, 1], "mlp_ratio": 2.0, "head_dim": 4}


def words(settings):
    return [word for pair in settings.items() for word in pair]


@pytest.fixture
def image(tmp_path):
    """Weights of an image model of own sizes."""
    torch.manual_seed(0)
    torch.save(UniFormer(7, **ARGUMENTS, ndim=2).state_dict(), tmp_path / "image.pth")
    return tmp_path / "image.pth"


@pytest.fixture
def inflate(call, tmp_path):
    """A function: inflate a file with these further words; (status, output, errors)."""
    return lambda image, *more: call("inflate", image, "--out", tmp_path / "video.pt", *more)


@pytest.mark.parametrize("kernel", ["[3,5,5]", "[5,5,5]"])
@pytest.mark.parametrize("mode", ["average", "center"])
def test_the_file_is_what_training_starts_from(image, inflate, tmp_path, mode, kernel):
    settings = {**SIZES, "UNIFORMER.LOCAL_KERNEL": kernel, "UNIFORMER.INFLATE_MODE": mode}
    status, shown, errors = inflate(image, *words(settings), "--check")
    assert status == 0, errors
    assert "for uniformer_s with head_dim 4" in shown and "verdict: correct" in shown
    start = words({**settings, "UNIFORMER.PRETRAIN_NAME": str(image)})
    trained, _ = build_model(load_config(overrides=start), 5)
    written = read_weights(tmp_path / "video.pt")
    for key, value in written.state.items():
        assert torch.equal(value, trained.state_dict()[key]), key
    assert set(trained.state_dict()) - set(written.state) == set(trained.head_keys)

    start = words({**SIZES, "UNIFORMER.PRETRAIN_NAME": str(tmp_path / "video.pt")})
    again, report = build_model(load_config(overrides=start), 5)
    assert (
        not report.inflated and again.arguments["local_kernel"] == trained.arguments["local_kernel"]
    )


def test_a_config_tells_the_sizes_and_options_stand_above_it(image, inflate, tmp_path):
    lines = [f"  {key.partition('.')[2]}: {value}\n" for key, value in SIZES.items()]
    config = tmp_path / "own.yaml"
    config.write_text(f"UNIFORMER:\n{''.join(lines)}SOLVER:\n  BASE_LR: 1e-4\n")
    status, shown, errors = inflate(
        image, "--cfg", config, "--local-kernel", "1,5,5", "--mode", "center"
    )
    assert status == 0, errors
    assert "inflated to 3D (center)" in shown and "local kernels [1, 5, 5]" in shown


def test_a_light_model_of_own_sizes(inflate, tmp_path):
    torch.save(LightUniFormer(7, **ARGUMENTS, ndim=2).state_dict(), tmp_path / "light.pth")
    status, _, errors = inflate(
        tmp_path / "light.pth", "MODEL.MODEL_NAME", "uniformer_xxs", *words(SIZES)
    )
    assert status == 0, errors
    assert read_weights(tmp_path / "video.pt").metadata["model"]["name"] == "uniformer_xxs"


def test_what_to_give_is_said(image, inflate):
    status, _, errors = inflate(image)
    assert status == 2
    given = "MODEL.MODEL_NAME uniformer_s UNIFORMER.EMBED_DIM [8,8,16,24] UNIFORMER.DEPTH [1,1,2,1]"
    assert f"{given} UNIFORMER.MLP_RATIO 2 UNIFORMER.HEAD_DIM N" in errors


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["UNIFORMER.DEPTH", "[1,1,1,1]"],
            "of another architecture than the model: it has blocks3.1",
        ),
        (["UNIFORMER.EMBED_DIM", "[8,8,16,32]"], "belongs to another architecture"),
        (["--model", "image_uniformer_s"], "leave --model out"),
        (["SOLVER.BASE_LR", "1"], "SOLVER.BASE_LR does not change the model"),
        (["MODEL.MODEL_NAME", "x3d_m"], "x3d_m takes no inflated weights"),
        (["MODEL.MODEL_NAME", "image_uniformer_s"], "takes images"),
        (["UNIFORMER.DEPHT", "[1,1,1,1]"], "UNIFORMER.DEPTH"),
    ],
)
def test_settings_that_do_not_fit_are_refused(image, inflate, tmp_path, more, message):
    settings = {key: value for key, value in SIZES.items() if key not in more}
    if "MODEL.MODEL_NAME" in more:
        settings = {}
    status, _, errors = inflate(image, *words(settings), *more)
    assert status == 2 and message in errors, errors
    assert not (tmp_path / "video.pt").exists()


def test_weights_of_token_labelling_start_a_video_model_and_it_is_said_once(tmp_path, inflate):
    published = "published video models start from weights that were trained without it"
    settings = {**SIZES, "UNIFORMER.PRETRAIN_NAME": str(tmp_path / "labelled.pth")}
    model = UniFormer(7, **ARGUMENTS, ndim=2, aux_head=True)
    torch.save(model.state_dict(), tmp_path / "labelled.pth")
    _, report = build_model(load_config(overrides=words(settings)), 3)
    assert " ".join(report.lines()).count(published) == 1
    torch.save(UniFormer(7, **ARGUMENTS, ndim=2).state_dict(), tmp_path / "labelled.pth")
    _, report = build_model(load_config(overrides=words(settings)), 3)
    assert published not in " ".join(report.lines())
    torch.save(model.state_dict(), tmp_path / "labelled.pth")
    status, told, _ = inflate(tmp_path / "labelled.pth", *words(SIZES))
    assert status == 0 and told.count(published) == 1

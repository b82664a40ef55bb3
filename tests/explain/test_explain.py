"""Grad-CAM and occlusion, on networks whose logits depend on known parts of a clip only."""

import dataclasses
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from uniformer_video.cli import main
from uniformer_video.errors import ConfigError, DataError
from uniformer_video.explain.drawing import claim_files, overlay, strip, write_files
from uniformer_video.explain.explainer import Explainer, Explanation
from uniformer_video.explain.gradcam import gradcam, usual_stage
from uniformer_video.explain.occlusion import occlusion, occlusion_of_seconds, spread
from uniformer_video.inference.predictor import Predictor
from uniformer_video.models.layer_maps import find_layer


class Corner(nn.Module):
    """Class 1 is the brightness of the first half of the frames, in the upper left quarter."""

    def __init__(self):
        super().__init__()
        self.seen = nn.Conv3d(3, 2, 1)
        nn.init.constant_(self.seen.weight, 1.0)
        nn.init.zeros_(self.seen.bias)

    def forward(self, x):
        _, _, t, h, w = x.shape
        mask = torch.zeros(t, h, w)
        mask[: t // 2, : h // 2, : w // 2] = 1
        logit = self.seen(x * mask).mean((1, 2, 3, 4))
        return torch.stack([torch.zeros_like(logit), logit], 1)


def clip():
    view = torch.zeros(3, 8, 14, 14)
    view[:, :4, :7, :7] = 1.0
    return view


def test_gradcam_finds_the_region_and_time_that_decide():
    heat = gradcam(Corner(), clip()[None], 1, "seen")
    assert heat.shape == (8, 14, 14)
    assert (heat[:4, :7, :7] > 0).all()
    assert heat.sum() == pytest.approx(float(heat[:4, :7, :7].sum()))


def test_gradcam_is_what_autograd_gives_by_hand():
    torch.manual_seed(0)
    body, head = nn.Conv3d(3, 5, 3, padding=1), nn.Linear(5 * 2 * 4 * 4, 3)
    model = nn.Sequential(body, nn.Tanh(), nn.Flatten(), head)
    view = torch.randn(1, 3, 2, 4, 4)
    features = body(view)
    head(torch.tanh(features).flatten(1))[0, 2].backward(inputs=[features.requires_grad_()])
    expected = torch.zeros(2, 4, 4)
    for channel in range(5):
        expected += features.grad[0, channel].mean() * features[0, channel].detach()
    torch.testing.assert_close(gradcam(model, view, 2, "0"), expected.clamp(min=0))


def test_gradcam_leaves_alone_what_other_threads_predict():
    class Shared(Corner):
        def forward(self, x):
            logits = super().forward(x)
            if torch.is_grad_enabled():
                other = Thread(target=torch.no_grad()(self.forward), args=(torch.zeros_like(x),))
                other.start()
                other.join()
            return logits

    heat = gradcam(Shared(), clip()[None], 1, "seen")
    assert (heat == gradcam(Corner(), clip()[None], 1, "seen")).all()


def test_occlusion_of_the_deciding_part_costs_most():
    model = Corner().eval()
    with torch.no_grad():
        time, space = occlusion(lambda views: model(views).numpy(), clip(), 1, 3)
    assert time.shape == (8,) and space.shape == (7, 7)
    assert time[:4].min() > time[4:].max() + 1e-4
    assert space[:3, :3].min() > space[4:, 4:].max() + 1e-4
    heat = spread(time, space, clip())
    assert heat[:4, :6, :6].min() > 0 and heat[4:].max() < 1e-3


def test_the_seconds_of_a_video_that_decide_are_found_over_all_clips():
    """The first half of a clip decides: of clips at 0 to 8 s and 20 to 28 s, seconds 0 to 3 and 20 to 23."""
    times = np.stack([np.arange(8.0), np.arange(20.0, 28.0)])
    model = Corner().eval()
    with torch.no_grad():
        ask = lambda views: model(views).numpy()  # noqa: E731
        edges, falls = occlusion_of_seconds(ask, torch.stack([clip()] * 2), times, 1, 3)
    assert (edges == np.arange(29)).all()
    assert np.isnan(falls[8:20]).all()  # no clip looks there
    assert (falls[[0, 1, 2, 3, 20, 21, 22, 23]] > 1e-3).all()
    assert abs(falls[[4, 5, 6, 7, 24, 25, 26, 27]]).max() < 1e-6


@pytest.mark.parametrize("method, clips", [("gradcam", 1), ("occlusion", 2), ("rollout", 2)])
def test_the_command_writes_data_strip_and_video(checkpoint, make_video, tmp_path, method, clips):
    out = tmp_path / "heat"
    video = make_video()
    command = ["explain", str(video), "--checkpoint", str(checkpoint), "--out", str(out)]
    words = ["--class", "run", "--method", method, "--clips", str(clips)]
    for _ in range(2):  # its own files may be written again
        assert main([*command, *words]) == 0
    (data,) = out.glob("*_heat.npz")
    stored = np.load(data)
    assert str(stored["class_name"]) == "run" and 0 <= stored["score"] <= 1
    assert stored["heat"].dtype == np.float32 and stored["heat"].min() >= 0
    frames = stored["times"].shape[1]
    assert stored["heat"].shape == stored["frames"].shape[:4] == (clips, frames, 32, 32)
    assert (np.diff(stored["times"]) > 0).all()
    assert ("falls_seconds" in stored) == (method == "occlusion")
    with Image.open(next(out.glob("*_heat.png"))) as picture:
        assert picture.size == (32 * frames, 2 * 32 * clips)
    assert sorted(path.suffix for path in out.iterdir()) == [".mp4", ".npz", ".png"]


def test_a_folded_predictor_explains_alike_by_blocks_and_refuses_other_layers(
    checkpoint, make_video
):
    video = make_video()
    plain, folded = (
        Explainer(Predictor.from_checkpoint(checkpoint, device="cpu", fold=fold))
        for fold in (False, True)
    )
    for stage in (1, 4):
        expected, found = (
            np.stack([own(video, name, stage=stage).heat for name in ("sit", "run", "eat")])
            for own in (plain, folded)
        )
        assert expected.max() > 0
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * expected.max())
    with pytest.raises(ConfigError, match=r"blocks1.0.norm1 gives something else.*fold=False"):
        folded(video, "run", layer="blocks1.0.norm1")


def test_the_command_explains_by_each_layer_as_it_was_trained(checkpoint, make_video, tmp_path):
    command = ["explain", str(make_video()), "--checkpoint", str(checkpoint), "--class", "run"]
    layer = ["--layer", "blocks1.0.norm1", "--out", str(tmp_path / "heat")]
    assert main([*command, *layer]) == 0


@pytest.mark.parametrize(
    "words, told",
    [
        (["--class", "runn"], "did you mean 'run'?"),
        (["--stage", "5"], "allowed: 1, 2, 3, 4"),
        (["--layer", "blocks4.99"], "which uniformer_s does not have; did you mean 'blocks4."),
        (["--layer", "head"], "no map of channels"),
        (["--layer", "blocks4.0", "--stage", "4"], "name one of them"),
        (["--method", "occlusion", "--stage", "4"], "occlusion asks for none"),
        (["--method", "rollout", "--layer", "blocks4.0"], "rollout asks for none"),
        (["--method", "rolout"], "did you mean 'rollout'?"),
        (["--clips", "0"], "clips is 0; it is 1 to 64"),
        (["--fps", "-1"], "fps is -1; it must be above 0"),
    ],
)
def test_what_is_not_there_is_said(checkpoint, make_video, tmp_path, capsys, words, told):
    command = ["explain", str(make_video()), "--checkpoint", str(checkpoint)]
    try:
        status = main([*command, "--out", str(tmp_path / "heat"), *words])
    except SystemExit as stop:  # argparse's
        status = stop.code
    assert status == 2
    assert told in capsys.readouterr().err


def test_a_broken_video_is_said(checkpoint, tmp_path, capsys):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video" * 100)
    command = ["explain", str(broken), "--checkpoint", str(checkpoint)]
    assert main([*command, "--out", str(tmp_path / "heat")]) == 2
    assert "broken.mp4" in capsys.readouterr().err
    assert not (tmp_path / "heat").exists()


def test_files_of_others_stay(tmp_path):
    (tmp_path / "a_heat.png").write_bytes(b"mine")
    with pytest.raises(DataError, match="is not of an explanation"):
        claim_files(tmp_path, "a.mp4")


def test_the_explanation_of_another_video_of_that_name_stays(tmp_path):
    picture = np.zeros((1, 2, 4, 4, 3), np.uint8)
    heat, times = np.zeros((1, 2, 4, 4), np.float32), np.zeros((1, 2))
    first = str(tmp_path / "first" / "a.mp4")
    places = claim_files(tmp_path, first)
    Explanation(first, "sit", 0.5, "gradcam", heat, picture, times).save(places["npz"])
    assert claim_files(tmp_path, first) == places  # its own are made anew
    with pytest.raises(DataError, match=r"is of another video, .*first"):
        claim_files(tmp_path, str(tmp_path / "second" / "a.mp4"))


@pytest.mark.parametrize("video", ["", "img_{:05d}.jpg"])
def test_results_do_not_mix_with_the_frames_of_the_video(tmp_path, video):
    with pytest.raises(DataError, match="holds the frames of the video"):
        claim_files(f"{tmp_path}/.", str(tmp_path / video))


def test_an_empty_folder_name_is_not_where_one_stands():
    with pytest.raises(DataError, match="--out is empty"):
        claim_files("", "a.mp4")


def test_a_model_without_stages_asks_for_a_layer():
    with pytest.raises(ConfigError, match=r"name a layer \(--layer\): there are seen"):
        find_layer(Corner())
    assert find_layer(Corner(), layer="seen") == "seen"
    assert usual_stage(Corner(), clip()[None]) is None


class Staged(Corner):
    """A model of somebody's own that names its stages: 14 places a side, and 7."""

    stage_layers = ("seen", "pool")

    def __init__(self):
        super().__init__()
        self.pool = nn.AvgPool3d((1, 2, 2))

    def forward(self, x):
        return self.pool(self.seen(x)).mean((2, 3, 4))


def test_a_plugin_may_name_its_stages():
    assert find_layer(Staged()) == find_layer(Staged(), 2) == "pool"
    assert usual_stage(Staged(), clip()[None]) == 1
    assert usual_stage(Staged(), torch.zeros(1, 3, 2, 24, 24)) == 2
    with pytest.raises(ConfigError, match="allowed: 1, 2"):
        find_layer(Staged(), 3)
    wrong = Staged()
    wrong.stage_layers = ("sen",)
    with pytest.raises(ConfigError, match="names 'sen' as a stage, and has no such layer"):
        find_layer(wrong)


def test_drawing_colours_the_hot_place_only(tmp_path):
    heat = np.zeros((1, 4, 16, 16), np.float32)
    heat[0, 2, :8, :8] = 2.0
    frames = np.full((1, 4, 16, 16, 3), 100, np.uint8)
    found = Explanation("a.mp4", "run", 0.5, "gradcam", heat, frames, np.arange(4)[None] / 10)
    changed = (overlay(found) != frames).any(-1)
    assert (changed == (heat > 0)).all()
    red = np.zeros_like(frames)
    red[..., 0] = 200
    above, below = np.split(strip(dataclasses.replace(found, frames=red)), 2)
    assert above.shape == (16, 64, 3) and (above == (200, 0, 0)).all()
    assert (np.ptp(below, axis=-1) > 0).sum() == 64  # all colour is heat
    cold = dataclasses.replace(found, heat=np.zeros_like(heat))
    assert (overlay(cold) == frames).all()
    places = claim_files(tmp_path / "out", "a.mp4")
    write_files(found, places)
    assert all(place.is_file() for place in places.values())


def test_a_model_of_images_is_refused():
    class OfImages:
        class medium:
            name = "image"

    with pytest.raises(ConfigError, match="takes images"):
        Explainer(OfImages())


@pytest.mark.parametrize(
    "layer", ["patch_embed1", "patch_embed1.proj", "blocks1.0.norm1", "blocks1.0.attn", "norm"]
)
def test_maps_of_a_uniformer_lie_over_its_grid(layer):
    from uniformer_video import create_model

    torch.manual_seed(0)
    model = create_model("uniformer_xxs", num_classes=3).eval()
    heat = gradcam(model, torch.randn(1, 3, 4, 64, 64), 1, find_layer(model, layer=layer))
    side = 2 if layer == "norm" else 16
    assert heat.shape == (2, side, side)


@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_light_models_give_a_map_at_each_stage(stage):
    from uniformer_video import create_model

    torch.manual_seed(0)
    model = create_model("uniformer_xxs", num_classes=3).eval()
    view = torch.randn(1, 3, 4, 64, 64)
    heat = gradcam(model, view, 1, find_layer(model, stage))
    side = 64 // 2 ** (stage + 1)
    assert heat.shape == (2, side, side) and heat.max() > 0

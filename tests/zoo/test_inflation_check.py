"""`inflate --check`: what a correct file shows, and its verdicts on damaged, other and foreign files."""

import re

import pytest
import torch

from uniformer_video.models.light import LightUniFormer
from uniformer_video.models.uniformer import UniFormer
from uniformer_video.weights.checkpoint import read_weights, write_checkpoint

SIZES = {"embed_dims": [8, 8, 16, 24], "depths": [1, 1, 2, 1], "head_dim": 4}
NAMES = {
    UniFormer: ("image_uniformer_s", "uniformer_s"),
    LightUniFormer: ("image_uniformer_xxs", "uniformer_xxs"),
}


def write_image(path, family=UniFormer, seed=0, **options):
    torch.manual_seed(seed)
    model = family(7, **SIZES, **options, ndim=2)
    for module in model.modules():  # so that attention matters
        if isinstance(module, torch.nn.Linear):
            module.weight.data.mul_(10)
    about = {"model": {"name": NAMES[family][0], "arguments": model.arguments}}
    write_checkpoint(path, model.state_dict(), about)
    return path


@pytest.fixture
def check(call, tmp_path):
    """A function: `inflate IMAGE` with further words; (status, lines of the verdict and before)."""
    image = write_image(tmp_path / "image.pt")

    def inflate(*more, image=image):
        status, shown, errors = call("inflate", image, *more)
        return status, shown + errors

    return inflate


def change(source, target, **tensors):
    """The weights of `source` as those of another project's file, with `tensors` in place of its own."""
    torch.save({**read_weights(source).state, **tensors}, target)


@pytest.mark.parametrize("kernel", ["3,5,5", "1,5,5"])
@pytest.mark.parametrize("family", [UniFormer, LightUniFormer])
@pytest.mark.parametrize("mode", ["average", "center"])
def test_what_is_written_is_correct(check, tmp_path, mode, family, kernel):
    image = write_image(tmp_path / "own.pt", family)
    status, shown = check(
        "--out", tmp_path / "v.pt", "--mode", mode, "--local-kernel", kernel, "--check", image=image
    )
    assert status == 0, shown
    assert f"verdict: correct, {tmp_path / 'v.pt'} is {image} inflated by {mode}" in shown
    offs = [float(off) for off in re.findall(r"off by (\S+) of the largest", shown)]
    assert offs[0] < 1e-6 and (offs[1] < 1e-6 if mode == "center" else offs[1] > 1e-3)
    assert "WRONG" not in shown and "cosine similarity: features" in shown


@pytest.mark.parametrize("layer_scale", [True, "global"])
def test_models_with_layer_scale(check, tmp_path, layer_scale):
    image = write_image(tmp_path / "scaled.pt", layer_scale=layer_scale)
    status, shown = check("--out", tmp_path / "v.pt", "--check", image=image)
    assert status == 0, shown


def test_the_factor_of_dropped_tokens_is_left_out_and_named(check, tmp_path):
    image = write_image(tmp_path / "light.pt", LightUniFormer, layer_scale=True)
    status, shown = check("--out", tmp_path / "video.pt", "--check", image=image)
    assert status == 0
    assert re.search(r"dropped: the layer scale of dropped tokens.*blocks3\.1\.gamma_3", shown)
    assert re.search(r"without \d tensors? of the image weights that no video model has", shown)
    assert "verdict: correct" in shown


def test_a_file_of_which_nothing_is_the_images(check, tmp_path):
    torch.save({"other.weight": torch.zeros(2)}, tmp_path / "other.pth")
    status, shown = check("--check-file", tmp_path / "other.pth")
    assert status == 2
    assert "all 0 tensors" not in shown
    assert "verdict: WRONG" in shown


def test_a_file_that_is_there_is_checked_by_the_mode_that_it_names_or_shows(check, tmp_path):
    named, bare = tmp_path / "named.pt", tmp_path / "bare.pth"
    assert check("--out", named, "--mode", "center")[0] == 0
    before = named.read_bytes()
    status, shown = check("--check-file", named)
    assert status == 0 and "inflated by center" in shown and named.read_bytes() == before
    change(named, bare)
    status, shown = check("--check-file", bare)
    assert status == 0 and "its metadata name no inflation" in shown and "by center" in shown


def test_the_other_mode_is_wrong(check, tmp_path):
    check("--out", tmp_path / "v.pt", "--mode", "center")
    status, shown = check("--check-file", tmp_path / "v.pt", "--mode", "average")
    assert status == 2 and "verdict: WRONG" in shown
    assert "WRONG: its metadata say center" in shown
    assert "patch_embed1.proj.weight (inflated by center)" in shown


def test_metadata_that_lie_are_wrong(check, tmp_path):
    check("--out", tmp_path / "v.pt", "--mode", "center")
    found = read_weights(tmp_path / "v.pt")
    found.metadata["inflated"]["mode"] = "average"
    write_checkpoint(tmp_path / "lies.pt", found.state, found.metadata)
    status, shown = check("--check-file", tmp_path / "lies.pt")
    assert status == 2 and "(inflated by center)" in shown


@pytest.mark.parametrize(
    ("key", "damage", "said"),
    [
        (
            "blocks2.0.mlp.fc1.weight",
            lambda value: value.index_fill(0, torch.tensor(0), 3),
            "off by",
        ),
        ("blocks1.0.attn.weight", lambda value: value.roll(1, 2), "off by"),
        ("norm.running_var", lambda value: value * 1.01, "off by"),
        ("blocks3.1.attn.qkv.weight", lambda value: value * torch.nan, "nan"),
    ],
)
def test_damaged_tensors_are_named(check, tmp_path, key, damage, said):
    good, bad = tmp_path / "good.pt", tmp_path / "bad.pth"
    check("--out", good, "--mode", "center")
    change(good, bad, **{key: damage(read_weights(good).state[key])})
    status, shown = check("--check-file", bad)
    assert status == 2 and "verdict: WRONG" in shown
    assert key in shown and said in shown.lower()
    assert re.search(r"1 tensor of \d+ differs from the image's", shown)


def test_files_that_are_no_inflation_of_it(check, tmp_path):
    other = write_image(tmp_path / "other.pt", seed=1)
    check("--out", tmp_path / "foreign.pt", image=other)
    status, shown = check("--check-file", tmp_path / "foreign.pt")
    assert status == 2 and "tensors of" in shown and "differ from the image's" in shown
    status, shown = check("--check-file", other)
    assert status == 2 and "holds 2D (image) weights" in shown and "verdict: WRONG" in shown

    check("--out", tmp_path / "v.pt")
    whole = (tmp_path / "v.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    status, shown = check("--check-file", tmp_path / "cut.pt")
    assert status == 2 and "incomplete" in shown and "verdict: WRONG" in shown

    state = read_weights(tmp_path / "v.pt").state
    lacking = {key: value for key, value in state.items() if "blocks4.0.norm2" not in key}
    torch.save({**lacking, "extra.weight": torch.zeros(3)}, tmp_path / "parts.pth")
    status, shown = check("--check-file", tmp_path / "parts.pth")
    assert status == 2 and "lacking: blocks4.0.norm2.weight" in shown and "extra.weight" in shown

    status, shown = check("--check-file", tmp_path / "absent.pt")
    assert status == 2 and "there is no weights file" in shown and "verdict" not in shown


def test_without_a_file_to_write_or_check_it_says_what_to_give(check):
    status, shown = check()
    assert status == 2 and "--out --check-file is required" in shown

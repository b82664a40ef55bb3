import copy
import importlib
import subprocess
import sys

import pytest
import torch

from uniformer_video.errors import ConfigError, MissingLibraryError
from uniformer_video.models import peers
from uniformer_video.models.peers import merge_positions, slow_frames
from uniformer_video.models.shapes import shapes_only
from uniformer_video.zoo.create import build_network

SIDE = 64
# One of X3D's three sizes stands for all: they differ in the native input alone.
SMALL_FRAMES = {
    "x3d_xs": 3,
    "slow_r50": 2,
    "slowfast_r50": 8,
    "r2plus1d_r50": 5,
    "mvit_base_16x4": 4,
}
# In millions, as pytorchvideo's model zoo states them, at 400 classes.
PARAMETERS = {
    "x3d_xs": 3.79,
    "x3d_s": 3.79,
    "x3d_m": 3.79,
    "slow_r50": 32.45,
    "slowfast_r50": 34.57,
    "r2plus1d_r50": 28.11,
    "mvit_base_16x4": 36.61,
}


def build(name, num_frames, crop_size):
    return build_network(name, 5, num_frames=num_frames, crop_size=crop_size)


@pytest.fixture(scope="module")
def small():
    """A function: a small model of that name with 5 classes; built once, to be left unchanged."""
    built = {}

    def get(name):
        if name not in built:
            torch.manual_seed(0)
            built[name] = with_lively_blocks(build(name, SMALL_FRAMES[name], SIDE))
        return built[name]

    return get


def with_lively_blocks(model):
    """Fresh residual branches end in a zero scale, which would hide most of the network."""
    for module in model.modules():
        if getattr(module, "block_final_bn", False):
            torch.nn.init.constant_(module.weight, 0.5)
    return model


def clips(name, batch=2, sides=(SIDE, SIDE)):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, SMALL_FRAMES[name], *sides, generator=generator)


def theirs(name, **options):
    """pytorchvideo's own model, as its hub builds it."""
    with peers.roi_align_for_pytorchvideo():
        hub = importlib.import_module("pytorchvideo.models.hub")
    return getattr(hub, name)(**options)


@pytest.mark.parametrize("name", PARAMETERS)
def test_keys_shapes_and_size_are_the_published_ones(name):
    with shapes_only():
        ours = build_network(name, 400)
    with torch.device("cpu") if name.startswith("mvit") else shapes_only():
        published = theirs(name).state_dict()
    state = ours.state_dict()
    assert {key: value.shape for key, value in state.items()} == {
        key: value.shape for key, value in published.items()
    }
    assert all(value.is_meta for value in state.values())
    params = sum(parameter.numel() for parameter in ours.parameters())
    assert round(params / 1e6, 2) == PARAMETERS[name]


@pytest.mark.parametrize("sides", [(160, 160), (182, 200)])
def test_equals_pytorchvideo_up_to_the_softmax(sides):
    torch.manual_seed(0)
    published = with_lively_blocks(theirs("x3d_xs")).eval()
    ours = build_network("x3d_xs", 400).eval()
    ours.load_state_dict(published.state_dict(), strict=True)
    # larger scores than those of a fresh head, so that a mean of logits would not pass
    for model in (ours, published):
        model.blocks[-1].proj.weight.data.mul_(100)
    clip = torch.randn(2, 3, 4, *sides)
    with torch.no_grad():
        torch.testing.assert_close(ours(clip).softmax(1), published(clip), rtol=1e-4, atol=1e-6)


def test_positions_are_merged_by_their_softmax():
    torch.manual_seed(0)
    logits = 5 * torch.randn(2, 6, 1, 2, 3, dtype=torch.float64)
    merged = merge_positions(logits)
    torch.testing.assert_close(merged.softmax(1), logits.softmax(1).mean((2, 3, 4)))
    torch.testing.assert_close(merge_positions(logits[..., :1, :1]), logits[:, :, 0, 0, 0])
    same = logits[..., :1, :1].expand(2, 6, 1, 2, 3)
    torch.testing.assert_close(merge_positions(same), logits[:, :, 0, 0, 0])


@pytest.mark.parametrize("frames", [4, 8, 28, 32, 40, 64])
def test_slow_frames(frames):
    expected = torch.linspace(0, frames - 1, frames // 4).long()
    assert torch.equal(slow_frames(frames, 4), expected)


def test_slowfast_makes_its_slow_pathway(small):
    model = copy.deepcopy(small("slowfast_r50")).eval()
    windows = ((2, 2, 2), (8, 2, 2))
    published = theirs("slowfast_r50", model_num_class=5, head_pool_kernel_sizes=windows).eval()
    published.load_state_dict(model.state_dict(), strict=True)
    clip = clips("slowfast_r50")
    with torch.no_grad():
        torch.testing.assert_close(model(clip), published([clip[:, :, [0, 7]], clip]))


def test_mvit_equals_pytorchvideo(small):
    model = copy.deepcopy(small("mvit_base_16x4")).eval()
    published = theirs("mvit_base_16x4", spatial_size=SIDE, temporal_size=4, head_num_classes=5)
    published.load_state_dict(model.state_dict(), strict=True)
    clip = clips("mvit_base_16x4")
    with torch.no_grad():
        torch.testing.assert_close(model(clip), published.eval()(clip))


def test_weight_decay_spares_mvit_tokens_alone(small):
    spared = small("mvit_base_16x4").no_weight_decay()
    assert spared == {
        "cls_positional_encoding.cls_token",
        "cls_positional_encoding.pos_embed_spatial",
        "cls_positional_encoding.pos_embed_temporal",
        "cls_positional_encoding.pos_embed_class",
    }
    assert spared <= dict(small("mvit_base_16x4").named_parameters()).keys()
    assert small("x3d_xs").no_weight_decay() == set()


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("slowfast_r50", {"num_frames": 6}, "in steps of 4; use 4 or 8, got 6"),
        ("mvit_base_16x4", {"num_frames": 1}, "in steps of 2; use 2 or 4, got 1"),
        ("mvit_base_16x4", {"crop_size": 98}, "in steps of 4; use 96 or 100, got 98"),
        ("x3d_s", {"num_frames": 0}, "any number of frames from 1, got 0"),
        ("slow_r50", {"crop_size": 16}, "any number of pixels a side from 32, got 16"),
    ],
)
def test_impossible_sizes_say_what_is_possible(name, sizes, message):
    with pytest.raises(ConfigError, match=message):
        build_network(name, 5, **sizes)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("x3d_xs", (1, 3, 4, 64, 64)),
        ("x3d_xs", (1, 3, 3, 64, 32)),
        ("mvit_base_16x4", (1, 3, 4, 64, 96)),
    ],
)
def test_other_clips_than_built_for_are_refused(name, shape, small):
    with pytest.raises(ConfigError, match=f"built for {SMALL_FRAMES[name]} frames and .*64 pixels"):
        small(name)(torch.zeros(shape))


def test_not_a_clip(small):
    with pytest.raises(ValueError, match=r"\[B, 3, T, H, W\]"):
        small("x3d_xs")(torch.zeros(3, 3, 64, 64))


def test_missing_pytorchvideo(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorchvideo.models.x3d", None)
    with pytest.raises(MissingLibraryError, match="pip install pytorchvideo"):
        build_network("x3d_xs", 5)


def write_torchvision(folder, files):
    (folder / "torchvision").mkdir()
    for name, text in files.items():
        (folder / "torchvision" / name).write_text(text)


def torchvision_modules():
    return sorted(name for name in sys.modules if name.partition(".")[0] == "torchvision")


BROKEN = {
    "__init__.py": "from torchvision import extension, ops",
    "extension.py": "",
    "ops.py": "raise RuntimeError('operator torchvision::nms does not exist')",
}


@pytest.fixture
def torchvision(tmp_path, monkeypatch):
    """A function that installs a package `torchvision` of these files, as if nothing had used it."""

    def install(files):
        write_torchvision(tmp_path, files)
        monkeypatch.syspath_prepend(tmp_path)

    before = {name: sys.modules.pop(name) for name in torchvision_modules()}
    monkeypatch.delitem(sys.modules, "pytorchvideo.models.head", raising=False)
    yield install
    for name in torchvision_modules():
        del sys.modules[name]
    sys.modules.update(before)


# A package that fails with ImportError stands for none, whatever is installed here.
@pytest.mark.parametrize("files", [{"__init__.py": "raise ImportError('not here')"}, BROKEN])
def test_stand_in_while_pytorchvideo_is_imported_and_no_longer(torchvision, files):
    torchvision(files)
    with pytest.raises(KeyError), peers.roi_align_for_pytorchvideo():
        roi_align = importlib.import_module("torchvision.ops").RoIAlign
        raise KeyError("an import that fails leaves nothing either")
    assert torchvision_modules() == []
    with pytest.raises(MissingLibraryError, match="need torchvision"):
        roi_align(7, spatial_scale=1.0, sampling_ratio=0)


def test_working_torchvision_is_used_and_left_alone(torchvision):
    torchvision({"__init__.py": "", "ops.py": "class RoIAlign: real = True"})
    with peers.roi_align_for_pytorchvideo():
        assert importlib.import_module("torchvision.ops").RoIAlign.real
    assert torchvision_modules() == ["torchvision", "torchvision.ops"]
    assert sys.modules["torchvision.ops"].RoIAlign.real


def test_models_build_beside_a_broken_torchvision(tmp_path):
    write_torchvision(tmp_path, BROKEN)
    script = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import torch
from uniformer_video.models.peers import build_x3d
assert not any(name.startswith("pytorchvideo") for name in sys.modules)
with torch.device("meta"):
    build_x3d(5, 4, 64)
assert not any(name.startswith("torchvision") for name in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

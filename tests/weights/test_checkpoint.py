import pytest
import torch

from uniformer_video.errors import CheckpointError
from uniformer_video.models.uniformer import UniFormer
from uniformer_video.weights.checkpoint import (
    Weights,
    file_sha256,
    fit_weights,
    read_weights,
    write_checkpoint,
)
from uniformer_video.weights.inflate import fit_kernel_in_time, inflate_kernel
from uniformer_video.zoo.create import create_model
from uniformer_video.zoo.inflate import inflate_file

SMALL = {"embed_dims": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "head_dim": 8}


def model(num_classes=5, **options):
    torch.manual_seed(0)
    return UniFormer(num_classes, **SMALL, **options).eval()


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_gives_the_same_model(tmp_path, suffix):
    if suffix == "safetensors":
        pytest.importorskip("safetensors")
    source = model()
    write_checkpoint(tmp_path / f"weights.{suffix}", source.state_dict(), {})
    loaded = create_model(
        "uniformer_s", checkpoint=tmp_path / f"weights.{suffix}", head_dim=8, **_shape(source)
    )
    clip = torch.randn(1, 3, 4, 32, 32)
    assert torch.equal(loaded(clip), source(clip))
    assert not loaded.training


def _shape(model):
    return {key: model.arguments[key] for key in ("embed_dims", "depths")}


def test_own_checkpoint_carries_its_architecture(tmp_path):
    source = model(local_kernel=(5, 5, 5))
    metadata = {"model": {"name": "uniformer_s", "arguments": source.arguments}}
    write_checkpoint(tmp_path / "own.pt", source.state_dict(), metadata)
    loaded = create_model(checkpoint=tmp_path / "own.pt")
    assert loaded.arguments == source.arguments
    assert loaded.num_classes == 5


def test_head_of_other_classes(tmp_path):
    torch.save(model(7).state_dict(), tmp_path / "w.pth")
    weights = read_weights(tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="trained for other classes"):
        fit_weights(model(5), weights)
    target = model(5)
    before = target.head.weight.clone()
    report = fit_weights(target, weights, replace_head=True)
    assert torch.equal(target.head.weight, before)
    assert any("classifier replaced" in line for line in report.lines())
    assert torch.equal(target.norm.weight, weights.state["norm.weight"])


class TwoHeads(torch.nn.Module):
    """A model with more than one head."""

    head_keys = ("proj.weight", "proj.bias", "aux_head.weight", "aux_head.bias")

    def __init__(self, num_classes):
        super().__init__()
        self.norm = torch.nn.LayerNorm(4)
        self.proj = torch.nn.Linear(4, num_classes)
        self.aux_head = torch.nn.Linear(4, num_classes)


def test_a_model_names_its_heads():
    weights = Weights("w.pth", TwoHeads(7).state_dict())
    with pytest.raises(
        CheckpointError, match=r"proj\.weight is \[7, 4\].*trained for other classes"
    ):
        fit_weights(TwoHeads(5), weights)
    report = fit_weights(TwoHeads(5), weights, replace_head=True)
    assert report.replaced == [f"{key} 7 -> 5 classes" for key in TwoHeads.head_keys]
    assert report.loaded == ["norm.weight", "norm.bias"]

    body = {key: value for key, value in weights.state.items() if key not in TwoHeads.head_keys}
    assert fit_weights(TwoHeads(5), Weights("w.pth", body), replace_head=True).missing == list(
        TwoHeads.head_keys
    )
    with pytest.raises(CheckpointError, match=r"lacks proj\.weight, proj\.bias, aux_head\.weight"):
        fit_weights(TwoHeads(7), Weights("w.pth", body))


def test_heads_that_the_model_lacks_are_dropped_aloud():
    extra = {"aux_head.weight": torch.ones(5, 32), "head_cls.weight": torch.ones(5, 32)}
    weights = Weights("w.pth", {**model().state_dict(), **extra})
    assert fit_weights(model(), weights, replace_head=True).skipped == list(extra)
    with pytest.raises(CheckpointError, match=r"model has no aux_head\.weight, head_cls\.weight"):
        fit_weights(model(), weights)


@pytest.mark.parametrize("mode", ["average", "center"])
def test_layer_scale_of_images_is_not_divided(mode):
    video, image = torch.nn.Module(), {}
    video.head_keys = ()
    for name in ("gamma_1", "gamma_2"):
        setattr(video, name, torch.nn.Parameter(torch.zeros(1, 6, 1, 1, 1)))
        image[name] = torch.randn(1, 6, 1, 1)
    report = fit_weights(video, Weights("w.pth", image), mode)
    assert report.inflated == ["gamma_1", "gamma_2"]
    assert torch.equal(video.gamma_1.flatten(), image["gamma_1"].flatten())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_weights_of_other_precisions_are_loaded(dtype):
    state = {key: value.to(dtype) for key, value in model().state_dict().items()}
    target = model()
    fit_weights(target, Weights("w.pth", state))
    assert torch.equal(target.head.weight, state["head.weight"].float())


def test_weights_that_are_not_finite_are_refused():
    state = model().state_dict()
    state["norm.weight"][0] = float("nan")
    with pytest.raises(CheckpointError, match=r"not finite, in norm\.weight: its training failed"):
        fit_weights(model(), Weights("w.pth", state))


def test_missing_and_left_over_tensors(tmp_path):
    state = model().state_dict()
    del state["norm.weight"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"lacks norm\.weight"):
        fit_weights(model(), read_weights(tmp_path / "w.pth"))
    state = {**model().state_dict(), "extra": torch.zeros(1)}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="no extra"):
        fit_weights(model(), read_weights(tmp_path / "w.pth"))


def test_the_file_decides_the_kernel_unless_one_is_set(tmp_path):
    source = model(local_kernel=(5, 5, 5))
    torch.save(source.state_dict(), tmp_path / "w.pth")
    options = {"head_dim": 8, **_shape(source)}

    def load(**more):
        return create_model("uniformer_s", checkpoint=tmp_path / "w.pth", **options, **more)

    assert load().arguments["local_kernel"] == [5, 5, 5]
    assert load(local_kernel=(5, 5, 5)).arguments["local_kernel"] == [5, 5, 5]
    with pytest.raises(CheckpointError, match=r"\[5, 5, 5\].*\[3, 5, 5\].*ADAPT_KERNEL"):
        load(local_kernel=(3, 5, 5))
    adapted = load(local_kernel=(3, 5, 5), adapt_kernel=True)
    assert torch.equal(adapted.blocks1[0].attn.weight, source.blocks1[0].attn.weight[:, :, 1:4])


def test_kernel_longer_in_time_computes_the_same(tmp_path):
    source = model(local_kernel=(3, 5, 5))
    torch.save(source.state_dict(), tmp_path / "w.pth")
    loaded = create_model(
        "uniformer_s",
        checkpoint=tmp_path / "w.pth",
        local_kernel=(5, 5, 5),
        adapt_kernel=True,
        head_dim=8,
        **_shape(source),
    )
    clip = torch.randn(1, 3, 8, 32, 32)
    torch.testing.assert_close(loaded(clip), source(clip))


def test_average_inflation_treats_a_repeated_frame_like_the_image():
    torch.manual_seed(0)
    kernel, image = torch.randn(6, 4, 3, 3), torch.randn(2, 4, 9, 9)
    clip = image.unsqueeze(2).repeat(1, 1, 5, 1, 1)
    expected = torch.nn.functional.conv2d(image, kernel)
    for mode in ("average", "center"):
        out = torch.nn.functional.conv3d(clip, inflate_kernel(kernel, 5, mode))
        torch.testing.assert_close(out[:, :, 0], expected)
    center = inflate_kernel(kernel, 5, "center")
    assert torch.equal(center[:, :, 2], kernel)
    assert center[:, :, [0, 1, 3, 4]].abs().max() == 0
    with pytest.raises(ValueError, match="average, center"):
        inflate_kernel(kernel, 5, "median")


def test_fitting_a_kernel_in_time():
    kernel = torch.arange(5.0).view(1, 1, 5, 1, 1)
    assert fit_kernel_in_time(kernel, 3).flatten().tolist() == [1, 2, 3]
    assert fit_kernel_in_time(kernel, 7).flatten().tolist() == [0, 0, 1, 2, 3, 4, 0]
    assert torch.equal(fit_kernel_in_time(kernel, 5), kernel)


def test_inflation_script_and_training_agree(tmp_path):
    torch.manual_seed(0)
    image = UniFormer(1000, **SMALL, ndim=2)
    metadata = {"model": {"name": "image_uniformer_s", "arguments": image.arguments}}
    write_checkpoint(tmp_path / "image.pth", image.state_dict(), metadata)
    lines = inflate_file(tmp_path / "image.pth", tmp_path / "video.pt", "average", (3, 5, 5))
    assert any("1000 classes" in line and "dropped" in line for line in lines)

    direct, through = model(10, local_kernel=(3, 5, 5)), model(10, local_kernel=(3, 5, 5))
    fit_weights(direct, read_weights(tmp_path / "image.pth"), "average", replace_head=True)
    report = fit_weights(through, read_weights(tmp_path / "video.pt"), replace_head=True)
    assert not report.inflated
    for key, value in direct.state_dict().items():
        if not key.startswith("head"):
            assert torch.equal(value, through.state_dict()[key]), key
    patch = image.patch_embed1.proj.weight
    assert torch.allclose(direct.patch_embed1.proj.weight.sum(2), patch, atol=1e-6)
    assert torch.equal(direct.blocks3[0].attn.qkv.weight, image.blocks3[0].attn.qkv.weight)


def test_inflation_refuses_what_it_cannot_inflate(tmp_path):
    torch.save(model().state_dict(), tmp_path / "video.pth")
    with pytest.raises(CheckpointError, match="video weights already"):
        inflate_file(tmp_path / "video.pth", tmp_path / "out.pt", "average", (3, 5, 5))
    small = UniFormer(10, **SMALL, ndim=2)
    torch.save(small.state_dict(), tmp_path / "small.pth")
    with pytest.raises(CheckpointError, match="sizes that no named model has"):
        inflate_file(tmp_path / "small.pth", tmp_path / "out.pt", "average", (3, 5, 5))
    assert not (tmp_path / "out.pt").exists()


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_sha256(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223b00361a3")


@pytest.mark.parametrize("added", ["layer_scale", "split"])
def test_training_may_add_layer_scale_and_temporal_attention(tmp_path, added):
    torch.save(model().state_dict(), tmp_path / "w.pth")
    weights = read_weights(tmp_path / "w.pth")
    target = model(**{added: True})
    report = fit_weights(target, weights, replace_head=True)
    assert any("freshly initialised" in line for line in report.lines())
    assert torch.equal(target.norm.weight, weights.state["norm.weight"])
    with pytest.raises(CheckpointError, match="lacks"):
        fit_weights(model(**{added: True}), weights)

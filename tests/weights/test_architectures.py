"""Weights of other models are called what they are; ours never are called anything else."""

import pytest
import torch

from uniformer_video.errors import CheckpointError
from uniformer_video.models.shapes import shapes_only
from uniformer_video.weights.architectures import is_known_here, name_architecture
from uniformer_video.weights.checkpoint import Weights, fit_weights
from uniformer_video.zoo.create import build_network, create_model
from uniformer_video.zoo.registry import MODELS, identify_model

# A few keys of each, as its project writes them.
OTHERS = {
    "a ResNet": [
        ["conv1.weight", "layer1.0.conv1.weight", "layer4.2.bn3.running_var", "fc.weight"],
        ["stem.0.weight", "layer1.0.conv1.0.weight", "fc.weight"],
        ["backbone.layer1.0.conv1.conv.weight", "cls_head.fc_cls.weight"],
        ["base_model.layer1.0.conv1.net.weight", "new_fc.weight"],
        ["resnet.embedder.embedder.convolution.weight", "classifier.1.weight"],
    ],
    "a SlowFast": [
        ["s1.pathway0_stem.conv.weight", "s1.pathway1_stem.conv.weight", "head.projection.weight"],
        ["backbone.slow_path.conv1.conv.weight", "backbone.fast_path.conv1.conv.weight"],
    ],
    "an X3D": [["s1.pathway0_stem.conv_xy.weight", "s2.pathway0_res0.branch2.a.weight"]],
    "a ResNet of pytorchvideo or PySlowFast (Slow, I3D, R(2+1)D)": [
        ["s1.pathway0_stem.conv.weight", "s2.pathway0_res0.branch2.a.weight"]
    ],
    "an MViT": [
        ["cls_token", "patch_embed.proj.weight", "blocks.0.attn.pool_k.weight"],
        ["conv_proj.weight", "blocks.0.attn.norm_q.weight", "blocks.0.attn.qkv.weight"],
    ],
    "a Swin transformer": [
        ["patch_embed.proj.weight", "layers.0.blocks.0.attn.relative_position_bias_table"],
        ["features.0.0.weight", "features.1.0.attn.relative_position_bias_table"],
        ["swin.embeddings.patch_embeddings.projection.weight"],
    ],
    "a TimeSformer": [
        ["cls_token", "blocks.0.temporal_attn.qkv.weight", "blocks.0.attn.qkv.weight"]
    ],
    "a VideoMAE or BEiT (a ViT)": [["blocks.0.attn.q_bias", "blocks.0.attn.qkv.weight"]],
    "a ViT": [
        ["cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"],
        ["class_token", "encoder.layers.encoder_layer_0.self_attention.in_proj_weight"],
        ["vit.encoder.layer.0.attention.attention.query.weight"],
    ],
    "a ConvNeXt": [
        ["downsample_layers.0.0.weight", "stages.0.0.dwconv.weight", "head.weight"],
        ["stem.0.weight", "stages.0.blocks.0.conv_dw.weight", "head.fc.weight"],
        ["features.1.0.layer_scale", "features.1.0.block.0.weight"],
    ],
    "a CLIP": [["visual.transformer.resblocks.0.attn.in_proj_weight", "visual.proj"]],
    "a UniFormerV2": [["transformer.resblocks.0.lmhra1.0.weight", "transformer.dec.0.ln_1.weight"]],
    "a UniFormer of OpenMixup (with other keys and norms)": [
        [
            "backbone.patch_embed1.projection.weight",
            "backbone.blocks1.0.bn1.weight",
            "backbone.blocks1.0.attn.weight",
            "backbone.norm3.weight",
            "head.fc.weight",
        ]
    ],
    "a language model": [["model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"]],
    "an adapter (LoRA)": [["base.layer.lora_A.weight"]],
}


@pytest.mark.parametrize(
    ("what", "keys"), [(what, keys) for what, samples in OTHERS.items() for keys in samples]
)
def test_other_models_by_their_keys(what, keys):
    assert name_architecture(keys) == what
    assert name_architecture([f"net.{key}" for key in keys]) == what


def test_models_of_the_registry_by_their_keys():
    for name, known in MODELS.items():
        with shapes_only():
            what = name_architecture(build_network(name, 3).state_dict())
        assert is_known_here(what), name
        assert (what == "a UniFormer") == ("uniformer" in known.family.name)
    assert name_architecture(["stem.weight", "head.weight"]) is None


def resnet(path="w.pth"):
    return Weights(path, {"layer1.0.conv1.weight": torch.ones(2), "fc.weight": torch.ones(2, 2)})


def test_a_resnet_is_no_uniformer_whoever_reads_it(tmp_path, call):
    said = "holds the weights of a ResNet, not of a UniFormer"
    with pytest.raises(CheckpointError, match=said):
        identify_model(resnet())
    model = build_network("uniformer_s", 3, embed_dims=[8, 8, 16, 16], depths=[1] * 4, head_dim=8)
    for replace_head in (False, True):
        with pytest.raises(CheckpointError, match=said):
            fit_weights(model, resnet(), replace_head=replace_head)
    file, out = tmp_path / "w.pth", tmp_path / "out.pt"
    torch.save(resnet().state, file)
    with pytest.raises(CheckpointError, match=said):
        create_model("uniformer_xxs", checkpoint=file)
    for command in (
        ["convert", file, "--out", out],
        ["convert", file, "--out", out, "--model", "uniformer_xxs"],
        ["convert", file, "--out", tmp_path / "x.pth", "--to", "published"],
        ["inflate", file, "--out", out],
        ["predict", "video.mp4", "--checkpoint", file],
    ):
        status, _, errors = call(*command)
        assert status == 2 and "holds the weights of a ResNet" in errors, command
    assert not out.exists()

"""What kind of model a file's keys are of, so that weights of other models are called what they are."""

import re
from collections.abc import Iterable
from pathlib import Path

from uniformer_video.errors import CheckpointError

UNIFORMER = "a UniFormer"
DENSE = (
    "a UniFormer for segmentation, detection or pose"  # a UniFormer with norms behind its stages
)
# (What it is, a pattern that begins at one of its keys or behind a dot in it); the first that fits.
_NEAR = [
    ("a UniFormer of OpenMixup (with other keys and norms)", r"patch_embed[1-4]\.projection\.")
]
# Of these there are models here:
_KNOWN_HERE = [
    (UNIFORMER, r"blocks[1-4]\.\d+\.(attn|conv1|pos_embed)\."),
    (
        "a SlowFast",
        r"s\d\.pathway1_|blocks\.\d+\.multipathway_|(slow|fast)_path\.(conv1|layer\d)\.",
    ),
    ("an X3D", r"s1\.pathway0_stem\.conv_xy|blocks\.0\.conv\.conv_xy\.|conv1_s\.conv\."),
    (
        "a ResNet of pytorchvideo or PySlowFast (Slow, I3D, R(2+1)D)",
        r"s[2-5]\.pathway0_res\d+\.|blocks\.\d+\.res_blocks\.\d+\.branch2\.",
    ),
    (
        "an MViT",
        r"(blocks|layers)\.\d+\.attn\.(pool|norm)_[qkv]\.|cls_positional_encoding\."
        r"|blocks\.\d+\.attn\.rel_pos_[hwt]$",
    ),
]
_OTHERS = [
    (
        "a UniFormerV2",
        r"transformer\.(dec|dpe)\.\d+\.|resblocks\.\d+\.(lmhra|dpe)|transformer\.temporal_cls_token",
    ),
    (
        "a CLIP",
        r"transformer\.resblocks\.\d+\.|(vision|text)_model\.(encoder|embeddings)\.",
    ),
    (
        "a Swin transformer",
        r"(layers|features)\.\d+\.(blocks\.)?\d+\.attn\.(relative_position|logit_scale)"
        r"|swin(v2)?\.(encoder|embeddings)\.",
    ),
    (
        "a TimeSformer",
        r"blocks\.\d+\.temporal_(attn|norm1|fc)\.|layer\.\d+\.temporal_attention\.|time_embed$",
    ),
    (
        "a VideoMAE or BEiT (a ViT)",
        r"blocks\.\d+\.attn\.q_bias$|(videomae|beit)\.(encoder|embeddings)\.",
    ),
    ("a ViViT", r"vivit\.(encoder|embeddings)\."),
    (
        "a ConvNeXt",
        r"(stages|features)\.\d+\.(blocks\.|layers\.)?\d+\.(dw_?conv|conv_dw|depthwise_conv)\."
        r"|features\.\d+\.\d+\.layer_scale$|convnext(v2)?\.",
    ),
    ("a DenseNet", r"features\.denseblock\d\."),
    (
        "an EfficientNet",
        r"(conv_stem|_conv_stem)\.|features\.\d+\.\d+\.block\.\d+\.fc1\.",
    ),
    ("a MobileNet", r"features\.\d+\.conv\.\d+\."),
    ("a VGG or AlexNet", r"classifier\.6\."),
    ("an I3D or S3D (an Inception)", r"(Mixed|mixed)_\d[a-e]\."),
    ("a C3D", r"conv3a\."),
    (
        "a ResNet",
        r"layer[1-4]\.\d+\.(conv[123]|downsample)\.|resnet\.(encoder|embedder)\."
        r"|stages\.\d+\.layers\.\d+\.layer\.\d+\.convolution\.",
    ),
    ("a PVT or SegFormer", r"block[1-4]\.\d+\.attn\.(q|kv)\.|segformer\."),
    ("a Mamba", r"layers\.\d+\.mixer\."),
    (
        "a ViT",
        r"blocks\.\d+\.(\d+\.)?attn\.qkv\.|encoder\.layers\.encoder_layer_\d+\."
        r"|layer\.\d+\.attention\.(attention|self)\.query\.",
    ),
    (
        "a language model",
        r"h\.\d+\.attn\.c_attn\.|layers\.\d+\.self_attn\.|embeddings\.word_embeddings\.|embed_tokens\.",
    ),
    ("a YOLO", r"model\.\d+\.(conv|cv1)\."),
    ("a U-Net", r"(down_blocks|up_blocks|input_blocks|middle_block)\.\d"),
    ("an adapter (LoRA)", r"lora_(A|B|down|up)\."),
]
_PATTERNS = [
    (what, re.compile(rf"(?:^|\.)(?:{keys})")) for what, keys in _NEAR + _KNOWN_HERE + _OTHERS
]


_STAGE_NORM = re.compile(r"(?:^|\.)backbone\.norm4\.")


def name_architecture(keys: Iterable[object]) -> str | None:
    """What a model with these keys of tensors is, such as "a ResNet"; None where that is not known."""
    texts = [key for key in keys if isinstance(key, str)]
    found = next((what for what, pattern in _PATTERNS if any(map(pattern.search, texts))), None)
    return DENSE if found == UNIFORMER and any(map(_STAGE_NORM.search, texts)) else found


def is_known_here(what: str) -> bool:
    """Whether there are models of what `name_architecture` names."""
    return what == DENSE or any(what == known for known, _ in _KNOWN_HERE)


def check_architecture(
    path: Path | str, keys: Iterable[object], wanted_keys: Iterable[object]
) -> None:
    """Raise `CheckpointError` where the `keys` of a file are those of another kind of model than wanted."""
    found, wanted = name_architecture(keys), name_architecture(wanted_keys)
    if found and found != wanted:
        raise CheckpointError(
            f"{path} holds the weights of {found}, not of {wanted or 'this model'}"
        )

"""The list of models, for a terminal and as the README's table."""

import re
from pathlib import Path

import pytest

from uniformer_video import cli
from uniformer_video.zoo.listing import as_markdown, as_text, list_entries
from uniformer_video.zoo.peers import PEERS
from uniformer_video.zoo.published import PUBLISHED
from uniformer_video.zoo.uniformers import UNIFORMERS

ROOT = Path(__file__).parents[2]
pytest.importorskip("pytorchvideo")


@pytest.fixture(scope="module")
def every():
    return list_entries()


def by_name(entries):
    return {entry.name: entry for entry in entries}


def test_the_readme_has_the_table(capsys):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- models: begin -->\n(.*)<!-- models: end -->", readme, re.DOTALL)
    assert cli.main(["models", "--markdown"]) == 0
    assert found[1] == capsys.readouterr().out


def test_figures(every):
    small = by_name(every)["uniformer_s"]
    assert small.parameters == 21_400_400
    assert small.input == "16x224x224"
    assert small.gflops == 41.76
    assert small.top1.startswith("K400 78.4-82.0, K600 82.7-82.8, SSv1 57.2-59.9")
    image = by_name(every)["image_uniformer_b_ls"]
    assert image.parameters == 49_796_520
    assert image.input == "224x224"
    assert image.top1 == "ImageNet 83.9"
    peer = by_name(every)["slowfast_r50"]
    assert peer.top1 == "K400 76.94"
    assert peer.input == "32x224x224"
    assert by_name(every)["uniformer_s_plus"].top1 == ""


def test_files_are_those_that_one_can_have(every):
    entries = by_name(every)
    for model in UNIFORMERS:
        have = [w.name for w in PUBLISHED.values() if w.model == model.name and w.url]
        assert [line.split()[0] for line in entries[model.name].files] == have
    lines = entries["uniformer_s"].files
    published = next(line for line in lines if line.startswith("uniformer_small_k400_16x4 "))
    assert published.split(maxsplit=1)[1] == (
        "K400 80.8 %, 16 frames, stride 4, 224 pixels, 4x1 views"
    )
    assert not any(line.startswith("uniformer_small_k400_32x4") for line in lines)
    for peer in PEERS:
        (line,) = entries[peer.name].files
        assert line.startswith("https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/")
    assert (
        entries["x3d_xs"]
        .files[0]
        .endswith("/X3D_XS.pyth  K400 69.12 %, 4 frames, stride 12, 182 pixels, 10x3 views")
    )


def test_text(every):
    text = as_text(every).splitlines()
    start = next(i for i, line in enumerate(text) if line.startswith("image_uniformer_b_ls"))
    assert re.fullmatch(
        r"image_uniformer_b_ls +49\.80 M parameters +224x224 +8\.27 GFLOPs a view", text[start]
    )
    assert text[start + 1].split() == [
        "uniformer_base_ls_in1k",
        "ImageNet",
        "83.9",
        "%,",
        "224",
        "pixels",
    ]
    plus = next(i for i, line in enumerate(text) if line.startswith("uniformer_s_plus "))
    assert text[plus + 1].strip() == "no published weights"


def test_markdown(every):
    lines = as_markdown(every).splitlines()
    assert len(lines) == len(every) + 2
    assert len({line.count("|") for line in lines}) == 1
    assert lines[4] == lines[4].strip()
    assert any(
        line.startswith("| `uniformer_s_plus` |") and "| none | 0 |" in line for line in lines
    )


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("uniformer_xs", ["uniformer_xs", "image_uniformer_xs", "semantic_fpn_uniformer_xs"]),
        ("upernet", ["upernet_uniformer_s", "upernet_uniformer_b"]),
        ("uniformer_x*", ["uniformer_xxs", "uniformer_xs"]),
        ("x3d", ["x3d_xs", "x3d_s", "x3d_m"]),
        ("image_uniformer_[sb]", ["image_uniformer_s", "image_uniformer_b"]),
        ("s?ow_*", ["slow_r50"]),
        ("nothing", []),
    ],
)
def test_patterns(pattern, expected):
    assert [entry.name for entry in list_entries(pattern)] == expected


def test_command(capsys):
    assert cli.main(["models", "--filter", "uniformer_xxs"]) == 0
    out = capsys.readouterr().out
    assert "uniformer_xxs16_128_k400" in out
    assert "uniformer_b" not in out
    assert cli.main(["models", "--filter", "nothing"]) == 2

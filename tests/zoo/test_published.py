"""The published weights: what the table says agrees with the published runs, and where files are."""

import json
import re
from pathlib import Path

import pytest

from uniformer_video.data.lists.class_names import named_classes
from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import CheckpointError, MissingLibraryError
from uniformer_video.weights.checkpoint import Weights
from uniformer_video.zoo import published
from uniformer_video.zoo.published import (
    PUBLISHED,
    file_stem,
    local_file,
    may_be_fetched,
    order_of_outputs,
    published_by_name,
)
from uniformer_video.zoo.registry import find_model

RUNS = json.loads((Path(__file__).parents[1] / "fixtures/recipes.json").read_text())
MODELS = {"s": "small", "b": "base"}


def file_of(run):
    """The name of the weights of a run: they are spelt otherwise, light models and UCF/HMDB aside."""
    if run in PUBLISHED:
        return run
    size, *rest = run.removeprefix("uniformer_")[:1], *run.removeprefix("uniformer_")[1:].split("_")
    frames, data, *base = rest
    parts = [f"{data}_{frames}", *base]
    return "_".join(["uniformer", MODELS[size], *parts])


def test_every_row_is_about_a_known_model():
    for name, weights in PUBLISHED.items():
        assert name == weights.name
        of_images = find_model(weights.model).takes_images
        assert of_images == (weights.data == "in1k") == (weights.num_frames == 0)
        assert of_images == (weights.class_order == "imagenet")
        assert 50 < weights.top1 < 100
    places = [w.url for w in PUBLISHED.values() if w.url]
    assert len(set(places)) == len(places) == len(PUBLISHED) - 2


def test_every_run_has_its_weights():
    assert len(RUNS) == 39
    files = {file_of(run) for run in RUNS}
    assert files == {name for name, weights in PUBLISHED.items() if weights.num_frames}


@pytest.mark.parametrize(
    ("name", "short", "side", "mean"),
    [
        ("uniformer_small_in1k", 256, 224, 0.485),
        ("uniformer_small_plus_dim64_in1k", 256, 224, 0.485),
        ("uniformer_base_ls_in1k", 256, 224, 0.485),
        ("uniformer_xxs_128_in1k", 146, 128, 0.485),
        ("uniformer_xxs_160_in1k", 182, 160, 0.485),
        ("uniformer_xs_192_in1k", 219, 192, 0.485),
        ("uniformer_small_8xb128_fp16_ep300", 256, 224, 0.485),
        ("uniformer_small_tl_224", 248, 224, 0.5),
        ("uniformer_large_ls_tl_384", 426, 384, 0.5),
    ],
)
def test_images_are_prepared_as_published(name, short, side, mean):
    protocol = PUBLISHED[name].protocol()
    views = protocol.views
    assert (protocol.medium, protocol.num_views, protocol.decoder) == ("image", 1, "pillow")
    assert (views.short_side, views.crop_size) == (short, side)
    assert views.normalise.mean[0] == mean
    assert views.normalise.std[0] == {0.485: 0.229, 0.5: 0.5}[mean]
    assert Protocol.from_dict(protocol.to_dict()) == protocol


@pytest.mark.parametrize("run", RUNS)
def test_the_table_agrees_with_the_published_runs(run):
    facts, weights = RUNS[run], PUBLISHED[file_of(run)]
    light = run.startswith("uniformer_x")
    assert weights.top1 == facts["published"]["top1"]
    protocol = weights.protocol()
    sampling, views = protocol.sampling, protocol.views
    assert sampling.num_frames == facts["DATA.NUM_FRAMES"]
    assert sampling.frame_stride == facts["DATA.SAMPLING_RATE"]
    assert sampling.rule == facts["sampling"].split()[0]
    assert views.crop_size == views.short_side == facts["DATA.TEST_CROP_SIZE"]
    assert views.normalise.channel_order == facts["DATA.CHANNEL_ORDER"]
    assert (views.normalise.mean, views.normalise.std) == ((0.45,) * 3, (0.225,) * 3)
    assert protocol.num_clips == facts["TEST.NUM_ENSEMBLE_VIEWS"]
    assert views.num_crops == facts["TEST.NUM_SPATIAL_CROPS"]
    assert protocol.score == "logits"
    letters = run.removeprefix("uniformer_")
    expected = f"uniformer_{'xxs' if letters.startswith('xxs') else 'xs' if light else letters[0]}"
    assert weights.model == expected


@pytest.mark.parametrize(
    ("data", "order", "count", "first"),
    [
        ("k400", "k400-published", 400, "riding a bike"),
        ("k600", "k600-published", 600, None),
        ("ssv1", "ssv1", 174, None),
        ("ssv2", "ssv2", 174, None),
        ("ucf101", "ucf101", 101, None),
        ("hmdb51", "hmdb51", 51, None),
    ],
)
def test_orders_of_outputs(data, order, count, first):
    rows = [weights for weights in PUBLISHED.values() if weights.data == data]
    assert {weights.class_order for weights in rows} == {order}
    names = named_classes(order)
    assert len(names) == count
    assert first in (None, names[0])


def test_addresses():
    assert PUBLISHED["uniformer_small_k400_8x8"].url == (
        "https://drive.google.com/file/d/1-kitVTkWErHXI_x-sLItvK9-sOmb53j6"
    )
    assert PUBLISHED["uniformer_small_k400_32x4"].url == ""


@pytest.mark.parametrize(
    ("source", "stem"),
    [
        ("a/b/name.pth", "name"),
        ("https://host/x/name.pth#sha256=0.1", "name"),
        ("hf://owner/repo/name.safetensors", "name"),
        ("name", "name"),
        (Path("a") / "name.pth.tar", "name"),
        ("https://host/name.pth?download=true", "name"),
        ("a/name (1).pth", "name"),
        ("name(12).pth", "name"),
        ("name - Copy.pth", "name"),
    ],
)
def test_stems(source, stem):
    assert file_stem(source) == stem


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("UNIFORMER_WEIGHTS", str(tmp_path / "kept"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept").mkdir()
    return tmp_path / "kept"


@pytest.fixture
def fetched(monkeypatch):
    """Addresses and paths that were asked for, none of which is opened."""
    asked = []
    monkeypatch.setattr(published, "fetch", lambda source: asked.append(source) or "a file")
    return asked


def test_other_sources_are_fetched_as_they_are(folder, fetched):
    sources = ["w.pth", Path("a/w.pth"), "hf://owner/repo/w.pth", "https://host/w.pth"]
    assert [local_file(source) for source in sources] == ["a file"] * 4
    assert fetched == sources


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".pyth", ".safetensors"])
def test_the_folder_of_weights_goes_before_the_hub(folder, fetched, suffix):
    name = "uniformer_small_k400_16x8"
    assert local_file(name) == "a file"
    assert fetched == [f"hf://Sense-X/uniformer_video/{name}.pth"]
    (folder / f"{name}{suffix}").write_bytes(b"")
    assert local_file(name) == folder / f"{name}{suffix}"
    assert len(fetched) == 1


def test_a_path_that_exists_goes_before_all(folder, fetched):
    name = "uniformer_small_k400_16x8"
    (folder / f"{name}.pth").write_bytes(b"")
    (folder.parent / name).write_bytes(b"")
    local_file(name)
    assert fetched == [name]


def test_the_usual_folder(folder, monkeypatch):
    monkeypatch.delenv("UNIFORMER_WEIGHTS")
    (folder.parent / "weights").mkdir()
    (folder.parent / "weights" / "uniformer_base_k400_8x8.pyth").write_bytes(b"")
    assert local_file("uniformer_base_k400_8x8") == Path("weights/uniformer_base_k400_8x8.pyth")


def test_where_to_download(folder):
    with pytest.raises(CheckpointError) as caught:
        local_file("uniformer_base_k400_8x8")
    link = "https://drive.google.com/file/d/1hBxGU-QE8hGRBjSNCymJ7Au06LhluvTv"
    assert link in str(caught.value)
    assert f"{folder / 'uniformer_base_k400_8x8.pth'}" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="was never published"):
        local_file("uniformer_small_k400_32x4")


def test_openmixup_s_releases(folder, fetched):
    name = "uniformer_small_8xb128_fp16_ep300"
    assert local_file(name) == "a file"
    assert fetched == [PUBLISHED[name].address]
    with pytest.raises(CheckpointError, match="was never published"):
        local_file("uniformer_tiny_8xb128_ep300")


@pytest.mark.parametrize("error", [CheckpointError, MissingLibraryError])
def test_a_hub_out_of_reach_leaves_the_browser(folder, monkeypatch, error):
    def fail(source):
        raise error("no hub")

    monkeypatch.setattr(published, "fetch", fail)
    link = PUBLISHED["uniformer_small_k400_16x8"].url
    with pytest.raises(CheckpointError, match=f"no hub; or download it in a browser from {link}"):
        local_file("uniformer_small_k400_16x8")


SMALL_OF_MMACTION2 = "uniformer-small_imagenet1k-pre_16x4x1_kinetics400-rgb_20221219-c630a037"


@pytest.mark.parametrize("suffix", ["", ".pth", ".pt", ".safetensors"])
def test_a_name_with_a_suffix_is_found_as_the_name(folder, fetched, suffix):
    name = "uniformer_small_k400_16x8"
    assert may_be_fetched(name + suffix)
    assert local_file(name + suffix) == "a file"
    assert fetched == [f"hf://Sense-X/uniformer_video/{name}.pth"]
    (folder / f"{name}.pth").write_bytes(b"")
    assert local_file(name + suffix) == folder / f"{name}.pth"
    (folder.parent / f"{name}.pth").write_bytes(b"")
    local_file(f"{name}.pth")
    assert fetched[1:] == [f"{name}.pth"]  # a file of that name goes before all


@pytest.mark.parametrize("source", ["{}.pth", "weights/{}.pth", "/nowhere/{}.pth.tar", "{}"])
def test_what_is_not_found_has_its_link(folder, source):
    with pytest.raises(CheckpointError) as caught:
        local_file(source.format("uniformer_base_k400_8x8"))
    assert "https://drive.google.com/file/d/1hBxGU-QE8hGRBjSNCymJ7Au06LhluvTv" in str(caught.value)
    with pytest.raises(CheckpointError) as caught:
        local_file(source.format(SMALL_OF_MMACTION2))
    link = f"https://download.openmmlab.com/.*/uniformerv1/{SMALL_OF_MMACTION2}.pth"
    assert re.search(link, str(caught.value))


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        (SMALL_OF_MMACTION2, "uniformer_small_k400_16x4"),
        (
            "uniformer-base_imagenet1k-pre_16x4x1_kinetics400-rgb_20221219-157c2e66",
            "uniformer_base_k400_16x4",
        ),
        (
            "uniformer-base_imagenet1k-pre_32x4x1_kinetics400-rgb_20221219-b776322c",
            "uniformer_base_k400_32x4",
        ),
    ],
)
def test_names_of_mmaction2(folder, stem, name):
    entry = published_by_name(f"https://download.openmmlab.com/x/{stem}.pth")
    assert entry is PUBLISHED[name]
    (folder / f"{stem}.pth").write_bytes(b"")
    assert local_file(stem) == local_file(f"{stem}.pth") == folder / f"{stem}.pth"
    # Its rows are in the usual order, also where somebody has changed the keys.
    assert order_of_outputs(Weights(f"{stem}.pth", {})) == "k400"
    assert order_of_outputs(Weights(f"{name}.pth", {})) == "k400-published"


def test_what_may_be_fetched():
    for source in ("uniformer_small_k400_16x8", "https://host/w.pth", "hf://owner/repo/w.pth"):
        assert may_be_fetched(source)
    assert not may_be_fetched("weights/uniformer_small_k400_16x8.pth")


def test_the_name_of_a_model_is_no_file():
    with pytest.raises(
        CheckpointError, match="name of a model; of it uniformer_base_in1k are published"
    ):
        local_file("image_uniformer_b")

"""All variants of a video from one decoding pass, the same for any batches, workers and processes."""

import numpy as np
import pytest
import torch
from PIL import Image

from uniformer_video.data.clips.transforms import EvalViews
from uniformer_video.data.clips.variants import STILL, Variant, variants_of
from uniformer_video.data.decoding import pyav
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import EvalDataset
from uniformer_video.data.loading.variant_dataset import VariantDataset
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.evaluation.scoring import score_videos
from uniformer_video.evaluation.variant_scoring import score_variants
from uniformer_video.evaluation.variants import join_variants, load_variants, save_variants
from uniformer_video.training.precision import autocast_for

EVERYTHING = [*variants_of(["all"]), Variant(STILL)]
CPU = torch.device("cpu")
DENSE, SEGMENT = ClipSampling(4, 2), ClipSampling(4, rule="segment")


class Mean(torch.nn.Module):
    """Logits that tell one view from another."""

    def forward(self, views):
        return torch.stack([views.mean((1, 2, 3, 4)), views.std((1, 3, 4)).amax(1)], 1)


@pytest.fixture
def records(make_video):
    paths = [make_video(f"{i}.mp4", frames=20 + 9 * i) for i in range(4)]
    paths[2].write_bytes(b"broken")
    ends = [None, 0.8, None, None]
    return [
        VideoRecord(str(path), path.name, (0,), end=end)
        for path, end in zip(paths, ends, strict=True)
    ]


def dataset(records, sampling=DENSE, playback="forward"):
    return EvalDataset(records, sampling, EvalViews(40, 32, 3), 2, playback)


class Part(Ranks):
    def exchange(self, value=None, error=None):
        return [value]


def score(tested, variants=EVERYTHING, batch_size=16, workers=0, rank=0, size=1, **options):
    return score_variants(
        Mean(),
        VariantDataset(tested, variants),
        2,
        Part(rank, size, CPU),
        batch_size,
        workers,
        autocast_for("fp32", CPU),
        seed=7,
        **options,
    )


def plain(tested):
    ranks = Part(0, 1, CPU)
    return score_videos(Mean(), tested, 2, ranks, 4, 0, autocast_for("fp32", CPU)).scores


@pytest.mark.parametrize("sampling", [DENSE, SEGMENT], ids=["dense", "segment"])
@pytest.mark.parametrize("played", ["forward", "reverse"])
def test_playbacks_are_those_of_the_test(records, sampling, played):
    other = {"forward": "reverse", "reverse": "forward"}[played]
    found = score(dataset(records, sampling, played))
    for variant, playback in ((Variant("reversed"), other), (Variant(STILL), "still")):
        np.testing.assert_array_equal(
            found.of(variant), plain(dataset(records, sampling, playback))
        )
    assert list(found.failures) == [2] and found.decoded.tolist() == [True, True, False, True]
    assert np.isnan(found.scores[:, 2]).all() and np.isfinite(np.delete(found.scores, 2, 1)).all()


def test_pixels_are_changed_after_the_crop_and_before_they_are_normalised(records):
    """Recomputed with the pieces that the test itself is made of."""
    tested = dataset(records[:2])
    found = score(tested)
    raw = tested.views.normalise
    for index in range(2):
        views = tested[index].views  # normalised
        pixels = (views * torch.tensor(raw.std).view(3, 1, 1, 1) + raw.mean[0]) * 255
        for variant in EVERYTHING:
            if variant.kind not in ("drop", "jpeg", "blur", "noise"):
                continue
            changed = [variant.change(one, 7, index, view) for view, one in enumerate(pixels)]
            expected = Mean()(torch.stack([raw(one) for one in changed]))
            np.testing.assert_allclose(found.of(variant)[index], expected, atol=2e-2)


def test_any_batches_workers_and_processes_give_the_same(records):
    expected = score(dataset(records))
    for options in ({"batch_size": 1}, {"batch_size": 100}, {"batch_size": 7, "workers": 2}):
        found = score(dataset(records), **options)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
        assert (found.held, found.failures) == (expected.held, expected.failures)
    parts = [score(dataset(records), rank=rank, size=2) for rank in range(2)]
    merged = np.where(np.isnan(parts[0].scores), parts[1].scores, parts[0].scores)
    np.testing.assert_allclose(merged, expected.scores, atol=1e-6)
    alone = score(dataset(records), [Variant("noise", 0.12)])
    np.testing.assert_allclose(alone.scores[0], expected.of(Variant("noise", 0.12)), atol=1e-6)


def test_a_video_is_opened_and_its_frames_are_decoded_once(records, monkeypatch):
    opened, asked = [], []
    original = pyav.PyAVReader.frames

    def count(self, indices, short_side=0):
        opened.append(self)
        asked.append(list(indices))
        return original(self, indices, short_side)

    monkeypatch.setattr(pyav.PyAVReader, "frames", count)
    found = score(dataset(records[:2]))
    assert len(opened) == len(set(map(id, opened))) == 2
    assert all(indices == sorted(set(indices)) for indices in asked)
    assert found.shown == 2 * 2 * 4
    own = DENSE.test_clips(20, 2)
    needed = {int(i) for variant in EVERYTHING for i in variant.frames(own, 20)[0].ravel()}
    assert asked[0] == sorted(needed)


def test_frames_folders(tmp_path, records):
    pixels = np.random.default_rng(0).integers(0, 255, (12, 48, 64, 3), np.uint8)
    for number, frame in enumerate(pixels, start=1):
        Image.fromarray(frame).save(tmp_path / f"img_{number:05d}.png")
    folder = VideoRecord(str(tmp_path / "img_{:05d}.png"), "frames", (0,), num_frames=12)
    found = score(dataset([folder]), [Variant("reversed")])
    np.testing.assert_array_equal(found.scores[0], plain(dataset([folder], playback="reverse")))


def test_scores_of_videos_in_place_of_views(records):
    whole = score(dataset(records))
    means = score(dataset(records), reduce=lambda logits: logits.mean(1))
    assert whole.per_view and not means.per_view
    np.testing.assert_allclose(means.scores, whole.scores.mean(2, keepdims=True), atol=1e-6)


def test_a_file_keeps_all_of_it_and_parts_are_joined(records, tmp_path):
    found = score(dataset(records), asked=["jpeg", "rate"])
    assert load_variants(tmp_path) is None
    save_variants(tmp_path, found, [record.name for record in records])
    again = load_variants(tmp_path)
    np.testing.assert_array_equal(again.scores, found.scores)
    for key in ("variants", "per_view", "held", "shown", "seeds", "asked", "seconds", "failures"):
        assert getattr(again, key) == getattr(found, key)
    parts = [score(dataset([records[i] for i in own])) for own in ([0, 3], [1, 2])]
    joined = join_variants(parts, [[0, 3], [1, 2]])
    assert (joined.held, joined.shown, joined.failures) == (found.held, found.shown, found.failures)
    playback = Variant("reversed")  # nothing is drawn for it
    np.testing.assert_allclose(joined.of(playback), found.of(playback), atol=1e-6)

"""Every (video, view) once, whatever the batch size, workers or processes."""

import numpy as np
import pytest
import torch

from uniformer_video.data.clips.transforms import EvalViews
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import EvalDataset
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.evaluation.scoring import score_videos
from uniformer_video.training.precision import autocast_for

CPU = torch.device("cpu")


class Mean(torch.nn.Module):
    """Logits that tell one view from another."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def forward(self, views):
        self.seen += len(views)
        return torch.stack([views.mean((1, 2, 3, 4)), views.amax((1, 2, 3, 4))], 1)


@pytest.fixture
def dataset(make_video):
    paths = [make_video(f"{i}.mp4", frames=20 + 9 * i) for i in range(7)]
    paths[3].write_bytes(b"broken")
    records = [VideoRecord(str(p), p.name, (i % 2,)) for i, p in enumerate(paths)]
    return EvalDataset(records, ClipSampling(4, 2), EvalViews(40, 32, 3), num_clips=2)


def score(dataset, batch_size=4, workers=0, rank=0, size=1):
    class Part(Ranks):
        def exchange(self, value=None, error=None):
            return [value]

    model = Mean()
    ranks = Part(rank, size, CPU)
    autocast = autocast_for("fp32", CPU)
    return score_videos(model, dataset, 2, ranks, batch_size, workers, autocast), model.seen


def test_every_view_once_whatever_the_batches(dataset):
    expected, seen = score(dataset, batch_size=6)
    assert expected.scores.shape == (7, 6, 2)
    assert seen == 6 * 6
    assert list(expected.failures) == [3]
    assert np.isnan(expected.scores[3]).all()
    assert np.isfinite(np.delete(expected.scores, 3, 0)).all()
    assert len(np.unique(expected.scores[0, :, 0])) == 6
    assert expected.sizes == dict.fromkeys((0, 1, 2, 4, 5, 6), (64, 48))
    assert len(expected.times.reads) == 6
    assert [passes.views for passes in expected.times.passes] == [5 * 6]  # all but the first pass
    for options in ({"batch_size": 1}, {"batch_size": 100}, {"batch_size": 7, "workers": 2}):
        found, seen = score(dataset, **options)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
        assert (seen, found.failures, found.sizes) == (36, expected.failures, expected.sizes)


def test_views_of_the_same_frames_are_counted(make_video):
    frames = (1, 16, 80)
    paths = [make_video(f"{count}.mp4", frames=count) for count in frames]
    records = [VideoRecord(str(path), path.name, (0,)) for path in paths]
    sampling, views = ClipSampling(4, rule="segment"), EvalViews(40, 32, 3)
    found, _ = score(EvalDataset(records, sampling, views, num_clips=10), workers=2)
    # segments of 3.75 and 19.75 frames; a clip is the same place in all of them
    places = [
        len({int(segment / 11 * (clip + 1)) for clip in range(10)}) for segment in (3.75, 19.75)
    ]
    assert places == [4, 10]
    assert found.repeats == {0: 9 * 3, 1: 6 * 3}
    still = EvalDataset(records, sampling, views, num_clips=10, playback="still")
    assert score(still)[0].repeats == found.repeats
    scores = found.scores[1].reshape(10, 3, 2)
    assert len(np.unique(scores, axis=0)) == 4


@pytest.mark.parametrize("size", [2, 3, 5, 9])
def test_processes_share_the_videos_without_overlap(dataset, size):
    expected, _ = score(dataset)
    parts = [score(dataset, rank=rank, size=size) for rank in range(size)]
    filled = np.stack([np.isfinite(part.scores[:, 0, 0]) for part, _ in parts])
    assert filled.sum(0).tolist() == [1, 1, 1, 0, 1, 1, 1]
    assert sum(seen for _, seen in parts) == 36
    merged = np.nansum(np.stack([part.scores for part, _ in parts]), 0)
    np.testing.assert_allclose(np.delete(merged, 3, 0), np.delete(expected.scores, 3, 0), atol=1e-6)

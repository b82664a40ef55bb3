"""Many segments of one file: it is opened once, and what is read is the same."""

import pickle

import numpy as np
import pytest
from videos import encode, numbered_frames

from uniformer_video.data.clips.transforms import EvalViews
from uniformer_video.data.decoding import opened
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import EvalDataset, decode_test_clips
from uniformer_video.data.loading.view_reader import PartDataset, ViewReader
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import DecodeError

SAMPLING = ClipSampling(4, 2)


@pytest.fixture
def opens(monkeypatch):
    """The paths that were opened to stay open."""
    paths, original = [], opened.open_video

    def counted(path, *arguments):
        paths.append(path)
        return original(path, *arguments)

    monkeypatch.setattr(opened, "open_video", counted)
    return paths


def dataset_of(records):
    return EvalDataset(records, SAMPLING, EvalViews(32, 32), 2)


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])  # by an index, and by counting
def test_each_file_is_opened_once_and_every_segment_is_the_same(tmp_path, opens, suffix):
    frames = numbered_frames(60, (32, 48))
    paths = [str(encode(tmp_path / f"{name}{suffix}", frames)) for name in "ab"]
    records = [
        VideoRecord(path, path, (0,), start=start / 10, end=start / 10 + 0.5)
        for start in (12, 3, 19, 0, 15)
        for path in paths
    ]
    dataset = dataset_of(records)
    for index, record in enumerate(records):
        alone, _ = decode_test_clips(record.path, SAMPLING, 2, start=record.start, end=record.end)
        expected = EvalViews(32, 32)(alone)
        assert np.array_equal(dataset[index].views, expected)
    assert sorted(opens) == sorted(paths)


def test_predictions_of_segments_open_their_file_once_too(make_video, opens):
    path = str(make_video(frames=60))
    records = [VideoRecord(path, path, (), start=s, end=s + 0.5) for s in (1.2, 0.3, 1.5)]
    parts = PartDataset(records, ViewReader(SAMPLING, EvalViews(32, 32), 2))
    tested = dataset_of(records)
    for key in parts.parts():
        assert np.array_equal(parts[key].views, tested[key.video].views)
    assert opens == [path] * 2  # by either data set


def test_whole_videos_are_not_kept_open(make_video, opens):
    path = str(make_video())
    assert dataset_of([VideoRecord(path, path, (0,))])[0].views is not None
    assert not opens


def test_another_file_in_its_place_is_seen(tmp_path, opens):
    path = tmp_path / "a.mp4"
    dataset = dataset_of([VideoRecord(str(path), "a", (0,), start=0.2)])
    encode(path, numbered_frames(30, (32, 48)))
    first = dataset[0].views
    path.unlink()
    encode(path, 255 - numbered_frames(31, (32, 48)))
    assert not np.allclose(first, dataset[0].views)
    assert len(opens) == 2


def test_a_segment_without_frames_leaves_the_others_whole(make_video, opens):
    path = str(make_video(frames=25))
    records = [VideoRecord(path, path, (0,), start=s, end=s + 0.3) for s in (0.2, 5, 0.4)]
    samples = [dataset_of(records)[index] for index in range(3)]
    assert [sample.views is None for sample in samples] == [False, True, False]
    assert "no frame begins" in samples[1].reason


def test_a_copy_for_another_process_holds_no_file(make_video, opens):
    path = str(make_video())
    readers = opened.OpenReaders()
    with readers.reader(path, "auto") as reader:
        assert reader.num_frames == 50
    with pickle.loads(pickle.dumps(readers)).reader(path, "auto") as reader:
        assert reader.frames([3]).shape == (1, 48, 64, 3)
    with pytest.raises(DecodeError), readers.reader(str(path) + "x", "auto"):
        pass
    assert opens == [path, path, str(path) + "x"]

"""Whatever a decoder raises on a file makes that one video broken; what is no fault of a video passes."""

import av
import numpy as np
import pytest
from clips import augmentation

from uniformer_video.data.clips.transforms import EvalViews, Normalisation
from uniformer_video.data.decoding import decoders, open_video
from uniformer_video.data.decoding.decoders import Decoder, register_decoder
from uniformer_video.data.decoding.guard import WrongIndices
from uniformer_video.data.decoding.packets import VideoPackets
from uniformer_video.data.decoding.pyav import PyAVReader
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import EvalDataset, TrainDataset, TrainKey
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import ConfigError, DecodeError, MissingLibraryError
from uniformer_video.prepare.check import check_video

ERRORS = [
    ValueError("31 is not a valid Type"),
    RuntimeError("two\nlines"),
    AssertionError(),
    KeyError("pts"),
    ZeroDivisionError("division by zero"),
    RecursionError("too deep"),
    UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid"),
    PermissionError(13, "Permission denied"),
    EOFError(),
    StopIteration(),
    av.error.MemoryError(12, "Cannot allocate memory"),
    av.FFmpegError(1, "odd"),
    type("OfALibrary", (Exception,), {})("inside"),
]
PASSING = [
    MemoryError(),
    KeyboardInterrupt(),
    SystemExit(1),
    ConfigError("x"),
    MissingLibraryError("x"),
]


class _Failing(PyAVReader):
    """Fails on `b.mp4`, at one of the places where a reader may."""

    error = where = None

    def __init__(self, path):
        super().__init__(path)
        self._fails = path.endswith("b.mp4")
        self._fail("opening")

    def _fail(self, where):
        if self._fails and where == self.where:
            raise self.error

    def frames(self, indices, short_side=0):
        self._fail("decoding")
        return super().frames(indices, short_side)

    @property
    def times(self):
        self._fail("times")
        return super().times


@pytest.fixture
def failing(monkeypatch):
    """A function that makes the decoder "failing" raise an error at a place."""
    monkeypatch.setattr(decoders, "_DECODERS", dict(decoders._DECODERS))
    register_decoder(Decoder("failing", _Failing))

    def fail(error, where):
        monkeypatch.setattr(_Failing, "error", error)
        monkeypatch.setattr(_Failing, "where", where)

    return fail


def clips_of(paths):
    """The samples that training and a test make of these videos."""
    records = [VideoRecord(str(path), path.name, (0,)) for path in paths]
    raw = Normalisation((0, 0, 0), (1 / 255,) * 3)
    sampling = ClipSampling(2, 2)
    augment = augmentation(32, normalise=raw)
    train = TrainDataset(records, sampling, augment, 0, backend="failing")
    test = EvalDataset(records, sampling, EvalViews(32, 32, 1, raw), 1, backend="failing")
    return train[TrainKey(0, 0, 1)], test[1], test[0]


@pytest.mark.parametrize("where", ["opening", "decoding", "times"])
def test_any_error_makes_the_video_broken(failing, make_video, where):
    paths = [make_video(name, frames=6) for name in ("a.mp4", "b.mp4")]
    for error in ERRORS:
        failing(error, where)
        trained, broken, good = clips_of(paths)
        ((path, reason),) = set(trained.broken)
        assert path == str(paths[1]) and trained.path == str(paths[0]) and trained.clips is not None
        assert reason == broken.reason and "\n" not in reason
        assert reason.startswith(f"{paths[1]} ") and "cannot be decoded: " in reason, reason
        assert broken.views is None and good.views is not None


@pytest.mark.parametrize("where", ["opening", "decoding"])
def test_what_is_no_fault_of_a_video_passes(failing, make_video, where):
    paths = [make_video(name, frames=6) for name in ("a.mp4", "b.mp4")]
    for error in PASSING:
        failing(error, where)
        with pytest.raises(type(error)):
            clips_of(paths)


def test_frames_that_nobody_has_are_the_callers_mistake(make_video):
    with open_video(make_video(frames=3)) as video:
        assert len(video) == 3
        with pytest.raises(WrongIndices):
            video.frames([3])
        assert not isinstance(WrongIndices(), DecodeError)
        with pytest.raises(AttributeError):
            video.no_such_thing  # noqa: B018


def test_errors_while_a_file_is_looked_at(make_video, monkeypatch):
    path = make_video(frames=5)
    monkeypatch.setattr(VideoPackets, "_may_skip", lambda _: 1 / 0)
    with pytest.raises(DecodeError, match=r"video\.mp4 cannot be decoded: ZeroDivisionError: div"):
        open_video(path)
    found = check_video((str(path), 0))
    assert (found.found, found.declared) == (5, 5) and "ZeroDivisionError" in found.reason


def test_errors_of_pictures_in_a_folder(make_video, tmp_path, monkeypatch):
    from uniformer_video.data.decoding import frames

    av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24").save(
        str(tmp_path / "img_00001.png")
    )
    with open_video(tmp_path / "img_{:05d}.png") as video:
        monkeypatch.setattr(frames, "read_frame", lambda *_: 1 / 0)
        with pytest.raises(DecodeError, match="ZeroDivisionError"):
            video.frames([0])

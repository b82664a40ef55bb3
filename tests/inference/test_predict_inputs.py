"""What a `Predictor` takes: paths, bytes, open files, arrays, folders of frames; one answer for all."""

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from uniformer_video.data.clips.images import ImageViews
from uniformer_video.data.clips.transforms import (
    EvalViews,
    resize_short_side,
    shrink_frames,
    to_channels_first,
)
from uniformer_video.data.decoding import open_frames, open_video
from uniformer_video.data.decoding.guard import GuardedReader
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading import view_reader
from uniformer_video.data.loading.dataset import EvalDataset
from uniformer_video.data.loading.view_reader import ViewReader
from uniformer_video.data.protocol import Protocol
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import ConfigError, DecodeError
from uniformer_video.inference.devices import find_device
from uniformer_video.inference.predictor import Predictor
from uniformer_video.tasks.prediction import FailedPrediction

NAMES = ("sit", "run", "eat")
PROTOCOL = Protocol(ClipSampling(4, 2), EvalViews(32, 32, 3), num_clips=3)


class Probe(torch.nn.Module):
    """A model whose answer depends on every pixel, and that counts its passes."""

    def __init__(self):
        super().__init__()
        self.sizes = []
        self.weight = torch.nn.Parameter(torch.tensor([1.0, -1.0, 0.5]))

    def forward(self, x):
        self.sizes.append(len(x))
        pixels = x.flatten(1).double()
        ramp = torch.linspace(-1, 1, pixels.shape[1], dtype=torch.float64)
        return ((pixels * ramp).mean(1, keepdim=True) * 10).float() * self.weight


@pytest.fixture
def predictor():
    return Predictor(Probe(), PROTOCOL, NAMES)


@pytest.fixture
def videos(make_video):
    sizes = [(48, 64), (80, 60), (40, 40), (64, 48)]
    return [make_video(f"{i}.mp4", frames=12 + 9 * i, size=size) for i, size in enumerate(sizes)]


def scores(prediction):
    return prediction.probabilities.tolist()


def test_every_form_of_a_video_gives_the_same_answer(predictor, videos, tmp_path):
    path = videos[1]
    expected = scores(predictor(str(path)))
    with open_video(path) as video:
        frames = video.frames(range(video.num_frames))
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number:03d}.png")
    forms = [path, path.read_bytes(), bytearray(path.read_bytes()), io.BytesIO(path.read_bytes())]
    forms += [frames, torch.from_numpy(frames), (frames, 25.0), folder, f"{folder}/{{:03d}}.png"]
    for form in forms:
        assert scores(predictor(form)) == expected, type(form)
    with open(path, "rb") as file:
        found = predictor(file)
        assert (scores(found), found.path) == (expected, str(path))
    assert [scores(found) for found in predictor.predict_many(forms)] == [expected] * len(forms)


@pytest.mark.parametrize("part_bytes", [1, 200_000, 2**26])
@pytest.mark.parametrize("views", [EvalViews(32, 32, 3), EvalViews(40, 24, 1)])
def test_views_are_those_of_the_test_to_the_bit(make_video, monkeypatch, views, part_bytes):
    path = str(make_video(frames=40, size=(70, 100)))
    dataset = EvalDataset([VideoRecord(path, "", ())], PROTOCOL.sampling, views, 3)
    monkeypatch.setattr(view_reader, "_PART_BYTES", part_bytes)
    reader = ViewReader(PROTOCOL.sampling, views, 3)
    with open_video(path) as video:
        parts = [reader.part(video, path, number) for number in range(reader.num_parts)]
    assert len(parts) == {1: 3, 200_000: 3 if views.num_crops == 3 else 1, 2**26: 1}[part_bytes]
    assert torch.equal(torch.cat(parts), dataset[0].views)


@pytest.mark.parametrize("size", [(480, 640), (721, 400), (300, 90), (96, 1000), (224, 224)])
def test_rows_that_nobody_reads_change_nothing(size, monkeypatch):
    frames = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    expected = resize_short_side(to_channels_first(frames), 40)
    monkeypatch.setattr(torch, "empty", lambda shape: torch.full(shape, torch.nan))
    assert torch.equal(shrink_frames(frames, 40), expected)


def test_no_more_than_a_few_frames_are_in_memory_at_once(make_video, monkeypatch):
    """Of a video as of a reader without a pass of its own."""
    path = str(make_video(frames=40, size=(70, 100)))
    asked = []

    class Plain:
        num_frames, fps, times = 40, 25.0, None

        def __init__(self, path):
            self._all = open_video(path).frames(range(40))

        def frames(self, indices, short_side=0):
            asked.append(len(indices))
            return self._all[np.asarray(indices)]

        def close(self): ...

    with open_video(path) as video:
        monkeypatch.setattr(type(video._reader), "frames", None)
        expected = video.map_frames([5, 1, 5, 39, 7, 3, 2], lambda frame: frame[:2, :2].astype(int))
    monkeypatch.undo()
    plain = GuardedReader(path, Plain)
    found = plain.map_frames([5, 1, 5, 39, 7, 3, 2], lambda frame: frame[:2, :2].astype(int))
    assert found.shape == (7, 2, 2, 3) and (found == expected).all()
    assert max(asked) <= 4


def test_batches_go_over_videos_and_answers_stay_in_order(videos):
    alone = Predictor(Probe(), PROTOCOL, NAMES)
    expected = [scores(alone(path)) for path in videos]
    for batch_size, workers in ((1, 0), (7, 0), (7, 2), (100, 3)):
        many = Predictor(Probe(), PROTOCOL, NAMES, batch_size=batch_size)
        found = [scores(each) for each in many.predict_many(iter(videos), workers)]
        assert np.allclose(found, expected, rtol=1e-6)
        sizes = many.model.sizes
        assert sum(sizes) == 4 * 9 and set(sizes[:-1]) <= {batch_size}


def test_a_stream_is_read_no_further_than_needed(predictor, videos):
    taken = []

    def stream():
        for path in videos * 10:
            taken.append(path)
            yield path

    first = next(predictor.predict_many(stream()))
    assert first and len(taken) <= 3


def test_what_cannot_be_predicted_is_told_and_the_others_go_on(predictor, videos, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    forms = [
        videos[0],
        bad,
        b"no video",
        b"",
        7,
        np.zeros((3, 4)),
        tmp_path / "none.mp4",
        videos[1],
    ]
    forms += [tmp_path / "a.jpg", (np.zeros((3, 8, 8, 3), np.uint8), -1), io.StringIO("text")]
    words_of_each = [
        "bad.mp4 cannot be opened",
        "bytes cannot be opened",
        "holds nothing",
        "7 is no video",
        "float64 of shape [3, 4]; a video is uint8 [T, H, W, 3]",
        "does not exist",
        "an image",
        "frame rate -1",
        "open as text",
    ]
    for workers in (0, 2):
        found = list(predictor.predict_many(forms, workers))
        assert [bool(each) for each in found] == [True, *[False] * 6, True, *[False] * 3]
        failures = [each for each in found if not each]
        assert all(type(each) is FailedPrediction and len(repr(each)) < 300 for each in failures)
        told = [each.to_dict()["error"] for each in failures]
        for words, text in zip(words_of_each, told, strict=True):
            assert words in text and "\n" not in text
    for form in forms[1:7]:
        with pytest.raises(DecodeError):
            predictor(form)


def test_a_rate_counts_where_the_protocol_asks_for_one():
    frames = np.arange(60, dtype=np.uint8)[:, None, None, None] * np.ones((1, 40, 40, 3), np.uint8)
    protocol = replace(PROTOCOL, sampling=ClipSampling(4, 1, target_fps=10.0), num_clips=1)
    predictor = Predictor(Probe(), protocol, NAMES)
    assert scores(predictor(frames, fps=30)) == scores(predictor(frames[::3], fps=10))
    assert scores(predictor((frames, 30), end=1.0)) == scores(predictor(frames[:30], fps=30))
    assert scores(predictor(frames, fps=30)) != scores(predictor(frames, fps=60))
    with pytest.raises(DecodeError, match="array: its frame rate is not known"):
        predictor(frames)


def test_one_model_answers_several_threads(videos):
    predictor = Predictor(Probe(), PROTOCOL, NAMES)
    expected = [scores(predictor(path)) for path in videos]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda path: scores(predictor(path)), videos * 6))
    assert found == expected * 6


def test_images_of_every_form(tmp_path):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (40, 50, 3), np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(picture).save(path)
    protocol = Protocol.of_images(32, 0.875, (0.5,) * 3, (0.2,) * 3)
    assert type(protocol.views) is ImageViews
    predictor = Predictor(Probe(), protocol, NAMES)
    expected = scores(predictor(path))
    data = path.read_bytes()
    for form in (data, io.BytesIO(data), picture, torch.from_numpy(picture)):
        assert scores(predictor(form)) == expected
    assert predictor.model.sizes == [1] * 5
    for wrong in (picture[None], picture.astype(np.float32), b"x", tmp_path / "a.mp4"):
        with pytest.raises(DecodeError):
            predictor(wrong)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (partial(Predictor, device="tpu"), "'tpu'; allowed: 'cpu', 'cuda', 'mps'"),
        (partial(Predictor, device="cuda:99"), "cuda:99 is not here; there are cpu"),
        (partial(Predictor, device="cuda:x"), "'cuda:x'"),
        (partial(Predictor, batch_size=0), "batch size is 0"),
        (partial(Predictor, precision="fp8"), "fp8"),
        (partial(Predictor, precision="fp16", device="cpu"), "needs a CUDA device"),
    ],
)
def test_devices_and_numbers_that_cannot_be_are_refused(make, told):
    with pytest.raises(ConfigError, match="(?s)" + told.replace("(", r"\(")):
        make(Probe(), PROTOCOL, NAMES)


def test_a_predictor_moves_and_chooses_its_arithmetic():
    predictor = Predictor(Probe(), PROTOCOL, NAMES, precision="bf16", device="cpu")
    assert predictor.to("cpu") is predictor and predictor.device == find_device("cpu")
    assert predictor.used_protocol.precision == "bf16"
    assert Predictor(Probe(), PROTOCOL, NAMES, device="cpu").used_protocol.precision == "fp32"
    assert (
        predictor.batch_size == 16
        and Predictor(
            Probe(),
            replace(PROTOCOL, sampling=ClipSampling(64, 1), views=EvalViews(224, 224)),
            NAMES,
        ).batch_size
        < 16
    )


def test_an_array_reader_knows_what_readers_know():
    frames = np.zeros((5, 6, 8, 3), np.uint8)
    with open_frames(frames, 12.5) as video:
        assert (video.num_frames, video.fps, video.size, video.times) == (5, 12.5, (6, 8), None)
        assert video.frames([4, 4], short_side=3).shape == (2, 3, 4, 3)

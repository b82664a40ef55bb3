"""`bench predict`: both ways on the videos that can be read."""

import numpy as np
import pytest

from uniformer_video.bench import predict
from uniformer_video.errors import DecodeError


def test_a_broken_video_is_left_out_and_named(monkeypatch):
    def clips(_predictor, path):
        if path.startswith("bad"):
            raise DecodeError(f"{path} holds no video stream")

    asked = []
    monkeypatch.setattr(predict, "_clips", clips)
    for way in ("_one_by_one", "_together"):
        monkeypatch.setattr(
            predict,
            way,
            lambda _, records, *__: [
                asked.append(each.path) or np.array([1.0]) for each in records
            ],
        )
    monkeypatch.setattr(predict, "lines", lambda *given: given[-1])
    found = predict.run(None, ["a.mp4", "bad.mp4", "b.mp4"], 0, 1)
    assert found.videos == 2 and found.broken == ["bad.mp4 holds no video stream"]
    assert asked == ["a.mp4", "b.mp4"] * 2
    with pytest.raises(DecodeError, match="bad1"):
        predict.run(None, ["bad1.mp4", "bad2.mp4"], 0, 1)

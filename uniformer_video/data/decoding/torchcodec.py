"""torchcodec behind the reader interface. It is refused on files on which it gives wrong frames."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from uniformer_video.data.decoding.exact import check_facts, true_facts
from uniformer_video.data.decoding.reader import Reader, first_line, shrink
from uniformer_video.errors import DecodeError, MissingLibraryError
from uniformer_video.program import install


class TorchCodecReader(Reader):
    """See `uniformer_video.data.decoding` for the interface."""

    declared_frames = None

    def __init__(self, path: str) -> None:
        decoder = _video_decoder()
        self._path = path
        true = true_facts(path, "torchcodec", open_groups=True, takes_stream=True)
        self.fps, self.times = true.fps, true.times
        options = {"dimension_order": "NHWC", "num_ffmpeg_threads": 1, "seek_mode": "exact"}
        options["stream_index"] = true.stream_number
        try:
            self._reader = decoder(os.path.abspath(path), **options)
            self.num_frames = len(self._reader)
            first = self._reader[0].numpy()
        except Exception as error:  # torchcodec raises RuntimeError, ValueError or IndexError
            raise DecodeError(f"{path} cannot be opened as a video: {first_line(error)}") from None
        self.size = first.shape[:2]
        check_facts(path, "torchcodec", self.num_frames, first, true)

    def frames(self, indices: Sequence[int] | np.ndarray, short_side: int = 0) -> np.ndarray:
        """`uint8 [N, H, W, 3]` for any indices in 0..num_frames-1."""
        indices = self._check_indices(indices)
        try:
            frames = self._reader.get_frames_at(indices.tolist()).data.numpy()
        except Exception as error:  # as above
            raise DecodeError(f"{self._path} cannot be decoded: {first_line(error)}") from None
        return shrink(frames, short_side)

    def close(self) -> None:
        self._reader = None


def _video_decoder() -> Callable[..., Any]:
    try:
        from torchcodec.decoders import VideoDecoder
    except ImportError:
        problem = f"is not installed: {install('torchcodec')} (the release made for this torch)"
    except Exception as error:
        # RuntimeError or OSError, where no FFmpeg, or one of a wrong age, is found
        problem = f"cannot be loaded, mostly for lack of FFmpeg's libraries: {first_line(error)}"
    else:
        return VideoDecoder
    raise MissingLibraryError(f"DATA.DECODING_BACKEND is torchcodec, which {problem}; or use pyav")

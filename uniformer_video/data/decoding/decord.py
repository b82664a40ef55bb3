"""decord behind the reader interface. It is refused on files on which it gives wrong frames."""

import os
from collections.abc import Sequence

import numpy as np

from uniformer_video.data.decoding.exact import check_facts, true_facts
from uniformer_video.data.decoding.reader import Reader, first_line, shrink
from uniformer_video.errors import DecodeError, MissingLibraryError


class DecordReader(Reader):
    """See `uniformer_video.data.decoding` for the interface."""

    declared_frames = None

    def __init__(self, path: str) -> None:
        try:
            import decord
        except ImportError:
            raise MissingLibraryError(
                "DATA.DECODING_BACKEND is decord, which is not installed: `pip install decord` "
                "(Linux x86-64 and Windows), or use pyav"
            ) from None
        self._path = path
        true = true_facts(path, "decord", open_groups=False, takes_stream=False)
        self.fps, self.times = true.fps, true.times
        try:
            self._reader = decord.VideoReader(
                os.path.abspath(path), ctx=decord.cpu(0), num_threads=1
            )
            self.num_frames = len(self._reader)
            first = self._reader[0].asnumpy()
        except Exception as error:  # decord raises RuntimeError, DECORDError or IndexError
            raise DecodeError(f"{path} cannot be opened as a video: {first_line(error)}") from None
        if first.shape[2] != 3:
            raise DecodeError(
                f"{path} comes out of decord with {first.shape[2]} channels, a fault of decord on small "
                "pictures; use DATA.DECODING_BACKEND pyav"
            )
        self.size = first.shape[:2]
        check_facts(path, "decord", self.num_frames, first, true)

    def frames(self, indices: Sequence[int] | np.ndarray, short_side: int = 0) -> np.ndarray:
        """`uint8 [N, H, W, 3]` for any indices in 0..num_frames-1."""
        indices = self._check_indices(indices)
        try:
            return shrink(self._reader.get_batch(indices).asnumpy(), short_side)
        except Exception as error:  # as above
            raise DecodeError(f"{self._path} cannot be decoded: {first_line(error)}") from None

    def close(self) -> None:
        self._reader = None

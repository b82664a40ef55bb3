"""decord behind the reader interface. It is refused on files on which it gives wrong frames."""

import os

from uniformer_video.data.decoding.exact import check_count, true_facts
from uniformer_video.data.decoding.reader import Reader, first_line, shrink
from uniformer_video.errors import DecodeError, MissingLibraryError


class DecordReader(Reader):
    """See `uniformer_video.data.decoding` for the interface."""

    def __init__(self, path):
        try:
            import decord
        except ImportError:
            raise MissingLibraryError(
                "DATA.DECODING_BACKEND is decord, which is not installed: `pip install decord` "
                "(Linux x86-64 and Windows), or use pyav"
            ) from None
        self._path = path
        true_count, self.fps, self.times = true_facts(path, "decord", open_groups=False)
        try:
            self._reader = decord.VideoReader(
                os.path.abspath(path), ctx=decord.cpu(0), num_threads=1
            )
            self.num_frames = len(self._reader)
            height, width, channels = self._reader[0].shape
        except Exception as error:  # decord raises RuntimeError, DECORDError or IndexError
            raise DecodeError(f"{path} cannot be opened as a video: {first_line(error)}") from None
        if channels != 3:
            raise DecodeError(
                f"{path} comes out of decord with {channels} channels, a fault of decord on small "
                "pictures; use DATA.DECODING_BACKEND pyav"
            )
        self.size = (height, width)
        check_count(path, "decord", self.num_frames, true_count)

    def frames(self, indices, short_side=0):
        """`uint8 [N, H, W, 3]` for any indices in 0..num_frames-1."""
        indices = self._check_indices(indices)
        try:
            return shrink(self._reader.get_batch(indices).asnumpy(), short_side)
        except Exception as error:  # as above
            raise DecodeError(f"{self._path} cannot be decoded: {first_line(error)}") from None

    def close(self):
        self._reader = None

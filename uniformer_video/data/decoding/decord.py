"""decord behind the reader interface. Known to give wrong frames for AVI, MPEG-TS and MPEG-PS."""

import numpy as np

from uniformer_video.errors import DecodeError, MissingLibraryError


class DecordReader:
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
        try:
            self._reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
            self.num_frames = len(self._reader)
            self.fps = float(self._reader.get_avg_fps())
            height, width, channels = self._reader[0].shape
        except Exception as error:  # decord raises RuntimeError, DECORDError or IndexError
            raise DecodeError(f"{path} cannot be opened as a video: {_first_line(error)}") from None
        if channels != 3:
            raise DecodeError(
                f"{path} comes out of decord with {channels} channels, a fault of decord on small "
                "pictures; use DATA.DECODING_BACKEND pyav"
            )
        self.size = (height, width)

    def frames(self, indices):
        """`uint8 [N, H, W, 3]` for any indices in 0..num_frames-1."""
        try:
            return self._reader.get_batch(np.asarray(indices)).asnumpy()
        except Exception as error:  # as above
            raise DecodeError(f"{self._path} cannot be decoded: {_first_line(error)}") from None

    def close(self):
        self._reader = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _first_line(error):
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]

"""PyAV behind the reader interface: exact frames by a timestamp index.

Opening lists every packet's timestamp in one demuxing pass (no decoding). Sorted, they are the
presentation times of the frames: their number is the true frame count, whatever the header says, and
index i is the i-th of them. Where timestamps cannot be trusted, frames are counted by decoding.
"""

from bisect import bisect_right

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from uniformer_video.errors import DecodeError

# Codecs in which every packet gives exactly one shown frame, so that counting packets is exact.
_ONE_FRAME_A_PACKET = {"h264", "hevc", "vp9", "mjpeg", "ffv1", "png", "rawvideo", "prores"}
# Containers that store no timestamps of their own, or whose seeking lands beside the key frame.
_NO_TIMESTAMPS = {"avi", "h264", "hevc", "m4v", "mpegvideo"}
_NO_SEEKING = {"mpegts", "mpeg"}
# Containers whose header lists every frame, so that fewer in the file mean a truncated file.
_EXACT_HEADER = {"mov", "mp4"}
# Seeking re-opens a group of pictures, so it pays only over a gap of at least so many frames.
_SEEK_GAP = 32
_LOCAL_FILES_ONLY = {"protocol_whitelist": "file,crypto,data"}


class PyAVReader:
    """See `uniformer_video.data.decoding` for the interface."""

    def __init__(self, path):
        self._path = str(path)
        self._container = None
        self._to_rgb = VideoReformatter()  # kept, because it caches the conversion's set-up
        try:
            self._open()
            self._times, self._key_times = self._index()
            if not self._times:
                raise DecodeError(f"{self._path} holds no frames that can be decoded")
        except BaseException:
            self.close()
            raise
        self.num_frames = len(self._times)
        self.fps = float(self._stream.average_rate or self._stream.guessed_rate or 0) or None
        self._size = None

    def _open(self):
        """Start at the first packet; opening anew is the one rewind that works for every format."""
        self.close()
        try:
            self._container = av.open(self._path, options=_LOCAL_FILES_ONLY)
        except (av.FFmpegError, OSError, ValueError) as error:
            message = f"{self._path} cannot be opened as a video: {_reason(error)}"
            raise DecodeError(message) from None
        if not self._container.streams.video:
            raise DecodeError(f"{self._path} holds no video stream")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "NONE"
        self._stream.codec_context.thread_count = 1

    @property
    def size(self):
        """(height, width) as shown."""
        if self._size is None:
            self._size = self.frames([0]).shape[1:3]
        return self._size

    def frames(self, indices):
        """`uint8 [N, H, W, 3]` for any indices in 0..num_frames-1, in their order, repeats allowed."""
        indices = np.asarray(indices, dtype=np.int64)
        if indices.size == 0 or indices.min() < 0 or indices.max() >= self.num_frames:
            raise ValueError(
                f"{self._path} has frames 0..{self.num_frames - 1}, asked for {indices.tolist()}"
            )
        wanted = np.unique(indices)
        try:
            images = self._decode_by_count(wanted) if self._by_count else self._decode(wanted)
        except av.FFmpegError as error:
            raise DecodeError(f"{self._path} breaks while decoding: {_reason(error)}") from None
        if len({image.shape for image in images.values()}) > 1:
            raise DecodeError(f"{self._path} changes its picture size; re-encode it first")
        return np.stack([images[index] for index in indices.tolist()])

    def close(self):
        if self._container is not None:
            self._container.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _index(self):
        """Presentation times of all frames, sorted, and those of the key frames."""
        times, keys, complete, packets = [], [], True, 0
        for packet in self._packets():
            packets += 1
            if packet.is_discard:
                continue
            complete &= packet.pts is not None
            times.append(packet.pts)
            if packet.is_keyframe:
                keys.append(packet.pts)
        formats = set(self._container.format.name.split(","))
        if formats & _EXACT_HEADER and packets < self._stream.frames:
            raise DecodeError(
                f"{self._path} is cut off: {packets} of its {self._stream.frames} frames are there"
            )
        self._can_seek = not formats & _NO_SEEKING
        self._by_count = (
            not complete
            or len(set(times)) < len(times)
            or bool(formats & _NO_TIMESTAMPS)
            or self._stream.codec_context.name not in _ONE_FRAME_A_PACKET
        )
        if self._by_count:
            self._open()
            return self._count_frames(), []
        return sorted(times), sorted(keys)

    def _packets(self):
        """The stream's packets with data, to the end or to the first damage."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    yield packet
        except av.FFmpegError as error:
            if isinstance(error, av.EOFError):
                return
            raise DecodeError(f"{self._path} is damaged: {_reason(error)}") from None

    def _count_frames(self):
        try:
            return list(range(sum(1 for _ in self._container.decode(self._stream))))
        except av.FFmpegError as error:
            raise DecodeError(f"{self._path} breaks while decoding: {_reason(error)}") from None

    def _decode_by_count(self, wanted):
        self._open()
        images, left = {}, set(wanted.tolist())
        for count, frame in enumerate(self._container.decode(self._stream)):
            if count in left:
                images[count] = self._image(frame)
                left.discard(count)
                if not left:
                    return images
        raise self._lost(left)

    def _decode(self, wanted):
        """One pass over the sorted indices, with a seek where it skips a stretch of the video.

        Where seeking did not bring all of them, once more from the start without it.
        """
        try:
            return self._decode_with_seeks(wanted)
        except DecodeError:
            self._open()
            self._decoder = self._container.decode(self._stream)
            images = {}
            self._read_group(wanted.tolist(), images)
            return images

    def _decode_with_seeks(self, wanted):
        images, position = {}, None
        for group in np.split(wanted, np.flatnonzero(np.diff(wanted) > _SEEK_GAP) + 1):
            key = self._key_before(group[0])
            if position is None or key > position + _SEEK_GAP:
                self._start_at(key)
            position = self._read_group(group.tolist(), images)
        return images

    def _key_before(self, index):
        """Index of the last key frame at or before `index`; 0 where there is none."""
        place = bisect_right(self._key_times, self._times[index]) - 1
        return bisect_right(self._times, self._key_times[place]) - 1 if place >= 0 else 0

    def _start_at(self, key):
        if self._can_seek:
            self._container.seek(self._times[key], stream=self._stream, backward=True)
        else:
            self._open()
        self._decoder = self._container.decode(self._stream)

    def _read_group(self, group, images):
        """Decode on until the last of the sorted indices, keeping those; returns the last."""
        left = {self._times[index]: index for index in group}
        last = self._times[group[-1]]
        for frame in self._decoder:
            index = left.pop(frame.pts, None)
            if index is not None:
                images[index] = self._image(frame)
            if frame.pts >= last:
                break
        if left:
            raise self._lost(left.values())
        return group[-1]

    def _image(self, frame):
        """`uint8 [H, W, 3]` RGB, turned the way it is meant to be shown."""
        image = self._to_rgb.reformat(frame, format="rgb24").to_ndarray()
        turns = round(frame.rotation / 90) % 4
        return np.rot90(image, turns) if turns else image

    def _lost(self, indices):
        first = min(indices)
        return DecodeError(
            f"{self._path} is damaged: frame {first} of {self.num_frames} cannot be decoded"
        )


def _reason(error):
    return (getattr(error, "strerror", None) or str(error)).strip()

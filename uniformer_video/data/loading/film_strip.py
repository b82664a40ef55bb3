"""A small picture of a tested video for people: four frames side by side, from what was decoded anyway.

Of an image, which is one frame, it is that.
"""

import io

import numpy as np
from PIL import Image

STRIP_FRAMES = 4
STRIP_HEIGHT = 64
_IMAGE_HEIGHT = 128  # of one picture alone
_MAX_FRAME_WIDTH = 4 * STRIP_HEIGHT  # a frame that is wider yet is less high
_ENOUGH = 3  # pixels of a frame for one of a strip, along a side
_QUALITY = 75


def film_strip(clips: np.ndarray) -> bytes:
    """The test clips of a video, uint8 `[clip, T, H, W, 3]` -> a JPEG file of four frames side by side, or of
    the only one.

    They are spread over the clips and over the frames of a clip alike, so that they stand in the order of
    time also where clips overlap. Each is 64 pixels high, the only one 128.
    """
    num_clips, num_frames, height, width, _ = clips.shape
    is_still = num_clips * num_frames == 1
    spread = np.linspace(0, 1, 1 if is_still else STRIP_FRAMES)
    chosen = clips[
        (spread * (num_clips - 1)).round().astype(int),
        (spread * (num_frames - 1)).round().astype(int),
    ]
    strip_height = _IMAGE_HEIGHT if is_still else STRIP_HEIGHT
    scale = min(strip_height / height, _MAX_FRAME_WIDTH / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    strip = Image.new("RGB", (len(chosen) * size[0], size[1]))
    # Of large frames every so many pixels are enough: all of them would take longer than the rest.
    step = max(1, int(1 / scale / _ENOUGH))
    for place, frame in enumerate(chosen[:, ::step, ::step]):
        picture = Image.fromarray(np.ascontiguousarray(frame))
        small = picture.resize(size, Image.Resampling.BILINEAR)
        strip.paste(small, (place * size[0], 0))
    file = io.BytesIO()
    strip.save(file, "jpeg", quality=_QUALITY)
    return file.getvalue()

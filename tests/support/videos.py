"""Pictures for test videos."""

import numpy as np


def numbered_frames(count, size):
    """uint8 `[count, H, W, 3]`: a pattern that moves and brightens from frame to frame."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    frames = [
        np.stack([(x * 3 + 7 * i) % 256, (y * 5 + 3 * i) % 256, np.full_like(x, 4 * i % 256)], -1)
        for i in range(count)
    ]
    return np.array(frames, np.uint8)

"""What a strip, the small picture of a tested video, adds to reading that video: both sides in one run."""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
from command_line import count, run_script

from uniformer_video.data.clips.transforms import EvalViews
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import EvalDataset
from uniformer_video.data.sampling import ClipSampling


def write_video(path: Path, height: int, width: int, frames: int) -> None:
    """Moving shapes and noise, as H.264."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (frames // 25 + 2, height // 16, width // 16, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for number in range(frames):
            picture = coarse[number // 25].repeat(16, 0).repeat(16, 1).astype(np.int16)
            picture += rng.integers(-20, 20, picture.shape, np.int16)
            frame = av.VideoFrame.from_ndarray(
                picture.clip(0, 255).astype(np.uint8), format="rgb24"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def seconds(path: Path, strips: bool) -> float:
    """Processor time for all views of a video, 4 clips of 16 frames: other programs do not count."""
    record = VideoRecord(str(path), path.name, (0,))
    dataset = EvalDataset([record], ClipSampling(16, 4), EvalViews(224, 224), 4, strips=strips)
    started = time.process_time()
    sample = dataset[0]
    taken = time.process_time() - started
    assert sample.views is not None and bool(sample.strip) == strips
    return taken


def compare() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=count, default=9)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for height, width in ((256, 352), (720, 1280)):
            path = Path(folder) / f"{height}.mp4"
            write_video(path, height, width, 150)
            pairs = [(seconds(path, False), seconds(path, True)) for _ in range(args.repeats)]
            without, with_strip = (statistics.median(side) for side in zip(*pairs, strict=True))
            more = statistics.median(b - a for a, b in pairs)
            print(
                f"{height}x{width}: {1000 * without:.1f} ms without, {1000 * with_strip:.1f} ms with "
                f"a strip, median difference {1000 * more:.1f} ms ({more / without:.1%})"
            )


if __name__ == "__main__":
    sys.exit(run_script(compare))

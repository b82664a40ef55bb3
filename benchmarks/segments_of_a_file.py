"""Many segments of one long file: opened for each of them, or once.

    python benchmarks/segments_of_a_file.py [--minutes 20] [--segments 60]

Both sides read the same segments of the same generated file, in one process, one behind the other.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
from command_line import count, run_script

from uniformer_video.data.decoding.opened import OpenReaders
from uniformer_video.data.loading.dataset import decode_test_clips
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.prepare.demo import write_video

SAMPLING = ClipSampling(16, 4)
REPEATED = 10  # seconds that are encoded, and then written again and again


def write_long(folder: Path, minutes: int) -> Path:
    """A video of 320 x 240 at 25 frames a second; packets of ten seconds, repeated."""
    part, whole = folder / "part.mp4", folder / "whole.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (25 * REPEATED, 240, 320, 3), np.uint8)
    write_video(part, noise // 8 + 100, 25, options={"preset": "ultrafast"})
    with av.open(str(part)) as source, av.open(str(whole), "w") as out:
        packets = [packet for packet in source.demux(video=0) if packet.size]
        stream = out.add_stream_from_template(source.streams.video[0])
        step = round(REPEATED / packets[0].time_base)
        times = [(packet.pts, packet.dts) for packet in packets]
        for number in range(60 * minutes // REPEATED):
            for packet, (pts, dts) in zip(packets, times, strict=True):
                packet.pts, packet.dts = pts + number * step, dts + number * step
                packet.stream = stream
                out.mux(packet)
    return whole


def compare() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=count, default=20)
    parser.add_argument("--segments", type=count, default=60)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = write_long(Path(folder), args.minutes)
        print(f"{args.minutes} minutes, {path.stat().st_size / 2**20:.0f} MB")
        starts = np.linspace(0, 60 * args.minutes - 5, args.segments).tolist()
        sides = {"opened for each": None, "opened once": OpenReaders()}
        found = {}
        for name, opened in sides.items():
            began = time.perf_counter()
            found[name] = [
                decode_test_clips(str(path), SAMPLING, 1, start=s, end=s + 4, opened=opened)[0]
                for s in starts
            ]
            took = time.perf_counter() - began
            print(f"{name:<16} {took:6.2f} s, {1000 * took / args.segments:.0f} ms a segment")
        first, second = found.values()
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
        print("the same frames")


if __name__ == "__main__":
    sys.exit(run_script(compare))

"""Long videos: the segments of a film are found again, and an hour takes no more memory than minutes."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from uniformer_video.prepare import demo

ROOT = Path(__file__).parents[2]
FPS = 25


def write_film(path, seconds, count, seed):
    """A film of `count` segments, each some videos of one class behind each other; rows of a table."""
    rng = np.random.default_rng(seed)
    size, frames, rows, label = round(seconds * FPS), [], ["start,end,label"], -1
    for number in range(count):
        label = (label + int(rng.integers(1, len(demo.CLASS_NAMES)))) % len(demo.CLASS_NAMES)
        own = np.concatenate([demo.render(label, rng) for _ in range(-(-size // 20))])[:size]
        frames.append(own)
        start, end = number * size / FPS, (number + 1) * size / FPS
        rows.append(f"{start:.3f},{end:.3f},{demo.CLASS_NAMES[label]}")
    demo.write_video(path, np.concatenate(frames), FPS)
    return "\n".join(rows)


@pytest.mark.slow
def test_the_segments_of_a_film_are_found_again(call, tmp_path, two_threads):
    """The recipe of the demo; the film shows each class for 4.5 s at a time."""
    data, run = tmp_path / "demo", tmp_path / "run"
    demo.generate_demo(data, train=1600, val=16, test=16)
    config = ROOT / "configs/demo/uniformer_demo.yaml"
    changes = {"TRAIN.EVAL_PERIOD": "12", "TEST.ENABLE": "False"}
    words = [*changes.items(), ("DATA.PATH_TO_DATA_DIR", data), ("OUTPUT_DIR", run)]
    words += [("TENSORBOARD.ENABLE", "False"), ("DATA_LOADER.NUM_WORKERS", "2")]
    settings = [word for pair in words for word in pair]
    assert call("run", "--cfg", config, *settings)[0] == 0
    table = tmp_path / "truth.csv"
    table.write_text(write_film(tmp_path / "film.mp4", 4.5, 12, seed=1))
    status, printed, _ = call(
        *("timeline", tmp_path / "film.mp4", "--checkpoint", run / "last.pt", "--json"),
        *("--score", table),
    )
    assert status == 0
    scores = json.loads(printed)["scores"]
    assert scores["frame_accuracy"]["value"] >= 0.9
    assert scores["f1"]["50"]["value"] >= 0.85


HOUR = """
    import sys
    import uniformer_video.inference.timeline as timeline
    from uniformer_video.inference.predictor import Predictor

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096 / 2**20

    predictor, seen = Predictor.from_checkpoint(sys.argv[1]), {}

    def progress(done, total):
        seen.setdefault(60 * done // total, resident())

    found = timeline.predict_timeline(predictor, sys.argv[2], 2.0, 1.0, progress=progress)
    assert not found.failed and abs(found.windows.end - 3600) < 0.1, found.notes
    print(max(seen[m] for m in seen if m >= 5) - seen[5])
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="tells memory on Linux alone")
def test_an_hour_takes_no_more_memory_than_five_minutes(untrained, tmp_path):
    """320 x 240 at 25 frames a second; a minute is encoded and repeated."""
    import av

    minute, hour = tmp_path / "minute.mp4", tmp_path / "hour.mp4"
    y, x = np.mgrid[:240, :320]
    frames = np.stack(
        [np.stack([(x + 3 * i) % 256, (y + i) % 256, (x + y) % 256], -1) for i in range(250)]
    )
    demo.write_video(minute, frames.astype(np.uint8), FPS, options={"preset": "ultrafast"})
    with av.open(str(minute)) as source, av.open(str(hour), "w") as out:
        packets = [p for p in source.demux(video=0) if p.size]
        stream = out.add_stream_from_template(source.streams.video[0])
        step = round(10 / packets[0].time_base)
        starts = [(packet.pts, packet.dts) for packet in packets]
        for part in range(360):
            for packet, (pts, dts) in zip(packets, starts, strict=True):
                packet.pts, packet.dts = pts + part * step, dts + part * step
                packet.stream = stream
                out.mux(packet)
    words = [sys.executable, "-c", textwrap.dedent(HOUR), untrained(), hour]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        list(map(str, words)), env=environment, check=True, capture_output=True, text=True
    )
    assert float(done.stdout) < 50

"""How long a training of 240,000 listed videos takes to start, and what its processes hold in memory.

Makes lists as large as Kinetics-400, of links to one short video, in each of three forms: `kinetics` (csv
with blanks in paths), `ssv2-json` (the official json files) and `folder` (one sub-folder a class), each with
20,000 videos to validate on. A tiny model is trained on them until its first step is logged, and beside it on
a list of 100 videos; `--against` adds another checkout of the repository, the two in turn:

    python benchmarks/large_lists.py runs/large_lists --against ../before

Linux only: what a process holds is read in /proc. The lists stay in the folder for another time.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from uniformer_video.bench.generated import generate_videos
from uniformer_video.data.lists.class_names import class_names

RUN = "tools/run_net.py"  # of a checkout
HERE = Path(__file__).resolve().parents[1]
# A model and clips that are small enough to leave the start to the lists.
SETTINGS = shlex.split("""
UNIFORMER.EMBED_DIM [8,16,16,32] UNIFORMER.DEPTH [1,1,1,1] UNIFORMER.HEAD_DIM 8 DATA.NUM_FRAMES 4
DATA.FLIP_CLASS_PAIRS [] DATA.OPPOSITE_CLASS_PAIRS [] DATA.TRAIN_CROP_SIZE 32 DATA.TEST_CROP_SIZE 32
TRAIN.BATCH_SIZE 4 LOG_PERIOD 1 TEST.ENABLE False TEST.MOTION_CHECK False TENSORBOARD.ENABLE False
""")
FIRST_STEP = re.compile(r"\bloss\b")
LINKS = 50_000  # to one file; file systems allow 65,000 and fewer


class Start(NamedTuple):
    """seconds: from the start of the process to its first step; megabytes: that it held then, and at most
    before; workers: that each of its workers holds alone, at most; processor: its seconds of the processor.
    """

    seconds: float
    megabytes: float
    peak: float
    workers: float
    processor: float


def main() -> None:
    """Make the lists that are not there, time the starts in turn, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the lists are made")
    parser.add_argument("--videos", type=int, default=240_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kinds", nargs="+", choices=MAKERS, default=list(MAKERS))
    parser.add_argument("--against", type=Path, help="another checkout of the repository")
    args = parser.parse_args()
    if min(args.videos, args.rounds) < 1 or args.workers < 0:
        parser.error("--videos and --rounds are 1 or more, --workers 0 or more")
    if args.against and not (args.against / RUN).is_file():
        parser.error(f"--against {args.against} is no checkout of the repository: it has no {RUN}")
    trees = {"ours": HERE} | ({"against": args.against.resolve()} if args.against else {})
    for kind in args.kinds:
        data = {count: _made(args.folder, kind, count) for count in (100, args.videos)}
        starts: dict[tuple[str, int], list[Start]] = {}
        for _ in range(args.rounds):
            for tree, place in trees.items():
                for count, videos in data.items():
                    run = args.folder / "run"
                    found = first_step(place, kind, videos, run, args.workers)
                    starts.setdefault((tree, count), []).append(found)
        for (tree, count), found in starts.items():
            values = Start(*(median(column) for column in zip(*found, strict=True)))
            spread = f"{min(one.seconds for one in found):.1f} to {max(one.seconds for one in found):.1f}"
            print(
                f"{kind:10} {tree:8} {count:7} videos: first step after {values.seconds:5.1f} s ({spread}), "
                f"{values.megabytes:4.0f} MB (at most {values.peak:.0f}), each worker "
                f"{values.workers:.0f} MB of its own, {values.processor:.1f} s of the processor",
                flush=True,
            )


def first_step(tree: Path, kind: str, data: Path, run: Path, workers: int) -> Start:
    """Start a training by the checkout `tree`, and end it after its first step."""
    shutil.rmtree(run, ignore_errors=True)
    words = [sys.executable, str(tree / RUN), "--cfg"]
    words += [str(tree / "configs/demo/uniformer_demo.yaml"), *SETTINGS]
    words += ["TRAIN.DATASET", kind, "DATA.PATH_TO_DATA_DIR", str(data), "OUTPUT_DIR", str(run)]
    words += ["DATA_LOADER.NUM_WORKERS", str(workers)]
    begin = time.perf_counter()
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tree)},
    ) as process:
        said = []
        for line in process.stdout or ():
            said.append(line)
            if FIRST_STEP.search(line):
                seconds = time.perf_counter() - begin
                found = Start(seconds, *_held(process.pid))
                process.kill()
                return found
    raise SystemExit(f"the training ends without a step: {''.join(said)}")


def _held(process: int) -> Iterator[float]:
    """MB of a process: now, at most, and of the largest of its children what it shares with none."""
    status = Path(f"/proc/{process}/status").read_text()
    for name in ("VmRSS", "VmHWM"):
        yield int(re.search(rf"{name}:\s+(\d+)", status)[1]) / 1024
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    yield max((_private(child) for child in children), default=0.0)
    times = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    yield (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")


def _private(process: str) -> float:
    rows = Path(f"/proc/{process}/smaps_rollup").read_text()
    return sum(int(size) for size in re.findall(r"Private_\w+:\s+(\d+)", rows)) / 1024


def _made(folder: Path, kind: str, count: int) -> Path:
    """The data set of a kind and size in the folder, made where it is not there."""
    place, done = folder / f"{kind}-{count}", folder / f"{kind}-{count}.made"
    if not done.exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        MAKERS[kind](place, {"train": count, "val": min(count, 20_000)})
        done.touch()
    return place


def _link_videos(places: Iterator[Path]) -> None:
    """One short video at all of the places."""
    source = None
    for number, place in enumerate(places):
        place.parent.mkdir(parents=True, exist_ok=True)
        if number % LINKS == 0:
            source = place.parent / "first"
            source.mkdir()
            generate_videos(source, 1, (48, 64), 20)
            (source / "0.mp4").rename(place)
            source.rmdir()
            source = place
            continue
        os.link(source, place)


def _named(count: int, part: str) -> list[tuple[str, int]]:
    """(name in a folder of its class, class) of each video, as Kinetics calls them."""
    names = class_names("k400")
    first = 10**6 * (part == "val")
    return [
        (f"{names[n % 400]}/vid_{first + n:08d}_000012_000022.mp4", n % 400) for n in range(count)
    ]


def _make_kinetics(folder: Path, parts: dict[str, int]) -> None:
    for part, count in parts.items():
        videos = _named(count, part)
        _link_videos(folder / "videos" / name for name, _ in videos)
        lines = [f"videos/{name} {label}\n" for name, label in videos]
        (folder / f"{part}.csv").write_text("".join(lines))


def _make_folders(folder: Path, parts: dict[str, int]) -> None:
    for part, count in parts.items():
        _link_videos(folder / part / name for name, _ in _named(max(count, 400), part))


def _make_something(folder: Path, parts: dict[str, int]) -> None:
    names = class_names("ssv2")
    labels = {name: str(number) for number, name in enumerate(names)}
    (folder / "labels.json").write_text(json.dumps(labels))
    first = 1
    for part, word in (("train", "train"), ("val", "validation")):
        numbers = range(first, first + parts[part])
        first += parts[part]
        _link_videos(folder / "videos" / f"{number}.webm" for number in numbers)
        entries = [
            {
                "id": str(number),
                "label": "a thing",
                "template": names[number % 174],
                "placeholders": [],
            }
            for number in numbers
        ]
        (folder / f"{word}.json").write_text(json.dumps(entries))


MAKERS: dict[str, Callable[[Path, dict[str, int]], None]] = {
    "kinetics": _make_kinetics,
    "ssv2-json": _make_something,
    "folder": _make_folders,
}

if __name__ == "__main__":
    main()

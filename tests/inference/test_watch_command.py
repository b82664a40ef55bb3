"""The command: its lines, how it ends, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import PIL
import pytest
from live_server import LONGEST, Written, drop_after, serve_live
from videos import encode, numbered_frames

from uniformer_video.commands import watch as commands_watch
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.inference import watch_overlay
from uniformer_video.inference.predictor import Predictor
from uniformer_video.inference.watch import Label
from uniformer_video.inference.watch_window import ClipWindow, FrameRing, LiveFrame
from uniformer_video.storage.address import public_name
from uniformer_video.storage.hidden_arguments import replace_in_arguments
from uniformer_video.tasks.prediction import Prediction

SECRET = "hunter2"


@pytest.fixture
def watch(call, untrained):
    """A function that runs the command; (status, output, errors)."""

    def run(source, *words, settings=None):
        return call("watch", source, "--checkpoint", untrained(settings), *words)

    return run


@pytest.fixture
def start(untrained):
    """A function that starts the command in a process of its own."""
    processes = []

    def begin(*words, **options):
        command = [sys.executable, "-m", "uniformer_video", "watch"]
        words = [*map(str, words), "--checkpoint", str(untrained())]
        process = subprocess.Popen(
            [*command, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def rows_of(printed):
    return [json.loads(line) for line in printed.splitlines()]


def test_labels_are_those_of_a_test_of_the_same_frames(watch, untrained, tmp_path):
    path = encode(tmp_path / "a.mp4", numbered_frames(20, (32, 48)))
    status, printed, errors = watch(path, "--every", 0.3, "--top", 2)
    assert status == 0
    rows = rows_of(printed)
    assert [row["time"] for row in rows] == pytest.approx([0.28, 0.6], abs=0.021)
    predictor = Predictor.from_checkpoint(untrained(), num_clips=1)
    for row in rows:
        last = round(row["time"] * 25)
        start = (last - 7) / 25
        own = predictor(path, start=start, end=(last + 1) / 25)
        assert len(row["top"]) == 2 and row["label"] == own.top(1)[0][0]
        assert row["score"] == pytest.approx(own.top(1)[0][1], abs=1e-5)
        assert row["lag"] >= 0 and row["dropped"] == 0 and row["wall_time"].endswith("+00:00")
    assert errors.count("no label until 8 frames are seen") == 1
    assert "2 labels, 20 frames seen, 0 dropped, 0 reconnects, lag" in errors


def test_a_model_of_whole_videos(watch, tmp_path):
    path = encode(tmp_path / "a.mp4", numbered_frames(20, (48, 64)))
    words = ("--span", 0.4, "--every", 0.2, "--crops", 3)
    status, printed, _ = watch(path, *words, settings={"DATA__SAMPLING": "segment"})
    assert status == 0 and rows_of(printed)[0]["time"] == pytest.approx(0.36)


@pytest.mark.parametrize(
    ("source", "words", "message"),
    [
        ("7123", (), "there is no camera 7123"),
        ("nothing.mp4", (), "does not exist; a source is the number of a camera"),
        ("text.txt", (), "is no video that can be read"),
        ("empty.ts", (), "0 bytes"),
        ("one.mp4", (), "ended after 1 frame, and a label is of 8 frames"),
        (".", (), "is no file"),
        pytest.param(
            os.devnull,
            (),
            "null: is no camera",
            marks=pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of Linux"),
        ),
        (f"rtsp://me:{SECRET}@127.0.0.1:1/a", (), "refuses connections"),
        (f"http://me:{SECRET}@127.0.0.1:1/a?key={SECRET}", (), "refuses connections"),
        (f"http://me:{SECRET}@nowhere.invalid/a", (), "host is not known"),
        (f"http://me:a/{SECRET}@127.0.0.1/a", (), "is no address"),
        (f"ftp://me:{SECRET}@127.0.0.1/a", (), "allowed: rtsp://"),
        ("http:///a.ts", (), "names no host"),
        ("concat:one.mp4|one.mp4", (), "does not exist"),
        ("one.mp4", ("--every", "0"), "--every is 0 seconds"),
        ("one.mp4", ("--every", "-2"), "--every is -2 seconds"),
        ("one.mp4", ("--span", "2"), "leave it out"),
        ("one.mp4", ("--fps", "0"), "--fps is 0"),
        ("one.mp4", ("--timeout", "0"), "--timeout is 0"),
        ("one.mp4", ("--top", "0"), "--top is 0"),
    ],
)
def test_what_cannot_be_watched(watch, tmp_path, monkeypatch, source, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("no video\n" * 100)
    (tmp_path / "empty.ts").touch()
    encode(tmp_path / "one.mp4", numbered_frames(1, (48, 64)))
    status, printed, errors = watch(source, *words)
    assert status == 2 and not printed
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert message in line and SECRET not in errors


def test_without_standard_output(watch, tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4", numbered_frames(20, (48, 64)))
    monkeypatch.setattr(sys, "stdout", None)
    status, _, errors = watch(path)
    assert status == 2 and "standard output is closed" in errors


@pytest.mark.parametrize("name", ["a.mp4", "a.ts"])
def test_a_file_as_standard_input(watch, tmp_path, name):
    path = encode(tmp_path / name, numbered_frames(20, (48, 64)))
    own = os.dup(0)
    try:
        with path.open("rb") as file:
            os.dup2(file.fileno(), 0)
        status, printed, errors = watch("-", "--every", 0.3)
    finally:
        os.dup2(own, 0)
        os.close(own)
    assert status == 0 and len(rows_of(printed)) == 2
    assert "20 frames seen" in errors.splitlines()[-1]


def test_a_window_needs_a_display(watch, tmp_path, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    path = encode(tmp_path / "a.mp4", numbered_frames(1, (48, 64)))
    status, _, errors = watch(path, "--window")
    assert status == 2
    assert "needs a display" in errors or "needs tkinter" in errors
    monkeypatch.setitem(sys.modules, "tkinter", None)
    status, _, errors = watch(path, "--window")
    assert status == 2 and "--window needs tkinter" in errors


def test_the_window_is_drawn_and_can_be_closed(monkeypatch):
    """On a screen that only notes what is done with it."""
    done, close = [], []

    class Root:
        def title(self, name):
            done.append(name)

        def protocol(self, name, function):
            close.append(function)

        def update(self):
            done.append("update")

        def destroy(self):
            done.append("destroy")

    class Picture:
        def __init__(self, root):
            pass

        def pack(self):
            pass

        def configure(self, image):
            done.append(image.size)

    screen = SimpleNamespace(Tk=Root, Label=Picture, TclError=RuntimeError)
    monkeypatch.setitem(sys.modules, "tkinter", screen)
    photos = SimpleNamespace(PhotoImage=lambda picture: picture)
    monkeypatch.setitem(sys.modules, "PIL.ImageTk", photos)
    monkeypatch.setattr(PIL, "ImageTk", photos, raising=False)
    ring = FrameRing(ClipWindow.of(ClipSampling(4, 2)))
    overlay = watch_overlay.Overlay("camera 0", ring)
    overlay.look()
    ring.add(0.0, 0.0, np.zeros((48, 64, 3), np.uint8))
    overlay.look()
    assert done == ["camera 0", "update", (640, 480), "update"] and not overlay.closed
    close[0]()
    overlay.look()
    overlay.close()
    assert overlay.closed and done[4:] == ["destroy"]


def test_what_the_window_shows():
    image = np.full((48, 64, 3), 200, np.uint8)
    prediction = Prediction("stream", np.array([0.2, 0.8]), ("sit", "run"))
    label = Label(1.0, 0.1, 0, prediction, LiveFrame(1.0, 0.0, image))
    plain = watch_overlay.draw(image, None)
    drawn = np.asarray(watch_overlay.draw(image, label))
    assert plain.size == (640, 480) and drawn.shape == (480, 640, 3)
    assert (drawn[:300] == 200).all() and drawn[-60:].mean() < 150  # the band
    assert (drawn[-60:] == 255).any()  # letters


@pytest.mark.slow  # it starts a process; `test_a_signal_ends_it` does not
def test_ctrl_c_ends_it_with_a_summary(start, tmp_path):
    path = encode(tmp_path / "a.ts", numbered_frames(25, (48, 64)))
    process = start("-", "--every", 0.2, stdin=subprocess.PIPE)
    os.write(process.stdin.fileno(), path.read_bytes())
    first = process.stdout.readline()  # flushed, although more is to come
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    labels = 1 + len(printed.splitlines())
    assert json.loads(first)["time"] == pytest.approx(0.28, abs=0.05)
    assert f"{labels} label" in errors.splitlines()[-1] and "Traceback" not in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it(watch, tmp_path, monkeypatch, number):
    data = encode(tmp_path / "a.ts", numbered_frames(25, (48, 64))).read_bytes()
    over = threading.Event()

    def write(pipe):
        pipe.write(data)
        pipe.flush()
        over.wait(LONGEST)

    pipe = Written(tmp_path / "pipe", write)
    printed = []

    def print_row(label, top):
        printed.append(label.name)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(commands_watch, "print_row", print_row)
    status, _, errors = watch(pipe.path, "--every", 100)
    over.set()
    assert status == 0 and len(printed) == 1
    assert "1 label, " in errors.splitlines()[-1]


def test_a_reader_that_goes_away_ends_it_quietly(start, tmp_path):
    path = encode(tmp_path / "a.ts", numbered_frames(75, (48, 64)))
    process = start(path, "--every", 0.1)
    assert process.stdout.readline()
    process.stdout.close()
    process.wait(60)
    assert "Traceback" not in (errors := process.stderr.read()) and "Broken pipe" not in errors


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_a_password_is_not_seen_among_the_processes():
    address = f"rtsp://me:{SECRET}@camera.invalid/a?key={SECRET}"
    program = (
        "import sys; from uniformer_video.storage.address import public_name as p;"
        "from uniformer_video.storage.hidden_arguments import replace_in_arguments as r;"
        "r(sys.argv[1], p(sys.argv[1])); print(open('/proc/self/cmdline').read(), sys.argv[1])"
    )
    printed = subprocess.check_output(
        [sys.executable, "-c", program, address, "--every"], text=True
    )
    shown, _, own = printed.rpartition(" ")
    assert SECRET not in shown and "rtsp://camera.invalid/a" in shown and "--every" in shown
    assert own.strip() == address


def test_arguments_that_are_not_there_stay_as_they_are():
    replace_in_arguments("rtsp://never:given@host/", "rtsp://host/")


def test_names_of_addresses():
    assert public_name("rtsp://a:b@host:554/x?user=a&pass=b#c") == "rtsp://host:554/x"
    assert public_name("rtsp://a:b/c@d@host/x") == "rtsp://host/x"
    assert public_name("a:b@host/x") == "host/x"
    assert public_name("folder/a@b.mp4") == "folder/a@b.mp4"


def test_a_login_from_the_environment(monkeypatch):
    from uniformer_video.data.decoding.live_places import find_place

    monkeypatch.setenv("UNIFORMER_WATCH_LOGIN", f"me:{SECRET}@/")
    place = find_place("rtsp://host/a")
    assert place.target == f"rtsp://me:{SECRET}%40%2F@host/a" and place.name == "rtsp://host/a"
    assert SECRET not in repr(place)
    assert find_place("rtsp://x:y@host/a").target == "rtsp://x:y@host/a"


def test_a_stream_that_worked_and_is_lost(watch, tmp_path):
    data = encode(tmp_path / "a.ts", numbered_frames(20, (48, 64)), bf="0").read_bytes()
    with serve_live(drop_after(data), 500) as (address, _):
        status, printed, errors = watch(f"http://me:{SECRET}@{address}", "--give-up", 0.5)
    assert status == commands_watch.EXIT_LOST and rows_of(printed)
    assert "given up after" in errors.splitlines()[-1] and "1 label" in errors
    assert SECRET not in errors + printed


def test_nothing_else_opens_an_address(call, untrained, place):
    address = f"rtsp://me:{SECRET}@127.0.0.1/a.mp4"
    root = place(
        {"a.txt": f"{address}\n", "b.csv": f"path\n{address}\n", "c.csv": f"{address},1\n"}
    )
    for source in ("a.txt", "b.csv", "c.csv"):
        words = ("predict", root / source, "--checkpoint", untrained())
        status, _, errors = call(*words)
        assert status == 2 and "is an address" in errors and SECRET not in errors
        assert f"{source}:" in errors
    for command in ("predict", "timeline"):
        status, _, errors = call(command, address, "--checkpoint", untrained())
        assert status == 2 and "watch` for streams" in errors and SECRET not in errors

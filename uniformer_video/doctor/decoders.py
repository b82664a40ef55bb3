"""The decoders: which are there, with which FFmpeg, and what each reads of small videos made here."""

import os
from collections.abc import Iterator, Sequence
from ctypes.util import find_library
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Literal

import numpy as np

from uniformer_video.doctor.finding import Finding, Level, note, wrong
from uniformer_video.errors import MissingLibraryError, UserError
from uniformer_video.prepare.jobs import Outcome, run_jobs
from uniformer_video.program import install
from uniformer_video.words import one_line

# What videos come in: the name, FFmpeg's encoder that makes one, the ending of the file.
CODECS = {
    "H.264": ("libx264", ".mp4"),
    "HEVC": ("libx265", ".mp4"),
    "AV1": ("libsvtav1", ".mp4"),
    "VP9": ("libvpx-vp9", ".webm"),
    "VP8": ("libvpx", ".webm"),
    "MPEG-4": ("mpeg4", ".avi"),
    "MPEG-2": ("mpeg2video", ".mpg"),
    "Motion JPEG": ("mjpeg", ".avi"),
}
_QUIET = {"libx265": {"x265-params": "log-level=none"}}
FRAMES, SIDE = 16, 128
_BRIGHTER = 12  # levels from one frame to the next
_WANTED = [0, 5, 6, 15]
_TIMEOUT = 60.0  # seconds for one video


def check_decoders() -> Iterator[Finding]:
    """Which libraries are there, and their FFmpeg."""
    try:
        import av
        from av import library_versions
    except (ImportError, OSError) as error:
        yield wrong(
            "pyav", f"cannot be imported: {one_line(error)}", "pip install --force-reinstall av"
        )
    else:
        avcodec = ".".join(map(str, library_versions["libavcodec"]))
        yield Finding(
            "pyav", f"{av.__version__}, FFmpeg {av.ffmpeg_version_info} (libavcodec {avcodec})"
        )
    yield _check_other("decord", "decord", "with FFmpeg 4.1", "pip install decord")
    yield _check_other(
        "torchcodec",
        "torchcodec.decoders",
        f"with the system's FFmpeg ({find_library('avcodec') or 'no libavcodec found'})",
        f"{install('torchcodec')} (the release made for this torch), and FFmpeg's libraries",
    )


def _check_other(name: str, module: str, ffmpeg: str, remedy: str) -> Finding:
    """A decoder that may be chosen in place of PyAV, which "auto" takes."""
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return note(name, f"not installed; only DATA.DECODING_BACKEND {name} needs it", remedy)
    try:
        import_module(module)
    except Exception as error:  # RuntimeError or OSError too, for lack of FFmpeg's libraries
        return note(name, f"{version} cannot be loaded: {one_line(error)[:160]}", remedy)
    return Finding(name, f"{version}, {ffmpeg}")


def check_reading(
    folder: Path, backends: Sequence[str] = ("pyav", "decord", "torchcodec")
) -> Iterator[Finding]:
    """What each decoder makes of a video of each codec, in `folder`: the right frames, or a refusal.

    "auto" is PyAV: what that cannot read is wrong, what the others refuse is a note. Everything is done
    in a process of its own, since libraries that do not fit a processor crash rather than complain.
    """
    paths = {name: folder / f"{encoder}{ending}" for name, (encoder, ending) in CODECS.items()}
    made: list[Outcome[str, None]] = []
    run_jobs(partial(_write, folder), CODECS, made.append, workers=1, timeout=_TIMEOUT)
    unmade = [f"{outcome.task} ({outcome.reason})" for outcome in made if outcome.reason]
    if any(outcome.task == "H.264" and outcome.reason for outcome in made):
        yield wrong(
            "encoding",
            f"no H.264 can be written: {'; '.join(unmade)}",
            "pip install --force-reinstall av; else smaller videos and demo videos cannot be made",
        )
    elif unmade:
        yield note("encoding", f"no test video of {', '.join(unmade)}")
    videos = [(outcome.task, paths[outcome.task]) for outcome in made if not outcome.reason]
    for backend in backends:
        read: list[Outcome[tuple[str, Path], str]] = []
        run_jobs(partial(_read, backend), videos, read.append, workers=1, timeout=_TIMEOUT)
        yield from _judge(backend, read)


def _judge(backend: str, read: "Sequence[Outcome[tuple[str, Path], str]]") -> Iterator[Finding]:
    """The finding about a decoder; none where it is not installed, which is told elsewhere."""
    names: dict[str | None, list[str]] = {}
    for outcome in read:
        failed = f" ({outcome.reason})" if outcome.reason else ""
        names.setdefault(outcome.result, []).append(outcome.task[0] + failed)
    if "missing" in names:
        return
    about = f"{backend} reads"
    found = f"{', '.join(names.get('right', [])) or 'nothing'}; frames as they were written"
    unread = names.get("refused", []) + names.get(None, [])
    if unread:
        found += f"; not {', '.join(unread)}"
    if "false" in names:
        yield wrong(
            about,
            f"{found}; WRONG FRAMES of {', '.join(names['false'])}",
            "set DATA.DECODING_BACKEND to another decoder, and report this",
        )
    elif backend == "pyav" and unread:
        yield wrong(about, found, "pip install --force-reinstall av")
    else:
        level = Level.NOTE if unread else Level.FINE
        remedy = "DATA.DECODING_BACKEND auto reads them" if unread else ""
        yield Finding(about, found, level, remedy)


def _read(backend: str, video: tuple[str, Path]) -> Literal["right", "false", "refused", "missing"]:
    """Whether a decoder gives the frames that are asked for, refuses, or is not there."""
    from uniformer_video.data.decoding import open_video

    try:
        with open_video(video[1], backend) as opened:
            frames = opened.frames(np.array(_WANTED))
    except MissingLibraryError:
        return "missing"
    except UserError:
        return "refused"
    found = frames.astype(np.float64).mean((1, 2, 3)) / _BRIGHTER
    return "right" if (abs(found - 2 - _WANTED) < 0.4).all() else "false"


def _write(folder: Path, codec: str) -> None:
    """A video whose frame i is a picture of the brightness (2 + i) * 12."""
    import av

    os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder tells its settings otherwise
    encoder, ending = CODECS[codec]
    with av.open(str(folder / f"{encoder}{ending}"), "w") as container:
        stream = container.add_stream(encoder, rate=25, options=_QUIET.get(encoder, {}))
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
        for number in range(FRAMES):
            picture = np.full((SIDE, SIDE, 3), (2 + number) * _BRIGHTER, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())

"""The decoders: which are there, with which FFmpeg, and what each reads of small videos made here."""

import os
from collections.abc import Iterator
from ctypes.util import find_library
from importlib import import_module, metadata
from pathlib import Path

import numpy as np

from uniformer_video.doctor.finding import Finding, Level, note, wrong
from uniformer_video.errors import MissingLibraryError, UserError
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


def check_decoders() -> Iterator[Finding]:
    """Which libraries are there, and their FFmpeg."""
    try:
        import av
    except (ImportError, OSError) as error:
        yield wrong(
            "pyav", f"cannot be imported: {one_line(error)}", "pip install --force-reinstall av"
        )
    else:
        avcodec = ".".join(map(str, av.library_versions["libavcodec"]))
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


def _check_other(name, module, ffmpeg, remedy):
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


def check_reading(folder: Path, backends=("pyav", "decord", "torchcodec")) -> Iterator[Finding]:
    """What each decoder makes of a video of each codec, in `folder`: the right frames, or a refusal.

    "auto" is PyAV: what that cannot read is wrong, what the others refuse is a note.
    """
    os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder tells its settings otherwise
    videos, unmade = {}, []
    for name, (encoder, ending) in CODECS.items():
        path = folder / f"{encoder}{ending}"
        try:
            _write(path, encoder)
        except (OSError, ValueError) as error:  # FFmpeg's errors are both
            unmade.append(f"{name} ({one_line(error)})")
        else:
            videos[name] = path
    if "H.264" not in videos:
        yield wrong(
            "encoding",
            f"no H.264 can be written: {'; '.join(unmade)}",
            "pip install --force-reinstall av; else smaller videos and demo videos cannot be made",
        )
    elif unmade:
        yield note("encoding", f"no test video of {', '.join(unmade)}")
    for backend in backends:
        yield from _check_backend(backend, videos)


def _check_backend(backend, videos):
    read, refused, false = [], [], []
    for name, path in videos.items():
        try:
            is_right = _reads(path, backend)
        except MissingLibraryError:
            return  # told above
        except UserError:
            refused.append(name)
        else:
            (read if is_right else false).append(name)
    about = f"{backend} reads"
    found = f"{', '.join(read) or 'nothing'}; frames as they were written"
    if refused:
        found += f"; not {', '.join(refused)}"
    if false:
        yield wrong(
            about,
            f"{found}; WRONG FRAMES of {', '.join(false)}",
            "set DATA.DECODING_BACKEND to another decoder, and report this",
        )
    elif backend == "pyav" and refused:
        yield wrong(about, found, "pip install --force-reinstall av")
    else:
        level = Level.NOTE if refused else Level.FINE
        remedy = "DATA.DECODING_BACKEND auto reads them" if refused else ""
        yield Finding(about, found, level, remedy)


def _reads(path, backend):
    """Whether a decoder gives the frames that are asked for."""
    from uniformer_video.data.decoding import open_video

    with open_video(path, backend) as video:
        frames = video.frames(np.array(_WANTED))
    found = frames.astype(np.float64).mean((1, 2, 3)) / _BRIGHTER
    return bool((abs(found - 2 - _WANTED) < 0.4).all())


def _write(path, encoder):
    """A video whose frame i is a picture of the brightness (2 + i) * 12."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=25, options=_QUIET.get(encoder, {}))
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
        for number in range(FRAMES):
            picture = np.full((SIDE, SIDE, 3), (2 + number) * _BRIGHTER, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())

"""Where a stream comes from: a camera, an address on a network, a pipe, or a file."""

import os
import stat
import sys
import urllib.parse
from dataclasses import dataclass, field
from glob import glob

from uniformer_video.data.decoding.source import SINGLE_FILES
from uniformer_video.errors import DataError, quote
from uniformer_video.program import command
from uniformer_video.storage.address import is_address, public_name

STANDARD_INPUT = "-"
SCHEMES = ("rtsp", "rtsps", "http", "https")
LOGIN = "UNIFORMER_WATCH_LOGIN"  # user:password of an address that carries none
ALLOWED = (
    "a source is the number of a camera, such as 0, an rtsp:// or http:// address, - for standard input, or "
    "a file"
)
CAMERA, NETWORK, PIPE, FILE = "camera", "network", "pipe", "file"
# Nothing that a server sends can name a file of this machine.
_HTTP = {
    "protocol_whitelist": "http,https,tls,tcp,httpproxy,crypto",
    "format_whitelist": f"{SINGLE_FILES['format_whitelist']},hls,mpjpeg,mjpeg_2000,jpeg_pipe",
}
_RTSP = {
    "protocol_whitelist": "rtsp,rtsps,rtp,srtp,udp,tcp,tls",
    "format_whitelist": "rtsp,sdp,rtp,mpegts,h264,hevc,mjpeg",
    "rtsp_flags": "prefer_tcp",  # pictures whole; over UDP where the camera does no other
}
_PROBING = {"analyzeduration": "2000000"}  # microseconds at most until the first picture


@dataclass(frozen=True)
class LivePlace:
    """A place that a stream can be opened at.

    kind: "camera", "network", "pipe" or "file". target: what FFmpeg is given, which may hold a password, and
    is never shown. name: what messages call it. format, options: of FFmpeg.
    """

    kind: str
    name: str
    target: str = field(repr=False)
    format: str | None = None
    options: dict[str, str] = field(default_factory=lambda: {**SINGLE_FILES, **_PROBING})

    @property
    def reconnects(self) -> bool:
        """Whether it can be opened once more where it broke off; a file or a pipe ends."""
        return self.kind in (CAMERA, NETWORK)

    @property
    def is_paced(self) -> bool:
        """Whether frames may come sooner than they are to be shown, and are then waited for."""
        return self.kind in (FILE, PIPE) or self.target.startswith("http")


def find_place(source: str, fps: float | None = None) -> LivePlace:
    """The `LivePlace` that somebody names; `DataError` for what is none.

    fps: pictures a second that a camera is asked for; None = as it likes.
    """
    if source == STANDARD_INPUT:
        return _standard_input()
    if source.isascii() and source.isdigit():
        return _camera(int(source), fps)
    if is_address(source):
        return _address(source)
    try:
        mode = os.stat(source).st_mode
    except (OSError, ValueError):
        name = public_name(source)
        raise DataError(f"{name or quote(name)} does not exist; {ALLOWED}") from None
    if stat.S_ISFIFO(mode):
        return LivePlace(PIPE, source, source)
    if stat.S_ISCHR(mode) and sys.platform.startswith("linux"):
        return _linux_camera(source, source, fps)
    if not stat.S_ISREG(mode):
        raise DataError(f"{source} is no file; {ALLOWED}")
    if not os.access(source, os.R_OK):
        raise DataError(f"{source} may not be read by this user; change its permissions")
    # a full path, or else a colon in a name would end the name of a protocol
    return LivePlace(FILE, source, os.path.abspath(source), options=SINGLE_FILES)


def _standard_input() -> LivePlace:
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        raise DataError("standard input is closed; pipe a video into it, or name a file") from None
    if os.isatty(0):
        raise DataError(
            f"standard input is a terminal; pipe a video into it, `... | {command('watch -')}`"
        )
    if stat.S_ISDIR(mode):
        raise DataError("standard input is a folder; pipe a video into it")
    return LivePlace(PIPE, "standard input", STANDARD_INPUT)


def _camera(number: int, fps: float | None) -> LivePlace:
    name = f"camera {number}"
    rate = {"framerate": f"{fps:g}"} if fps else {}
    if sys.platform == "darwin":
        return LivePlace(
            CAMERA, name, f"{number}:none", "avfoundation", {"framerate": "30", **rate}
        )
    if sys.platform == "win32":
        from av.device import enumerate_input_devices

        devices = [d.name for d in enumerate_input_devices("dshow") if "video" in d.media_types]
        if number >= len(devices):
            raise DataError(f"there is no {name}; there are {len(devices)}")
        return LivePlace(CAMERA, name, f"video={devices[number]}", "dshow", rate)
    return _linux_camera(name, f"/dev/video{number}", fps)


def _linux_camera(name: str, device: str, fps: float | None) -> LivePlace:
    if not os.path.exists(device):
        there = ", ".join(sorted(glob("/dev/video*"))) or "none"
        raise DataError(f"there is no {name}: {device} does not exist; cameras here: {there}")
    if not os.access(device, os.R_OK | os.W_OK):
        raise DataError(
            f"{name}, {device}, may not be used by this user; add the user to the group video"
        )
    return LivePlace(CAMERA, name, device, "v4l2", {"framerate": f"{fps:g}"} if fps else {})


def _address(source: str) -> LivePlace:
    name = public_name(source)
    scheme = source.partition("://")[0].lower()
    if scheme not in SCHEMES:
        allowed = ", ".join(f"{known}://" for known in SCHEMES)
        raise DataError(f"{name}: {scheme}:// cannot be watched; allowed: {allowed}")
    try:
        parts = urllib.parse.urlsplit(source)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise DataError(
            f"{name} is no address: its host or its port is wrong; write {scheme}://HOST:PORT/PATH, and "
            "signs such as / or @ in a password as %2F and %40"
        ) from None
    if not host:
        raise DataError(f"{name} names no host; write {scheme}://HOST:PORT/PATH")
    login = os.environ.get(LOGIN, "")
    if login and "@" not in parts.netloc:
        user, colon, password = login.partition(":")
        quoted = urllib.parse.quote(user, "") + colon + urllib.parse.quote(password, "")
        parts = parts._replace(netloc=f"{quoted}@{parts.netloc}")
    target = urllib.parse.urlunsplit(parts._replace(scheme=scheme))
    options = _RTSP if scheme.startswith("rtsp") else _HTTP
    return LivePlace(NETWORK, name, target, options={**options, **_PROBING})

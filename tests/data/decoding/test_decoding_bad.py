"""Files that are damaged, odd, or no videos: a clear error or the right frames, never other ones."""

import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import islice

import av
import numpy as np
import pytest
from shard_files import pack
from videos import all_frames, encode, numbered_frames, remux

from uniformer_video.data.decoding import open_video, packets
from uniformer_video.data.decoding.packets import VideoPackets
from uniformer_video.data.decoding.streams import demux
from uniformer_video.errors import DecodeError
from uniformer_video.prepare.stream import open_stream


@pytest.fixture
def asked():
    """(address of a server, list of the paths it was asked for)."""
    paths = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            paths.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/secret.ts", paths
    server.shutdown()
    server.server_close()


PLAYLISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile '{target}'\n",
    "mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
    '<AdaptationSet><Representation mimeType="video/mp4"><BaseURL>{target}</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>",
    "sdp": "v=0\nm=video 0 RTP/AVP 96\n",
}


@pytest.mark.parametrize("backend", ["auto", "decord", "torchcodec"])
@pytest.mark.parametrize("name", ["list.{kind}", "innocent.mp4"])
@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("to", ["net", "file"])
def test_a_playlist_reaches_nothing(make_video, asked, backend, name, kind, to):
    address, paths = asked
    secret = make_video("secret.ts")
    if backend != "auto":
        pytest.importorskip(backend, exc_type=Exception)
    path = secret.with_name(name.format(kind=kind))
    path.write_text(PLAYLISTS[kind].format(target=address if to == "net" else secret.name))
    with pytest.raises(DecodeError, match="cannot be opened as a video"):
        open_video(path, backend)
    assert not paths


@pytest.mark.parametrize("name", ["list.{kind}", "innocent.mp4"])
@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("to", ["net", "file"])
def test_a_playlist_in_a_shard_reaches_nothing(make_video, asked, name, kind, to):
    address, paths = asked
    secret = make_video("secret.ts")
    text = PLAYLISTS[kind].format(target=address if to == "net" else secret)
    (member,) = pack(secret.with_name("a.tar"), {name.format(kind=kind): text.encode()})
    with pytest.raises(DecodeError, match=r"a\.tar#512\+\d+ cannot be opened as a video"):
        open_video(member)
    with pytest.raises(av.FFmpegError), open_stream(member):
        pass
    assert not paths


def test_a_playlist_is_named_as_such(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_text(PLAYLISTS["ffconcat"].format(target="b.mp4"))
    with pytest.raises(
        DecodeError, match=r"a\.mp4 cannot be opened.*or a playlist, which is refused"
    ):
        open_video(path)


def test_links_and_rights(make_video, monkeypatch):
    path = make_video()
    good, broken = path.with_name("good.mp4"), path.with_name("broken.mp4")
    good.symlink_to(path)
    broken.symlink_to(path.with_name("absent.mp4"))
    with open_video(good) as video:
        assert video.num_frames == 50
    with pytest.raises(
        DecodeError, match=r"broken\.mp4 is a link to .*absent\.mp4, which does not"
    ):
        open_video(broken)
    monkeypatch.setattr(os, "access", lambda *_: False)  # the superuser may read everything
    with pytest.raises(DecodeError, match=r"good\.mp4 may not be read by this user; change"):
        open_video(good)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this platform")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(DecodeError, match="is no file"):
        open_video(tmp_path / "a.mp4")


@pytest.mark.parametrize("name", ["one.mp4", "one.avi", "one.ts", "one.webm"])
def test_one_frame(tmp_path, name):
    codec = {"webm": "libvpx-vp9", "avi": "mpeg4"}.get(name[4:], "libx264")
    path = encode(tmp_path / name, numbered_frames(1, (48, 64)), codec)
    with open_video(path) as video:
        assert (video.num_frames, video.size) == (1, (48, 64))
        np.testing.assert_array_equal(video.frames([0, 0]), all_frames(path)[[0, 0]])


def test_one_pixel(tmp_path):
    path = encode(tmp_path / "a.mp4", np.full((5, 1, 1, 3), 200, np.uint8), pix_fmt="yuv444p")
    with open_video(path) as video:
        assert (video.num_frames, video.size) == (5, (1, 1))
        assert np.abs(video.frames(range(5)).astype(int) - 200).max() < 4


CUT = {
    "h264": ("libx264", "ts", {"bf": "2", "g": "15"}),
    "h264, open groups": (
        "libx264",
        "ts",
        {"x264-params": "open-gop=1:keyint=20:bframes=3:repeat-headers=1"},
    ),
    "hevc": ("libx265", "ts", {"x265-params": "log-level=none:keyint=25:bframes=4"}),
    "mpeg-2": ("mpeg2video", "ts", {"bf": "2", "g": "12"}),
    "mpeg-1": ("mpeg1video", "mpg", {"bf": "2", "g": "12"}),
}


@pytest.mark.parametrize("kind", CUT)
@pytest.mark.parametrize("share", [0.33, 0.5])
def test_a_stream_that_starts_in_mid_group(tmp_path, kind, share):
    """As a receiver or a recorder of a broadcast writes it: the frames are those that decode."""
    codec, suffix, options = CUT[kind]
    path = encode(tmp_path / f"a.{suffix}", numbered_frames(90, (64, 96)), codec, **options)
    content, unit = path.read_bytes(), 188 if suffix == "ts" else 2048
    tables = content[: 3 * unit] if suffix == "ts" else b""
    path.write_bytes(tables + content[int(len(content) * share) // unit * unit :])
    expected = all_frames(path)
    assert len(expected) < 90
    with open_video(path) as video:
        assert video.num_frames == len(expected)
        indices = [0, 1, len(expected) - 1, len(expected) // 2]
        np.testing.assert_array_equal(video.frames(indices), expected[indices])


@pytest.mark.parametrize("name", ["a.mkv", "a.webm"])
def test_live_recordings_without_duration(tmp_path, name):
    """As a browser's recorder writes it: no index, no duration, irregular times."""
    codec = "libvpx-vp9" if name.endswith("webm") else "libx264"
    times = np.cumsum([0, *[33, 34, 120, 33] * 10])
    frames = numbered_frames(len(times), (48, 64))
    made = encode(tmp_path / f"whole-{name}", frames, codec, times=times, bf="0")
    path = tmp_path / name
    remux(made, path, hold_dts=False, live="1")
    with open_video(path) as video:
        assert video.num_frames == len(times)
        assert video.fps == pytest.approx(40 / (times[-1] / 1000), rel=0.01)
        np.testing.assert_array_equal(video.frames([0, 17, 40]), all_frames(path)[[0, 17, 40]])


def test_a_damaged_picture_is_named_or_not_needed(make_video):
    """Noise in mid-file: the frames before it are right, those after it are refused or decode."""
    path = make_video("a.mkv", frames=90, options={"g": "30", "bf": "0", "sc_threshold": "0"})
    expected, content = all_frames(path), bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    hurt = bytes(packets[45])
    place = content.index(hurt)
    content[place : place + len(hurt)] = b"\xff" * len(hurt)
    path.write_bytes(content)
    with open_video(path) as video:
        np.testing.assert_array_equal(video.frames([3, 29, 62]), expected[[3, 29, 62]])
        with pytest.raises(DecodeError, match=r"a\.mkv (breaks while decoding|is damaged)"):
            video.frames([45])


def noise_video(path):
    """Frames that do not compress, so that the file is longer than what is read ahead."""
    frames = np.random.default_rng(0).integers(0, 256, (40, 128, 128, 3), np.uint8)
    return encode(path, frames, g="10", bf="0", sc_threshold="0")


def test_a_file_that_shrinks_between_two_reads(tmp_path, monkeypatch):
    path = noise_video(tmp_path / "a.mkv")
    expected, whole = all_frames(path), path.read_bytes()
    with open_video(path) as video:  # the packets are in memory
        os.truncate(path, len(whole) // 3)
        np.testing.assert_array_equal(video.frames([39]), expected[[39]])
    path.write_bytes(whole)
    monkeypatch.setattr(VideoPackets, "kept_bytes", 0)
    with open_video(path) as video:
        os.truncate(path, len(whole) // 3)
        with pytest.raises(DecodeError, match=r"a\.mkv"):
            video.frames([39])
        np.testing.assert_array_equal(video.frames([2]), expected[[2]])


def test_counted_frames_of_a_file_that_shrinks(make_video, monkeypatch):
    path = make_video("a.avi", frames=60, codec="mpeg4", options={"bf": "2"})
    monkeypatch.setattr(VideoPackets, "kept_bytes", 0)
    with open_video(path) as video:
        os.truncate(path, path.stat().st_size // 3)
        with pytest.raises(DecodeError, match=r"a\.avi (has changed|breaks|cannot be opened)"):
            video.frames([59])


def test_a_picture_size_that_changes_is_refused(tmp_path):
    parts = [
        encode(tmp_path / f"{side}.ts", numbered_frames(10, (side, 64)), g="5").read_bytes()
        for side in (48, 64)
    ]
    path = tmp_path / "a.ts"
    path.write_bytes(b"".join(parts))
    with open_video(path) as video, pytest.raises(DecodeError, match="changes its picture size"):
        video.frames([0, video.num_frames - 1])


def test_packets_before_a_break_come_before_its_error(tmp_path, monkeypatch):
    path = noise_video(tmp_path / "a.mkv")
    opened = VideoPackets(str(path), kept_bytes=0)
    opened.open()

    def breaking(container, stream):
        yield from islice(demux(container, stream), 10)
        raise av.InvalidDataError(1, "broken")

    monkeypatch.setattr(packets, "demux", breaking)
    came = []
    with pytest.raises(av.InvalidDataError):
        for number, _ in opened.from_number(0):
            came.append(number)
    opened.close()
    assert came == [*range(10)]

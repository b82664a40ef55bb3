"""Pictures for test videos, odd videos, and plain decoding to compare with."""

import contextlib
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition


def need(backend):
    """Skip the test where a decoder's library cannot be loaded; PyAV always can."""
    if backend == "decord":
        pytest.importorskip("decord", reason="decord has no wheel for this platform")
    if backend == "torchcodec":
        pytest.importorskip("torchcodec", reason="torchcodec is not installed", exc_type=Exception)


def other_backends():
    """The decoders beside PyAV that can be loaded here."""
    found = []
    for backend in ("decord", "torchcodec"):
        with contextlib.suppress(pytest.skip.Exception):
            need(backend)
            found.append(backend)
    return found


def numbered_frames(count, size):
    """uint8 `[count, H, W, 3]`: a pattern that moves and brightens from frame to frame."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    frames = [
        np.stack([(x * 3 + 7 * i) % 256, (y * 5 + 3 * i) % 256, np.full_like(x, 4 * i % 256)], -1)
        for i in range(count)
    ]
    return np.array(frames, np.uint8)


def encode(path, frames, codec="libx264", pix_fmt="yuv420p", times=None, context=None, **options):
    """Encode `uint8 [T, H, W, 3]` frames and return the path.

    times: when each frame is shown, in milliseconds; without them 25 a second. context: attributes
    of the codec context, such as `colorspace`.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        for name, value in (context or {}).items():
            setattr(stream.codec_context, name, value)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = int(times[number]), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def pack_b_pictures(source, path, timed=True):
    """Pack the B pictures of MPEG-4 in an AVI file as DivX and XviD do, and return the path.

    A packet holds a P picture and the first B picture after it; one without a picture, which the decoder
    drops, makes up for it. timed: it has the time of the P picture, as it should, or else none.
    """
    with av.open(str(source)) as given, av.open(str(path), "w") as container:
        (stream,) = given.streams.video
        copied = container.add_stream_from_template(stream)
        data = [bytes(packet) for packet in given.demux(stream) if packet.size]
        groups, packed = [], []
        for picture in data:
            if _header_of(picture).startswith("10"):  # B
                groups[-1].append(picture)
            else:
                groups.append([picture])
        for first, *between in groups:
            if _header_of(first).startswith("00"):  # I
                place = first.index(_PICTURE)
                first = first[:place] + b"\0\0\1\xb2DivX503b1393p" + first[place:]
            packed.append(b"".join([first, *between[:1]]))
            packed += [*between[1:], _without_picture(first, timed)] if between else []
        for number, picture in enumerate(packed):
            packet = av.Packet(picture)
            packet.stream, packet.time_base = copied, stream.time_base
            packet.pts = packet.dts = number
            container.mux(packet)
    return path


_PICTURE = b"\0\0\1\xb6"


def _header_of(picture):
    """The first bits of a picture of MPEG-4: two for its kind, then its time (ISO/IEC 14496-2, 6.2.5)."""
    start = picture.index(_PICTURE) + len(_PICTURE)
    return "".join(f"{byte:08b}" for byte in picture[start : start + 8])


def _without_picture(picture, timed):
    """A P picture with the time of another, 25 ticks a second, that is not coded."""
    header = _header_of(picture)
    end = header.index("0", 2) + 1 + 1 + 5  # whole seconds, a marker, ticks
    time = header[2:end] if timed else "0100000"
    bits = f"01{time}100"
    bits += "1" * (-len(bits) % 8)
    return _PICTURE + int(bits, 2).to_bytes(len(bits) // 8, "big")


def write_streams(path, videos, cover=None, sound=False):
    """Write streams of `videos`, (uint8 `[T, H, W, 3]` frames, disposition) each, into one file; its path.

    cover: (height, width) of a picture that is attached in mp4, which comes last then. sound: a stream of it.
    """
    format_name = "mp4" if path.suffix == ".m4a" else None
    with av.open(str(path), "w", format=format_name) as container:
        jobs = []
        if cover:
            picture = np.full((1, *cover, 3), 200, np.uint8)
            jobs.append((container.add_stream("mjpeg", rate=25), picture, Disposition.attached_pic))
        for frames, disposition in videos:
            jobs.append((container.add_stream("libx264", rate=25), frames, disposition))
        silent = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        for stream, frames, disposition in jobs:
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuvj420p" if stream.name == "mjpeg" else "yuv420p"
            stream.disposition = disposition
        for stream, frames, _ in jobs:
            for image in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        if silent:
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate = 16000
            container.mux(silent.encode(frame))
            container.mux(silent.encode())
    return path


def put_cover_first(path):
    """Move what tells the cover of an mp4 before its tracks, as some programs write it."""
    content = path.read_bytes()
    start = content.index(b"moov") - 4
    boxes, place, end = [], start + 8, start + int.from_bytes(content[start : start + 4], "big")
    while place < end:
        size = int.from_bytes(content[place : place + 4], "big")
        boxes.append(content[place : place + size])
        place += size
    boxes.sort(key=lambda box: box[4:8] != b"udta")
    path.write_bytes(content[: start + 8] + b"".join(boxes) + content[end:])
    return path


def turn(path, quarters, mirrored=False):
    """Write into an mp4 that it is shown turned to the left by so many quarters, as phones do.

    mirrored: and after that left and right exchanged, as cameras on the front do.
    """
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44  # ISO/IEC 14496-12, track header: the matrix, 16.16 numbers
    cosine, sine = [(1, 0), (0, -1), (-1, 0), (0, 1)][quarters % 4]
    side = -1 if mirrored else 1
    matrix = [side * cosine, sine, 0, side * -sine, cosine, 0, 0, 0]
    content[place : place + 32] = struct.pack(">8i", *(value << 16 for value in matrix))
    path.write_bytes(content)
    return path


def remux(path, target, hold_dts=True, hold_pts=True, earlier=0.0, **options):
    """Write the coded pictures of `path` as they are into the container `target`; its path.

    hold_dts: keep decoding times; else those of showing stand in, as live recorders write them.
    hold_pts: likewise; else those of decoding stand in, as for bare streams that are given a container.
    earlier: by how many seconds they move; what comes before 0 is cut off by an edit list.
    """
    with av.open(str(path)) as source, av.open(str(target), "w", options=options) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                packet.dts = packet.dts if hold_dts else packet.pts
                packet.pts = packet.pts if hold_pts else packet.dts
                shift = round(earlier / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                out.mux(packet)
    return target


def forget_reordering(path):
    """Take out of an x264 mp4 what it says of its use (VUI), and so how far pictures are reordered."""
    content = bytearray(path.read_bytes())
    place = content.index(b"avcC") + 10  # ISO/IEC 14496-15: length and bytes of the first SPS
    length = int.from_bytes(content[place : place + 2], "big")
    record = slice(place + 2, place + 2 + length)
    bits = "".join(f"{byte:08b}" for byte in content[record])
    cut = _usability_flag(bits)
    bits = f"{bits[:cut]}01".ljust(8 * length, "0")
    content[record] = int(bits, 2).to_bytes(length, "big")
    path.write_bytes(content)
    return path


def _usability_flag(bits):
    """Place of vui_parameters_present_flag in a High profile SPS, as x264 writes it (H.264, 7.3.2.1.1)."""
    place = 8 + 24  # NAL header; profile, constraints, level

    def golomb():
        nonlocal place
        zeros = bits.index("1", place) - place
        place += 2 * zeros + 1
        return int(bits[place - zeros - 1 : place], 2) - 1

    golomb()  # id
    assert golomb() == 1, "4:2:0"
    for _ in range(2):
        golomb()  # bit depths
    place += 2  # bypass, scaling matrices
    golomb()  # bits of the frame number
    if golomb() == 0:  # kind of picture order
        golomb()
    golomb()  # reference frames
    place += 1  # gaps
    golomb(), golomb()  # size
    place += 2  # frames only, direct inference
    cropped, place = bits[place] == "1", place + 1
    for _ in range(4 * cropped):
        golomb()
    return place


def all_frames(path):
    """Every frame in presentation order as shown, by plain decoding: the independent reference."""
    frames, turns = [], 0
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        stream.thread_type = "NONE"
        for frame in container.decode(stream):
            pixels = frame.to_ndarray(format="rgb24", src_colorspace=_matrix(frame.colorspace))
            turns = round(frame.rotation / 90) if frame.rotation or not frames else turns
            frames.append(np.rot90(pixels, turns))
    return np.stack(frames)


def _matrix(number):
    """`sws_getCoefficients` of FFmpeg: 10 is as 9, and what it does not know as 5; None = as it is."""
    if number == 10:
        return 9
    return 5 if number == 8 or number > 10 else None

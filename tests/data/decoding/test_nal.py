"""Facts about coded streams, against what the encoder was asked for."""

import av
import pytest
from av.video.frame import PictureType
from videos import encode, numbered_frames

from uniformer_video.data.decoding.nal import (
    coded_in_fields,
    holds_b_slice,
    is_sps,
    length_size,
    parameter_sets,
    stored_sets,
)


def packets_of(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        extradata = bytes(stream.codec_context.extradata or b"")
        return extradata, [bytes(packet) for packet in container.demux(stream) if packet.size]


def kinds_of(path):
    """What the decoder takes each packet for: its pictures by the order of packets."""
    with av.open(str(path)) as container:
        shown = {
            frame.pts: PictureType(frame.pict_type).name for frame in container.decode(video=0)
        }
    with av.open(str(path)) as container:
        return [shown[packet.pts] for packet in container.demux(video=0) if packet.size]


FORMATS = {
    "plain": ({}, False),
    "baseline": ({"profile": "baseline"}, False),
    "4:4:4": ({"pix_fmt": "yuv444p"}, False),
    "scaling lists": ({"x264-params": "cqm=jvt"}, False),
    "interlaced": ({"x264-params": "interlaced=1"}, True),
    "interlaced, scaling lists": ({"x264-params": "interlaced=1:cqm=jvt"}, True),
}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("suffix", ["mp4", "ts"])
def test_fields_are_told_by_the_parameter_set(tmp_path, kind, suffix):
    options, expected = FORMATS[kind]
    path = encode(tmp_path / f"a.{suffix}", numbered_frames(20, (48, 64)), **options)
    extradata, packets = packets_of(path)
    size = length_size(extradata, "h264")
    assert size == (4 if suffix == "mp4" else 0)
    sets = stored_sets(extradata, "h264") | parameter_sets(packets[0], "h264", size)
    assert len(sets) == 2
    (sps,) = (unit for unit in sets if is_sps(unit))
    assert coded_in_fields(sps) == expected


@pytest.mark.parametrize("suffix", ["mp4", "ts", "mkv"])
def test_b_slices(make_video, suffix):
    path = make_video(
        f"a.{suffix}", frames=20, options={"bf": "2", "b_strategy": "0", "b-pyramid": "none"}
    )
    extradata, packets = packets_of(path)
    size = length_size(extradata, "h264")
    assert [holds_b_slice(data, size) for data in packets] == [k == "B" for k in kinds_of(path)]


def test_sets_in_the_header_are_those_in_the_stream(make_video):
    for codec, encoder in (("h264", "libx264"), ("hevc", "libx265")):
        options = {"x265-params": "log-level=none:repeat-headers=1"}
        stored, _ = packets_of(
            make_video(f"{codec}.mp4", frames=20, codec=encoder, options=options)
        )
        _, packets = packets_of(
            make_video(f"{codec}.ts", frames=20, codec=encoder, options=options)
        )
        found = parameter_sets(packets[0], codec, 0)
        assert len(found) == {"h264": 2, "hevc": 3}[codec]
        assert stored_sets(stored, codec) == found


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_cut_and_empty_headers_are_no_error(make_video, codec):
    encoder = {"h264": "libx264", "hevc": "libx265"}[codec]
    options = {"x265-params": "log-level=none"}
    extradata, packets = packets_of(make_video("a.mp4", frames=2, codec=encoder, options=options))
    for length in range(len(extradata)):
        stored_sets(extradata[:length], codec)
    for length in range(40):
        parameter_sets(packets[0][:length], codec, 4)
        assert not holds_b_slice(packets[0][:length], 4)

"""The decoders of video files by name: what `DATA.DECODING_BACKEND` takes.

Their libraries are imported when a video is opened. All of them work in one thread, inside the process
that reads the video.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from uniformer_video.data.decoding.guard import VideoReader
from uniformer_video.errors import ConfigError, choice_error, quote
from uniformer_video.plugins import check_registered, is_defined_again

if TYPE_CHECKING:
    from uniformer_video.data.decoding.index_store import IndexStore


@dataclass(frozen=True)
class Decoder:
    """name: as the setting spells it. open: path -> `VideoReader`.

    open_kept: (path, kept) -> `VideoReader` that takes an `IndexStore`; None = it has no use for one.
    reads_shards: also videos inside tar files. refuses_some: it has faults of its own, and refuses files
    that another reads. open_bytes: (name, data) -> `VideoReader` of a file in memory; None = it has none.
    of_images: it reads images, one picture a file, and no videos.
    """

    name: str
    open: Callable[[str], VideoReader]
    reads_shards: bool = False
    refuses_some: bool = False
    open_bytes: Callable[..., VideoReader] | None = None
    of_images: bool = False
    open_kept: Callable[..., VideoReader] | None = None


_DECODERS: dict[str, Decoder] = {}
PICTURES = "pillow"  # the decoder of images, which are videos of one frame to it


def register_decoder(decoder: Decoder) -> None:
    """Make a decoder known by its name, which must be free, or of the same code that is run again.

    Raises `ConfigError`, also for what is no `Decoder` or has no function to open by.

    Where worker processes are spawned and not forked, as on Windows, they must do it too: a plugin
    (docs/plugins.md) is imported by them.
    """
    if not isinstance(decoder, Decoder):
        raise ConfigError(f"{quote(decoder)} is no Decoder(name, open)")
    check_registered("decoder", decoder.name, decoder.open)
    known = _DECODERS.get(decoder.name)
    if known and not is_defined_again(known.open, decoder.open):
        raise ConfigError(f"there is a decoder {decoder.name!r} already; choose another name")
    _DECODERS[decoder.name] = decoder


def find_decoder(name: str) -> Decoder:
    """The decoder of this name; `ConfigError`, with the nearest name, for another."""
    if name not in _DECODERS:
        raise choice_error("DATA.DECODING_BACKEND", name, _DECODERS)
    return _DECODERS[name]


def _open_pyav(path: str, data: bytes | None = None) -> VideoReader:
    from uniformer_video.data.decoding.pyav import PyAVReader

    return PyAVReader(path, data=data)


def _open_pyav_kept(path: str, kept: "IndexStore") -> VideoReader:
    from uniformer_video.data.decoding.pyav import PyAVReader

    return PyAVReader(path, kept=kept)


def _open_decord(path: str) -> VideoReader:
    from uniformer_video.data.decoding.decord import DecordReader

    return DecordReader(path)


def _open_torchcodec(path: str) -> VideoReader:
    from uniformer_video.data.decoding.torchcodec import TorchCodecReader

    return TorchCodecReader(path)


def _open_pillow(path: str, data: bytes | None = None) -> VideoReader:
    from uniformer_video.data.decoding.pillow import PictureReader

    return PictureReader(path, data)


# exact on every file
for _name in ("auto", "pyav"):
    register_decoder(
        Decoder(
            _name,
            _open_pyav,
            reads_shards=True,
            open_bytes=_open_pyav,
            open_kept=_open_pyav_kept,
        )
    )
register_decoder(Decoder("decord", _open_decord, refuses_some=True))
register_decoder(Decoder("torchcodec", _open_torchcodec, refuses_some=True))
register_decoder(
    Decoder(PICTURES, _open_pillow, reads_shards=True, open_bytes=_open_pillow, of_images=True)
)

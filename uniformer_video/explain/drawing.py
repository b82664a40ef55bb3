"""Heat over frames, as pictures and as a video; and the files of an explanation."""

from pathlib import Path

import numpy as np
from PIL import Image

from uniformer_video.data.lists.output_names import output_names
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import DataError
from uniformer_video.explain.explainer import KIND, Explanation
from uniformer_video.files import atomic_write
from uniformer_video.inference.rendered_video import RenderedVideo
from uniformer_video.inference.timeline_windows import USUAL_RATE

_STRIP_FRAMES = 8
_OPACITY = 0.6  # of the greatest heat of a clip
# From no heat to the greatest, RGB: dark violet, red, orange, pale yellow.
_COLOURS = np.array([(40, 0, 80), (190, 30, 70), (250, 140, 20), (255, 250, 170)], np.float32)

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of RGB, ITU-R BT.601


def overlay(explanation: Explanation, in_grey: bool = False) -> np.ndarray:
    """Frames with their heat in colours, `uint8 [C, T, H, W, 3]`; the hotter, the more opaque.

    Each clip has its own scale: of two clips, gradients are of different size. in_grey: take the frames'
    own colours away, so that all colour is heat.
    """
    top = explanation.heat.max((1, 2, 3), keepdims=True)
    share = explanation.heat / np.where(top > 0, top, 1)
    places = np.linspace(0, 1, len(_COLOURS))
    colours = np.stack([np.interp(share, places, channel) for channel in _COLOURS.T], -1)
    opacity = (_OPACITY * share)[..., None]
    frames: np.ndarray = explanation.frames
    if in_grey:
        frames = np.repeat((frames @ _LUMA)[..., None], 3, axis=-1)
    return (frames * (1 - opacity) + colours * opacity).round().astype(np.uint8)


def strip(explanation: Explanation, most: int = _STRIP_FRAMES) -> np.ndarray:
    """Up to `most` frames of each clip side by side, above as they are, below grey with their heat.

    `uint8 [C 2 H, n W, 3]`, clip below clip.
    """
    count = explanation.frames.shape[1]
    chosen = np.linspace(0, count - 1, min(count, most)).round().astype(int)
    heated = overlay(explanation, in_grey=True)
    rows = [
        np.concatenate(list(of[clip, chosen]), 1)
        for clip in range(len(heated))
        for of in (explanation.frames, heated)
    ]
    return np.concatenate(rows, 0)


def claim_files(folder: str | Path, video: str) -> dict[str, Path]:
    """{"npz", "png", "mp4": where each is written}, in a folder that `write_files` makes.

    Those of an earlier explanation of the same video may be replaced; `DataError` where files of others are
    in the way, or the folder is that of the video's own frames.
    """
    if not str(folder):
        raise DataError("--out is empty; name a folder for the results")
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise DataError(f"--out {folder} is no folder; name a folder for the results")
    frames = Path(video).parent if "{" in Path(video).name else Path(video)
    if folder.is_dir() and folder.resolve() == frames.resolve():
        raise DataError(
            f"--out {folder} holds the frames of the video, which the results would mix with; name another "
            "folder for them"
        )
    record = VideoRecord(video, video, ())
    name = Path(output_names([record])[record.segment]).name
    places = {kind: folder / f"{name}_heat.{kind}" for kind in ("npz", "png", "mp4")}
    there = [place for place in places.values() if place.exists()]
    explained = _explained_video(places["npz"])
    if there and explained is None:
        raise DataError(
            f"{there[0]} is there and is not of an explanation; name another folder for the results"
        )
    if explained is not None and Path(explained).resolve() != Path(video).resolve():
        raise DataError(
            f"{places['npz']} is of another video, {explained}; name another folder for the results"
        )
    return places


def write_files(explanation: Explanation, places: dict[str, Path]) -> None:
    """Write the data, the strip and the video; the data first, which tells whose the others are."""
    places["npz"].parent.mkdir(parents=True, exist_ok=True)
    explanation.save(places["npz"])
    with atomic_write(places["png"]) as file:
        Image.fromarray(strip(explanation)).save(file, "PNG")
    times = _one_after_another(explanation.times)
    seconds = float(times[-1])
    rate = (len(times) - 1) / seconds if seconds > 0 else USUAL_RATE
    with RenderedVideo(places["mp4"], "", 0.0, seconds, rate) as video:
        for image, time in zip(np.concatenate(overlay(explanation)), times, strict=True):
            video.write(image, float(time))


def _one_after_another(times: np.ndarray) -> np.ndarray:
    """When the frames of clips, `[C, T]` seconds in their video, are shown in one of the clips alone."""
    parts, begins = [], 0.0
    for own in times:
        parts.append(own - own[0] + begins)
        step = (own[-1] - own[0]) / (len(own) - 1) if len(own) > 1 else 0.0
        begins = float(parts[-1][-1]) + (step or 1 / USUAL_RATE)
    return np.concatenate(parts)


def _explained_video(path: Path) -> str | None:
    """The video whose explanation a file is; None where it is none."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return str(stored["path"]) if str(stored["kind"]) == KIND else None
    except Exception:  # anything else may lie there: NumPy raises what its bytes lead to
        return None

"""The surest mistakes of a test, with the heat of what was predicted: a section of the report page."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from uniformer_video.data.lists.media import VIDEO, noun_of
from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import CheckpointError, ConfigError, DecodeError
from uniformer_video.evaluation.strips import jpeg_uri
from uniformer_video.explain.drawing import strip
from uniformer_video.explain.explainer import Explainer
from uniformer_video.inference.predictor import Predictor
from uniformer_video.tasks.task import Task
from uniformer_video.weights.checkpoint import file_sha256, read_weights
from uniformer_video.words import one_line

MOST = 48
_FRAMES = 4  # of a strip, as many as the page's other strips have
_SIDE = 160  # pixels of a frame there


def heat_of_mistakes(
    folder: Path,
    results: Mapping[str, Any],
    task: Task,
    count: int,
) -> dict[str, Any]:
    """What the page shows of the first `count` mistakes of a test of videos with one label each.

    Returns `shown`, a list of `{"name", "path", "predicted", "score", "true", "true_score", "strip",
    "any"}` (names of classes, the test's scores, of which earlier tests lack that of the true class, a data
    URI, whether there is any heat); `missing`, a list of `{"name", "reason"}` of those whose video cannot be
    read; `total`, the number of mistakes; and `layer`, whose map it is. The heat is of Grad-CAM, by the
    centre clip of each.

    Raises `ConfigError` for a test that this is not made for and a `count` out of 1 to 48, `CheckpointError`
    where the tested weights are not there any more.
    """
    if not 1 <= count <= MOST:
        raise ConfigError(f"--explain is {count}; it is 1 to {MOST} mistakes")
    _check(folder, results)
    mistakes = task.mistakes(results)
    if not mistakes:
        return {"shown": [], "missing": [], "total": 0, "layer": ""}
    explainer = Explainer(_tested_model(folder, results))
    names = results["class_names"]
    if unknown := sorted(set(names) - set(explainer.predictor.class_names)):
        raise ConfigError(
            f"the test in {folder} calls a class {unknown[0]!r}, which the tested model does not have: its "
            "classes were renamed, and --explain takes a test with the model's own names"
        )
    layer = explainer.check()
    shown, missing = [], []
    for mistake in mistakes[:count]:
        entry = results["videos"][mistake.place]
        predicted = names[entry["top5"][0]["class"]]
        try:
            found = explainer(
                entry["path"],
                predicted,
                layer=layer,
                start=entry.get("start", 0.0),
                end=entry.get("end"),
            )
        except (DecodeError, OSError) as error:
            missing.append({"name": entry["name"], "reason": one_line(error)})
        else:
            facts = {key: entry[key] for key in ("name", "path")}
            picture = _as_jpeg(strip(found, _FRAMES))
            shown.append(
                {
                    **facts,
                    "predicted": predicted,
                    "score": mistake.score,
                    "true": names[entry["label"]],
                    "true_score": entry.get("true_score"),
                    "strip": jpeg_uri(picture),
                    "any": bool(found.heat.any()),
                }
            )
    return {"shown": shown, "missing": missing, "total": len(mistakes), "layer": layer}


def _check(folder: Path, results: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for a test whose mistakes have no heat."""
    videos = results["videos"]
    why = ""
    if noun_of(results) != VIDEO.name:
        why = f"it tested {noun_of(results)}s"
    elif not videos or not all("label" in video and "top5" in video for video in videos):
        why = "its videos have not one label each"
    elif results["playback"] != "forward":
        why = "it played the videos backwards"
    elif not results["model"]["checkpoint"]:
        why = "it names no checkpoint"
    if why:
        raise ConfigError(
            f"--explain is for tests of videos with one label each, played forwards, by a checkpoint; of the "
            f"test in {folder}: {why}"
        )


def _tested_model(folder: Path, results: Mapping[str, Any]) -> Predictor:
    """The weights that were tested, where they were or in the run's folder, and the test's own protocol."""
    recorded = Path(results["model"]["checkpoint"])
    digest = results["model"].get("checkpoint_sha256", "")
    places = dict.fromkeys([recorded, folder / recorded.name, folder.parent / recorded.name])
    there = [place for place in places if place.is_file()]
    fitting = [place for place in there if not digest or file_sha256(place) == digest]
    if not fitting:
        why = (
            f"{there[0]} holds other weights by now"
            if there
            else f"there is no {recorded} any more"
        )
        raise CheckpointError(
            f"--explain takes the weights that were tested, and {why}; test again, or leave --explain out"
        )
    weights = read_weights(fitting[0], results["model"].get("weights") or "model")
    own = Predictor.from_weights(weights, fold=False)
    protocol = Protocol.from_dict(results["protocol"])
    return Predictor(own.model, protocol, own.class_names, task=own.task)


def _as_jpeg(picture: Any) -> bytes:
    """`uint8 [2 H, n W, 3]` as a JPEG file, its frames no wider than `_SIDE`."""
    image = Image.fromarray(picture)
    scale = min(1.0, _FRAMES * _SIDE / image.width)
    if scale < 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()

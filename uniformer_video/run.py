"""The story of a run: load the lists, train, test, report."""

from pathlib import Path

from uniformer_video import distributed
from uniformer_video.build_data import build_data
from uniformer_video.evaluate import evaluate
from uniformer_video.fit import fit
from uniformer_video.output import RunFolder


def run(cfg, name, command=""):
    """Train and test by `cfg`. `name` is the config's; `command` repeats this run, for messages.

    Returns the folder of the results, or None when nothing was tested.
    """
    ranks = distributed.start()
    try:
        data = build_data(cfg)
        folder = RunFolder(cfg.OUTPUT_DIR or Path("runs") / name)
        ranks.say(*_introduction(cfg, data, folder))
        if cfg.TRAIN.ENABLE:
            fit(cfg, data, folder, ranks, command)
        return evaluate(cfg, data, folder, ranks, name) if cfg.TEST.ENABLE else None
    finally:
        distributed.stop()


def _introduction(cfg, data, folder):
    counts = ", ".join(
        f"{len(records)} {split}"
        for split in ("train", "val", "test")
        if (records := getattr(data, split))
    )
    yield f"{cfg.MODEL.MODEL_NAME}, {data.num_classes} classes, videos: {counts}; output {folder.path}"
    yield from data.notes

"""A run of seconds on a CPU: its settings, and a copy of one that several tests start from."""

import shutil

# A model and a protocol small enough for seconds on a CPU.
TINY = {
    "UNIFORMER.EMBED_DIM": "[8,16,16,32]",
    "UNIFORMER.DEPTH": "[1,1,1,1]",
    "UNIFORMER.HEAD_DIM": "8",
    "DATA.NUM_FRAMES": "4",
    "DATA.SAMPLING_RATE": "2",
    "DATA.TRAIN_CROP_SIZE": "32",
    "DATA.TEST_CROP_SIZE": "32",
    "TRAIN.BATCH_SIZE": "4",
    "SOLVER.MAX_EPOCH": "2",
    "SOLVER.WARMUP_EPOCHS": "1",
    "SOLVER.BASE_LR": "1e-3",
    "TEST.NUM_ENSEMBLE_VIEWS": "2",
    "DATA_LOADER.NUM_WORKERS": "0",
    "TENSORBOARD.ENABLE": "False",
    "LOG_PERIOD": "1",
}


def tiny_overrides(data, output, **changes):
    """The words `KEY VALUE ...` of a tiny run on the videos in `data` into the folder `output`.

    A change to None leaves a setting out.
    """
    values = {**TINY, "DATA.PATH_TO_DATA_DIR": str(data), "OUTPUT_DIR": str(output)}
    values |= {key.replace("__", "."): value for key, value in changes.items()}
    return [str(part) for pair in values.items() if pair[1] is not None for part in pair]


def tiny_image_overrides(data, output, **changes):
    """The same of a run on images, in folders by class, with a model of them; nothing about time."""
    about_time = ("DATA.NUM_FRAMES", "DATA.SAMPLING_RATE", "TEST.NUM_ENSEMBLE_VIEWS")
    values = {key: value for key, value in TINY.items() if key not in about_time}
    values |= {"MODEL.MODEL_NAME": "image_uniformer_s", "TRAIN.DATASET": "imagefolder"}
    values |= {"DATA.PATH_TO_DATA_DIR": str(data), "OUTPUT_DIR": str(output)}
    values |= {key.replace("__", "."): str(value) for key, value in changes.items()}
    return [part for pair in values.items() for part in pair]


def copy_run(source, target):
    """A copy of a run's folder, with the times of its files, whose settings name the copy's place."""
    shutil.copytree(source, target)
    config = target / "config.yaml"
    text = config.read_text()
    assert text.count(f"OUTPUT_DIR: {source}\n") == 1
    config.write_text(text.replace(f"OUTPUT_DIR: {source}\n", f"OUTPUT_DIR: {target}\n"))
    return target

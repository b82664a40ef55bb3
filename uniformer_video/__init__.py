"""UniFormer for video action recognition: train, evaluate, inspect and ship."""

__version__ = "0.1.0"

_EXPORTS = {
    "class_names": "uniformer_video.data.lists.class_names",
    "create_model": "uniformer_video.zoo.create",
    "Decoder": "uniformer_video.data.decoding.decoders",
    "ListFormat": "uniformer_video.data.lists.formats",
    "load_config": "uniformer_video.config.settings",
    "open_video": "uniformer_video.data.decoding",
    "Predictor": "uniformer_video.inference.predictor",
    "RecognitionModel": "uniformer_video.models.contract",
    "register_decoder": "uniformer_video.data.decoding.decoders",
    "register_format": "uniformer_video.data.lists.formats",
    "register_model": "uniformer_video.zoo.registry",
    "register_task": "uniformer_video.tasks.registry",
    "Task": "uniformer_video.tasks.task",
}


def __getattr__(name):
    """Import on first use, so that `import uniformer_video` is quick and no dependency can break it."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'uniformer_video' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_EXPORTS[name]), name)


def __dir__():
    return [*_EXPORTS, "__version__"]

"""UniFormer for video action recognition: train, evaluate, inspect and ship.

    import uniformer_video as uv

    cfg = uv.load_config("my.yaml", **{"SOLVER.MAX_EPOCH": 10})
    best = uv.train(cfg)
    results = uv.evaluate(cfg, best)
    print(uv.Predictor.from_checkpoint(best)("my_video.mp4").top(5))

All errors that a user can act on are `UserError`s.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from uniformer_video.advice.advise import advise
    from uniformer_video.advice.record import Advice
    from uniformer_video.api import compare, crossval, evaluate, list_models, run, train
    from uniformer_video.config.register import register_settings
    from uniformer_video.config.setting import Setting
    from uniformer_video.config.settings import load_config
    from uniformer_video.data.decoding import open_video
    from uniformer_video.data.decoding.decoders import Decoder, register_decoder
    from uniformer_video.data.lists.class_names import class_names
    from uniformer_video.data.lists.formats import ListFormat, register_format
    from uniformer_video.data.lists.records import VideoList, VideoRecord
    from uniformer_video.data.protocol import Protocol
    from uniformer_video.errors import UserError
    from uniformer_video.evaluation.record import Results
    from uniformer_video.explain.explainer import Explainer
    from uniformer_video.features.extract import extract_features
    from uniformer_video.features.predictor import FeaturePredictor
    from uniformer_video.features.table import FeatureTable, read_features
    from uniformer_video.inference.predictor import Predictor
    from uniformer_video.inference.segmenter import Segmenter
    from uniformer_video.models.contract import RecognitionModel
    from uniformer_video.pages.sections import register_report_section
    from uniformer_video.signals import Interrupted
    from uniformer_video.tasks.prediction import Prediction
    from uniformer_video.tasks.registry import register_task
    from uniformer_video.tasks.task import Task
    from uniformer_video.zoo.backbones import create_backbone
    from uniformer_video.zoo.create import create_model
    from uniformer_video.zoo.registry import register_model

_EXPORTS = {
    "Advice": "uniformer_video.advice.record",
    "advise": "uniformer_video.advice.advise",
    "class_names": "uniformer_video.data.lists.class_names",
    "compare": "uniformer_video.api",
    "create_backbone": "uniformer_video.zoo.backbones",
    "create_model": "uniformer_video.zoo.create",
    "crossval": "uniformer_video.api",
    "Decoder": "uniformer_video.data.decoding.decoders",
    "evaluate": "uniformer_video.api",
    "Interrupted": "uniformer_video.signals",
    "list_models": "uniformer_video.api",
    "ListFormat": "uniformer_video.data.lists.formats",
    "load_config": "uniformer_video.config.settings",
    "open_video": "uniformer_video.data.decoding",
    "Prediction": "uniformer_video.tasks.prediction",
    "Explainer": "uniformer_video.explain.explainer",
    "extract_features": "uniformer_video.features.extract",
    "FeaturePredictor": "uniformer_video.features.predictor",
    "FeatureTable": "uniformer_video.features.table",
    "read_features": "uniformer_video.features.table",
    "Predictor": "uniformer_video.inference.predictor",
    "Protocol": "uniformer_video.data.protocol",
    "RecognitionModel": "uniformer_video.models.contract",
    "register_decoder": "uniformer_video.data.decoding.decoders",
    "register_format": "uniformer_video.data.lists.formats",
    "register_model": "uniformer_video.zoo.registry",
    "register_report_section": "uniformer_video.pages.sections",
    "register_settings": "uniformer_video.config.register",
    "register_task": "uniformer_video.tasks.registry",
    "Results": "uniformer_video.evaluation.record",
    "run": "uniformer_video.api",
    "Segmenter": "uniformer_video.inference.segmenter",
    "Setting": "uniformer_video.config.setting",
    "Task": "uniformer_video.tasks.task",
    "train": "uniformer_video.api",
    "UserError": "uniformer_video.errors",
    "VideoList": "uniformer_video.data.lists.records",
    "VideoRecord": "uniformer_video.data.lists.records",
}
__all__ = [  # written out for type checkers; a test compares it
    "Advice",
    "Decoder",
    "Explainer",
    "FeaturePredictor",
    "FeatureTable",
    "Interrupted",
    "ListFormat",
    "Prediction",
    "Predictor",
    "Protocol",
    "RecognitionModel",
    "Results",
    "Segmenter",
    "Setting",
    "Task",
    "UserError",
    "VideoList",
    "VideoRecord",
    "__version__",
    "advise",
    "class_names",
    "compare",
    "create_backbone",
    "create_model",
    "crossval",
    "evaluate",
    "extract_features",
    "list_models",
    "load_config",
    "open_video",
    "read_features",
    "register_decoder",
    "register_format",
    "register_model",
    "register_report_section",
    "register_settings",
    "register_task",
    "run",
    "train",
]


def __getattr__(name: str) -> object:
    """Import on first use, so that `import uniformer_video` is quick and no dependency can break it."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'uniformer_video' has no attribute {name!r}")
    from importlib import import_module

    from uniformer_video.cores import let_threads_rest

    let_threads_rest()
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return __all__

"""What a test registers and imports, kept from the others."""

import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from uniformer_video import plugins
from uniformer_video.config import register, rows
from uniformer_video.data.decoding import decoders
from uniformer_video.data.lists import formats
from uniformer_video.pages import sections
from uniformer_video.tasks import registry as tasks
from uniformer_video.zoo import registry as models

TABLES = (
    rows.SETTINGS,
    rows.DEFAULTS,
    register._registered_by,
    models.MODELS,
    formats._FORMATS,
    decoders._DECODERS,
    tasks._TASKS,
    sections._SECTIONS,
)


@contextmanager
def fresh_process():
    """Plugins are imported anew inside; what is registered inside is gone after it."""
    saved = [dict(table) for table in TABLES]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "_named", [])
        patch.setattr(plugins, "_installed", [])
        patch.setattr(plugins, "_looked_for_installed", False)
        patch.setattr(sys, "path", [*sys.path])
        yield
        for plugin in plugins._named:
            sys.modules.pop(Path(plugin).stem if plugin.endswith(".py") else plugin, None)
    for table, content in zip(TABLES, saved, strict=True):
        table.clear()
        table.update(content)

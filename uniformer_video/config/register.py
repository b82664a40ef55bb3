"""Settings from outside: a plugin registers rows of its own, and they are settings like any other."""

import re

from uniformer_video.config.rows import DEFAULTS, SETTINGS
from uniformer_video.config.setting import Setting
from uniformer_video.errors import ConfigError, quote
from uniformer_video.plugins import importing_plugin

_NAME = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z][A-Z0-9_]*)+")
_registered_by: dict[str, str] = {}


def register_settings(*rows: Setting) -> None:
    """Make settings known, each by its row, such as `number("MYNET.WIDTH", 64, "channels", 1, 4096)`.

    `uniformer_video.config.setting` has a function for each kind of row: `flag`, `text`, `choice`, `number`,
    `share`. A module that is run again replaces its own rows.

    Raises `ConfigError` for a key in use, or that is no `SECTION.NAME`, and for a default that the row itself
    does not allow.
    """
    for row in rows:
        if not isinstance(row, Setting):
            raise ConfigError(
                f"{quote(row)} is no row of a setting; make it with a function of "
                "uniformer_video.config.setting, such as number(key, default, meaning, lowest, highest)"
            )
        _check_key(row.key)
        row.accept(row.default)
        for switch in {switch for condition in row.used_when for switch in condition.switches}:
            if switch not in SETTINGS and switch not in {other.key for other in rows}:
                raise ConfigError(f"the setting {row.key} depends on {switch}, which is no setting")
    for row in rows:
        SETTINGS[row.key], DEFAULTS[row.key] = row, row.default
        _registered_by[row.key] = importing_plugin()


def plugin_of(key: str) -> str | None:
    """The plugin that has registered a setting, "" for one registered elsewhere; None for our own."""
    return _registered_by.get(key)


def _check_key(key: str) -> None:
    if not _NAME.fullmatch(key):
        raise ConfigError(
            f"{quote(key)} is no key of a setting; it is SECTION.NAME in capitals, such as MYNET.WIDTH"
        )
    if key in SETTINGS and _registered_by.get(key) != importing_plugin():
        raise ConfigError(f"there is a setting {key} already; choose another name")
    if any(known.startswith(f"{key}.") or key.startswith(f"{known}.") for known in SETTINGS):
        raise ConfigError(f"{key} cannot be a setting and a section at once; choose another name")

"""Settings as text: what checkpoints, results and run folders record, and what is read back of it."""

import logging
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import yaml
from fvcore.common.config import CfgNode

from uniformer_video.config.foreign.data import with_task
from uniformer_video.config.register import plugin_of
from uniformer_video.config.rows import DEFAULTS, IN_ITERATIONS, REMOVED
from uniformer_video.config.setting import PLUGINS
from uniformer_video.config.settings import (
    flat_config,
    flatten,
    to_nested_dict,
    tree_of,
    unmet_values,
)
from uniformer_video.config.values import convert, read_yaml
from uniformer_video.errors import ConfigError
from uniformer_video.plugins import is_installed, plugin_options
from uniformer_video.words import name_some

log = logging.getLogger(__name__)


def config_text(cfg: CfgNode) -> str:
    """The whole tree as YAML that `load_config` reads back, with what another project's settings ask for.

    Of plugins that are merely installed it holds what is no default, and `PLUGINS` then names them. What is
    counted in iterations does not stand there in epochs too: `load_config` would refuse both.
    """
    flat = flat_config(cfg)
    for in_iterations, in_epochs in IN_ITERATIONS.items():
        if flat[in_iterations]:
            del flat[in_epochs]
    plugins = list(flat[PLUGINS])
    for key in list(flat):
        plugin = plugin_of(key)
        if not plugin or not is_installed(plugin):
            continue
        if flat[key] == DEFAULTS[key]:
            del flat[key]
        elif plugin not in plugins:
            plugins.append(plugin)
    tree = to_nested_dict(tree_of({**flat, PLUGINS: plugins, **unmet_values(cfg)}))
    return yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=100)


def config_from_text(text: str, source: str = "the checkpoint") -> CfgNode:
    """The tree stored as YAML by `config_text`, to compare with: neither limits nor rules are checked.

    Nothing is imported. Raises `ConfigError` where it is damaged, and for a key that nobody has registered;
    one that this version has no more is left out.
    """
    flat = deepcopy(DEFAULTS)
    recorded = _recorded_settings(text)
    if recorded is None:
        raise ConfigError(f"the settings in {source} are damaged; use another OUTPUT_DIR")
    _check_recorded(recorded, source)
    for key, value in recorded.items():
        if key in DEFAULTS:
            flat[key] = convert(key, value, f"in {source}")
    return tree_of(flat)


def check_recorded_settings(text: Any, source: str) -> None:
    """Raise `ConfigError` where `config_text`'s text in `source` has a setting that nobody has registered."""
    recorded = _recorded_settings(text) if isinstance(text, str) else None
    if recorded is not None:
        _check_recorded(recorded, source)


def recorded_plugins(text: Any) -> list[str]:
    """The plugins that `config_text`'s text names; empty where it does not tell."""
    recorded = _recorded_settings(text) if isinstance(text, str) else None
    return [str(plugin) for plugin in (recorded or {}).get(PLUGINS) or []]


def _recorded_settings(text: str) -> dict[str, Any] | None:
    """{key: value} of `config_text`'s text; None where it is damaged."""
    try:
        tree = read_yaml(text)
    except ValueError:
        return None
    return _as_now(with_task(dict(flatten(tree)))) if isinstance(tree, dict) else None


def _as_now(recorded: dict[str, Any]) -> dict[str, Any]:
    """Settings of earlier versions: BN.WEIGHT_DECAY 0 was the default, and is now no decay in any case."""
    decay, patterns = "BN.WEIGHT_DECAY", "SOLVER.NO_DECAY_PATTERNS"
    earlier = patterns not in recorded and recorded.get("SOLVER.ZERO_WD_1D_PARAM", True) is True
    if earlier and recorded.get(decay) == 0:
        return {key: value for key, value in recorded.items() if key != decay}
    return recorded


def _check_recorded(recorded: Mapping[str, Any], source: str) -> None:
    """Refuse settings of a plugin that is not here; name those that this version has no more."""
    unknown = [key for key in recorded if key not in DEFAULTS]
    if gone := [key for key in unknown if key in REMOVED]:
        log.warning(
            "%s records settings that are no more: %s",
            source,
            ", ".join(f"{key} ({REMOVED[key]})" for key in gone),
        )
    if others := [key for key in unknown if key not in REMOVED]:
        options = plugin_options(recorded.get(PLUGINS) or [])
        raise ConfigError(
            f"{source} records {name_some(others)}, settings of a plugin that is not imported"
            + (f"; name it: {options}" if options else "; name it with --plugins")
        )

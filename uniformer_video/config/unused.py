"""Settings that have no effect in a run, because of other settings or of the model."""

import logging
from dataclasses import dataclass

from fvcore.common.config import CfgNode

from uniformer_video.config.rows import SETTINGS
from uniformer_video.config.setting import value_in_words
from uniformer_video.config.settings import COMMAND_LINE, DEFAULT, flat_config, origin
from uniformer_video.errors import ConfigError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unused:
    """Why a setting has no effect, and the settings, its `switches`, that make it so.

    gives_way: see `Condition`.
    """

    reason: str
    switches: tuple[str, ...]
    gives_way: bool = False


def unused_settings(cfg: CfgNode) -> dict[str, Unused]:
    """`{key: Unused}` of the settings that others put aside, in the phases that the run has."""
    flat, found = flat_config(cfg), {}
    for key, setting in SETTINGS.items():
        if setting.phase and not flat[setting.phase]:
            continue
        failing = next((one for one in setting.used_when if not one.holds(flat)), None)
        if failing:
            found[key] = Unused(failing.reason(flat), failing.switches, failing.gives_way)
    return found


def report_unused(
    cfg: CfgNode, unused: dict[str, Unused], lacking: dict[str, str] | None = None
) -> None:
    """Name what somebody has set for nothing in one warning, or refuse it.

    unused: see `unused_settings`. lacking: {key: reason} of settings that the model has none of at all.
    What equals the default is nobody's wish, nor is to have off what is off. Raises `ConfigError` for a
    lacking setting on the command line, and for an unused one that stands there beside its switch.
    """
    flat, lacking = flat_config(cfg), lacking or {}
    refused, named = [], []

    def on_command_line(*keys: str) -> bool:
        return any(origin(cfg, key) == COMMAND_LINE for key in keys)

    for key, setting in SETTINGS.items():
        is_wish = origin(cfg, key) != DEFAULT and flat[key] != setting.default
        if key in lacking:
            told = f"{key} {value_in_words(flat[key])} ({lacking[key]})"
            if on_command_line(key):
                refused.append(told)
            elif is_wish:
                named.append(told)
        elif key in unused and is_wish:
            why = unused[key]
            if not flat[key] and not any(flat[switch] for switch in why.switches):
                continue  # off, 0 or empty beside what is off: as it is
            told = f"{key} {value_in_words(flat[key])} ({why.reason})"
            switched_later = on_command_line(*why.switches)
            if on_command_line(key) and switched_later:
                refused.append(told)
            elif on_command_line(key) or not (why.gives_way and switched_later):
                named.append(told)
    if refused:
        raise ConfigError(
            f"without effect on the command line: {', '.join(refused)}; leave out one or the other"
        )
    if named:
        log.warning("These settings have no effect: %s", ", ".join(named))

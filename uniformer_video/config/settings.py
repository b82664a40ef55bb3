"""The settings of a run: loading, overriding, checking. How they are recorded: `config/recorded.py`.

The tree is fvcore's `CfgNode` with the key names of PySlowFast and UniFormer. Files may start from
another file through `_BASE_`. An unknown key is an error that names the nearest known one; keys of
those projects that are not ours go through `config/foreign/`.
"""

import difflib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, overload

from fvcore.common.config import CfgNode

from uniformer_video.config.foreign.keys import is_foreign
from uniformer_video.config.foreign.pyslowfast import refuse_other_trades
from uniformer_video.config.foreign.translate import translate
from uniformer_video.config.rows import DEFAULTS, IN_ITERATIONS, SETTINGS
from uniformer_video.config.rules import check
from uniformer_video.config.setting import PLUGINS, TRAINING
from uniformer_video.config.shipped import find_config, is_config, nearest_config
from uniformer_video.config.values import convert, parse_value, read_yaml, without_tuple
from uniformer_video.errors import ConfigError, quote
from uniformer_video.files import special_kind
from uniformer_video.plugins import import_installed, import_plugins, resolve_plugin
from uniformer_video.program import command
from uniformer_video.words import system_reason

log = logging.getLogger(__name__)

DEFAULT, FILE, COMMAND_LINE = "default", "file", "command line"
_BY_THE_CALLER = _OVERRIDES, _IN_THE_CALL = "on the command line", "in the call"
_NAME_THE_PLUGIN = " If it is a plugin's, name that in PLUGINS or with --plugins"
# among CfgNode's own attributes, which are copied and pickled with it
_ORIGINS, _NAME, _UNMET, _IN_FILES = "_origins", "_config_name", "_unmet", "_in_files"


# For type checkers, `**settings` of any values must not count as a possible `overrides`.
@overload
def load_config(path: str | Path | None = None, overrides: Iterable[Any] = ()) -> CfgNode: ...


@overload
def load_config(
    path: str | Path | None = None, overrides: Iterable[Any] = (), /, **settings: Any
) -> CfgNode: ...


def load_config(
    path: str | Path | None = None, overrides: Iterable[Any] = (), **settings: Any
) -> CfgNode:
    """The checked, frozen `CfgNode` of a YAML file, and what overrides it.

    Args:
        path: the file, or the name of a shipped config, `k400/uniformer_s_16x4`; None = the defaults.
        overrides: words in pairs, as on the command line: `["SOLVER.BASE_LR", "1e-4"]`.
        settings: the same as values: `load_config("k.yaml", **{"SOLVER.BASE_LR": 1e-4})`.

    Raises `ConfigError` for a missing file, an unknown key, a value that is not allowed or settings that
    cannot go together.
    """
    files = list(_read_files(path)) if path else []
    pairs = [
        *((_OVERRIDES, *pair) for pair in _pairs(overrides)),
        *((_IN_THE_CALL, key, _plain(value)) for key, value in settings.items()),
    ]
    plugins = _gather_plugins(files, pairs)
    import_installed()
    import_plugins(plugins)  # before keys are checked: they add some
    entries = []
    for file, tree in files:
        entries += [(f"in {file}", key, value) for key, value in _settings_in(file, tree)]
    entries += [(where, key, parse_value(key, text)) for where, key, text in pairs]
    # all that were named count, not the last list alone
    entries = [(where, key, plugins if key == PLUGINS else value) for where, key, value in entries]
    cfg = _build(entries)
    cfg.__dict__[_NAME] = Path(path).stem if path else "run"
    return cfg


def _plain(value: Any) -> Any:
    """A path, also in a list, as text, and a number of numpy or torch as Python's."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (list, tuple)) and any(isinstance(one, os.PathLike) for one in value):
        return [_plain(one) for one in value]
    return value.item() if getattr(value, "shape", None) == () else value


def config_name(cfg: CfgNode) -> str:
    """The name of the file that `cfg` was loaded from, without its suffix; "run" without one."""
    return cfg.__dict__.get(_NAME, "run")


def with_settings(cfg: CfgNode, settings: Mapping[str, Any]) -> CfgNode:
    """`cfg` with other values, checked as a whole; they count as set by a file.

    Raises `ConfigError` as `load_config` does.
    """
    flat = flat_config(cfg)
    for key, value in settings.items():
        _check_known(key, "")
        flat[key] = convert(key, value, "")
    check(flat)
    changed = tree_of(flat)
    changed.__dict__[_NAME] = config_name(cfg)
    changed.__dict__[_ORIGINS] = {
        **cfg.__dict__.get(_ORIGINS, {}),
        **dict.fromkeys(settings, FILE),
    }
    changed.__dict__[_IN_FILES] = cfg.__dict__.get(_IN_FILES, {})
    changed.__dict__[_UNMET] = {
        key: asked for key, asked in cfg.__dict__.get(_UNMET, {}).items() if key not in settings
    }
    changed.freeze()
    return changed


def config_from_tree(tree: dict[Any, Any], source: str) -> CfgNode:
    """The checked, frozen `CfgNode` of nested settings, in this or another project's words.

    `source` is where they stand, for messages. Raises `ConfigError` as `load_config` does.
    """
    return _build([(f"in {source}", key, value) for key, value in flatten(tree)])


def _build(entries: Sequence[tuple[str, str, Any]]) -> CfgNode:
    """The `CfgNode` of (place, key, value) in the order in which they override each other."""
    places = list(dict.fromkeys(where for where, _, _ in entries))
    given = {}
    refuse_other_trades({key: value for _, key, value in entries})
    for where, key, value in entries:
        _check_known(key, where)
        given[key] = (without_tuple(key, value), places.index(where))
    flat = deepcopy(DEFAULTS)
    words = translate(given, DEFAULTS)
    sources = {key: words.sources[key] for key in words.values if key in words.sources}
    for key, value in words.values.items():
        where = places[sources[key]] if key in sources else "for another project's setting"
        flat[key] = convert(key, value, where)
    _settle_counts(flat, sources, places)
    check(flat)
    cfg = tree_of(flat)
    cfg.__dict__[_ORIGINS] = {
        key: COMMAND_LINE if places[source] in _BY_THE_CALLER else FILE
        for key, source in sources.items()
    }
    cfg.__dict__[_UNMET] = words.unmet
    cfg.__dict__[_IN_FILES] = {
        key: without_tuple(key, value)
        for where, key, value in entries
        if where not in _BY_THE_CALLER
    }
    cfg.freeze()
    return cfg


def _settle_counts(flat: dict[str, Any], sources: dict[str, int], places: Sequence[str]) -> None:
    """Where the same is given in iterations and in epochs, let the later level count, in place.

    A level is a file, above those that it is based on, or the command line with the call. The other setting
    of the pair gets its default, and which one was taken is logged. sources: the places of what is given, by
    number. Raises `ConfigError` where both stand on one level.
    """

    def level(place: int) -> int:
        return len(places) if places[place] in _BY_THE_CALLER else place

    for in_iterations, in_epochs in IN_ITERATIONS.items():
        if not flat[in_iterations] or in_epochs not in sources or in_iterations not in sources:
            continue
        pair = (in_iterations, in_epochs)
        said = [f"{key} {flat[key]} ({places[sources[key]]})" for key in pair]
        levels = [level(sources[key]) for key in pair]
        if levels[0] == levels[1]:
            raise ConfigError(
                f"{said[0]} and {said[1]} are both given, and say the same in iterations and in epochs; "
                f"leave one out ({in_iterations} 0 counts epochs)"
            )
        taken, other = (0, 1) if levels[0] > levels[1] else (1, 0)
        log.info("%s counts, in place of %s.", said[taken], said[other])
        flat[pair[other]] = DEFAULTS[pair[other]]
        del sources[pair[other]]


def origin(cfg: CfgNode, key: str) -> str:
    """Who has said what `key` is in the whole tree `cfg`: `DEFAULT`, `FILE` or `COMMAND_LINE`.

    What follows from another project's word, and what `config_from_text` reads, counts as a default.
    """
    return cfg.__dict__.get(_ORIGINS, {}).get(key, DEFAULT)


def set_values(cfg: CfgNode) -> dict[str, Any]:
    """{key: value} of the settings that are no defaults."""
    return {key: value for key, value in flat_config(cfg).items() if value != DEFAULTS[key]}


def changed_settings(cfg: CfgNode) -> dict[str, list[dict[str, Any]]]:
    """What makes a run differ: from its recipe, and its recipe from the toolkit.

    "command_line": settings that the command line (or the call) has changed, with the "recipe"'s value: its
    file's, else the default. "recipe": the others that are no default, with the "default". Each has its "key"
    and "value", in the order of `SETTINGS`.
    """
    in_files = cfg.__dict__.get(_IN_FILES, {})
    changed: dict[str, list[dict[str, Any]]] = {"command_line": [], "recipe": []}
    for key, value in flat_config(cfg).items():
        default = DEFAULTS[key]
        recipe = in_files.get(key, default)
        if origin(cfg, key) == COMMAND_LINE and value != recipe:
            changed["command_line"].append({"key": key, "value": value, "recipe": recipe})
        elif value != default:
            changed["recipe"].append({"key": key, "value": value, "default": default})
    return changed


def unmet_settings(cfg: CfgNode, phase: str) -> str:
    """What another project's settings ask of a phase, `TRAINING` or `TEST`, that is not here, and what to do.

    In a sentence, empty where there is nothing: such a phase must not begin.
    """
    found = [
        f"{key} {value} ({why})"
        for key, (value, asked, why) in cfg.__dict__.get(_UNMET, {}).items()
        if asked == phase
    ]
    doing = "training" if phase == TRAINING else "test"
    return f"a {doing} cannot be what these settings ask for: {'; '.join(found)}" if found else ""


def unmet_values(cfg: CfgNode) -> dict[str, Any]:
    """`{key: value}` of what another project's settings ask for and `cfg` does not do."""
    return {key: value for key, (value, _, _) in cfg.__dict__.get(_UNMET, {}).items()}


def flat_config(cfg: CfgNode) -> dict[str, Any]:
    """`{"DATA.NUM_FRAMES": 16, ...}` in the order of `SETTINGS`.

    A setting that was registered after `cfg` was made has its default.
    """
    values = {}
    for key, default in DEFAULTS.items():
        node = cfg
        for part in key.split("."):
            node = node.get(part, None) if isinstance(node, CfgNode) else None
        values[key] = deepcopy(default) if node is None else node
    return values


def to_nested_dict(cfg: CfgNode) -> dict[str, Any]:
    """The tree as plain dicts, lists and scalars."""
    return {k: to_nested_dict(v) if isinstance(v, CfgNode) else v for k, v in cfg.items()}


def differences(first: CfgNode, second: CfgNode) -> dict[str, tuple[Any, Any]]:
    """`{key: (value of the first, value of the second)}` of the settings that differ."""
    other = flat_config(second)
    return {
        key: (value, other[key]) for key, value in flat_config(first).items() if value != other[key]
    }


def describe() -> str:
    """A line for each key: name, default, meaning, and what is allowed, unless it is any text or a switch."""
    width = max(len(key) for key in SETTINGS)
    lines = []
    for key, row in SETTINGS.items():
        is_plain = isinstance(row.default, bool) or row.allowed == "text"
        limits = "" if is_plain else f" [{row.allowed}]"
        lines.append(f"{key:{width}}  {row.default!r:28} {row.meaning}{limits}")
    return "\n".join(lines)


def _read_files(
    path: Path | str, seen: tuple[Path, ...] = ()
) -> Iterator[tuple[Path, dict[Any, Any]]]:
    """Yield (file, tree) of a file and its bases, bases first."""
    path = find_config(path)
    if path.resolve() in seen:
        chain = " -> ".join(str(p) for p in (*seen, path.resolve()))
        raise ConfigError(f"the _BASE_ files go in a circle: {chain}")
    if kind := special_kind(path):
        raise ConfigError(f"the config file {path} is {kind}; write the settings to a file first")
    try:
        tree = read_yaml(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError) as error:
        other = _other_config(path) if isinstance(error, FileNotFoundError) else ""
        reason = f"{system_reason(error)}{other}"
        raise ConfigError(f"cannot read the config file {path}: {reason}") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} is not a config: it must hold `KEY: value` lines")
    base = tree.pop("_BASE_", None)
    if base is not None:
        if not isinstance(base, str) or "\0" in base:
            raise ConfigError(
                f"_BASE_ is {quote(base)} in {path}; it is the path of one other file"
            )
        beside = path.parent / base
        yield from _read_files(
            beside if is_config(beside) else find_config(base), (*seen, path.resolve())
        )
    yield path, tree


def _gather_plugins(
    files: Iterable[tuple[Path, dict[Any, Any]]], pairs: Iterable[tuple[str, str, Any]]
) -> list[str]:
    """The plugins that any file or the command line names, in their order."""
    named: list[tuple[Path | str, Any]] = []
    for file, tree in files:
        named += [(file.parent, value) for value in [tree.get(PLUGINS)] if value is not None]
    named += [(".", parse_value(key, text)) for _, key, text in pairs if key == PLUGINS]
    found = []
    for folder, value in named:
        for plugin in SETTINGS[PLUGINS].accept(value):
            found.append(resolve_plugin(plugin, folder))
    return list(dict.fromkeys(found))


def _settings_in(path: Path, tree: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (key, value) of what a file holds."""
    try:
        settings = list(flatten(tree))
    except RecursionError:
        raise ConfigError(f"{path} is not a config: it refers to itself") from None
    values: dict[str, Any] = {}
    for key, value in settings:
        if values.setdefault(key, value) != value:
            raise ConfigError(f"{path} sets {key} twice, to two values; write it once")
        yield key, value


def _other_config(path: Path | str) -> str:
    near = nearest_config(path)
    hint = f"; did you mean {near}?" if near else ""
    return f", and no shipped config has that name{hint} (`{command('configs')}` lists them)"


def flatten(tree: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (key, value) of nested settings: `{"DATA": {"MEAN": x}}` gives "DATA.MEAN" and x."""
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and key not in DEFAULTS:
            yield from flatten(value, f"{key}.")
        elif value is None and _is_section(key):
            continue  # all its lines are commented out
        else:
            yield key, value


def _is_section(key: str) -> bool:
    return any(known.startswith(f"{key}.") for known in DEFAULTS)


def _pairs(overrides: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    overrides = list(overrides)
    for word in overrides:
        key, equals, value = str(word).partition("=")
        if equals and key in DEFAULTS:
            raise ConfigError(f"write {key} {value}, with a blank in place of the =")
    if len(overrides) % 2:
        raise ConfigError(
            f"settings come in pairs, KEY VALUE; {overrides[-1]!r} has no value (or no key)"
        )
    return zip(overrides[::2], overrides[1::2], strict=True)


def _check_known(key: str, where: str) -> None:
    """Raise `ConfigError` for a key that is neither ours nor another project's."""
    if key in DEFAULTS or is_foreign(key):
        return
    if _is_section(key):
        raise ConfigError(
            f"{key} is a section {where}; it holds settings, `{key}: {{NAME: value}}`"
        )
    section, _, name = key.upper().rpartition(".")
    names = [known.rpartition(".")[2] for known in DEFAULTS]
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.8)
    same_name = [known for known in DEFAULTS if known.rpartition(".")[2] in close]
    same_section = [known for known in DEFAULTS if known.rpartition(".")[0] == section]
    likely = same_name or same_section or DEFAULTS
    near = difflib.get_close_matches(key.upper(), likely, n=1, cutoff=0.0)[0]
    # Nothing near: a section that nobody knows may be of a plugin that is not named.
    of_plugin = "" if same_name or not section or _is_section(section) else _NAME_THE_PLUGIN
    raise ConfigError(
        f"unknown setting {key} {where}; did you mean {near}?{of_plugin} "
        f"(`{command('config --keys')}` lists all)"
    )


def tree_of(flat: Mapping[str, Any]) -> CfgNode:
    """The tree of `{"DATA.MEAN": x, ...}`."""
    cfg = CfgNode()
    for key, value in flat.items():
        node = cfg
        *sections, name = key.split(".")
        for section in sections:
            if section not in node:
                node[section] = CfgNode()
            node = node[section]
        node[name] = value
    return cfg

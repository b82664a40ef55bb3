"""Modules from outside that add models, list formats, tasks, decoders, settings and report sections.

They are named in a config (`PLUGINS`), on the command line (`--plugins`), or are installed with an entry
point of the group `uniformer_video.plugins`. To import one is all there is to it: it registers what it
has. No file that is read, such as a checkpoint, ever causes an import.
"""

import importlib
import logging
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from uniformer_video.errors import ConfigError
from uniformer_video.words import one_line

log = logging.getLogger(__name__)

GROUP = "uniformer_video.plugins"
_named: list[str] = []  # imported by name, in their order
_installed: list[str] = []  # imported through entry points
_looked_for_installed = False
_importing: list[str] = []


def resolve_plugin(plugin: str, folder: str | Path = ".") -> str:
    """The module's name as it is, and the path of a `.py` file, from `folder`, as an absolute one."""
    if not isinstance(plugin, str) or not plugin.strip():
        raise ConfigError(
            f"PLUGINS holds {plugin!r}; it is a list of module names or paths of .py files"
        )
    return str((Path(folder) / plugin).resolve()) if plugin.endswith(".py") else plugin


def import_plugins(plugins: Iterable[str]) -> None:
    """Import modules by name, or by the absolute path of a `.py` file; once each.

    The current folder stands last on the search path. Raises `ConfigError` for one that is not there or
    cannot be imported.
    """
    for plugin in plugins:
        if plugin not in _named:
            _import_named(plugin)
            _named.append(plugin)


def import_installed() -> None:
    """Import what installed packages offer; one that fails is a warning, once."""
    global _looked_for_installed
    if _looked_for_installed:
        return
    _looked_for_installed = True
    for point in metadata.entry_points(group=GROUP):
        if point.module in _installed:
            continue
        try:
            _importing.append(point.module)
            point.load()
            _installed.append(point.module)
        except (Exception, SystemExit) as error:  # of code that is not ours
            log.warning(
                "The installed plugin %s (%s) cannot be used: %s",
                point.name,
                point.module,
                one_line(error),
            )
        finally:
            _importing.pop()


def imported_plugins() -> list[str]:
    """What `import_plugins` has imported, for it to import in another process."""
    return list(_named)


def all_plugins() -> list[str]:
    """Every plugin that is imported, for records."""
    return [*_named, *(plugin for plugin in _installed if plugin not in _named)]


def plugin_options(plugins: Iterable[str]) -> str:
    """The words of a command that name plugins."""
    return " ".join(f"--plugins {plugin}" for plugin in plugins)


def hint_at_plugins(recorded: object) -> str:
    """What to do where a record names what is not registered here; `recorded`: its plugins, if it has any."""
    if isinstance(recorded, (list, tuple)) and recorded:
        return f"it comes from a plugin: add {plugin_options(recorded)}"
    return "register it first, in a module that --plugins names"


def check_registered(what: str, name: object, function: object) -> None:
    """Raise `ConfigError` unless `what` is registered under a name without blanks, with a function."""
    if not isinstance(name, str) or not name or name.split() != [name]:
        raise ConfigError(f"a {what} is called {name!r}; its name is a text without blanks")
    if not callable(function):
        raise ConfigError(
            f"the {what} {name!r} is registered with {function!r}, which cannot be called; give a function "
            "or a class"
        )


def is_defined_again(old: object, new: object) -> bool:
    """Whether a function or class takes the place of one that the same code made, as of a notebook's cell."""
    first, second = (
        (getattr(one, "__module__", None), getattr(one, "__qualname__", None)) for one in (old, new)
    )
    return old is not new and first == second and None not in first


def importing_plugin() -> str:
    """The plugin that is being imported, "" outside of one."""
    return _importing[-1] if _importing else ""


def is_installed(plugin: str) -> bool:
    """Whether a module came through an entry point alone."""
    return plugin in _installed and plugin not in _named


def _import_named(plugin: str) -> None:
    _importing.append(plugin)
    try:
        if plugin.endswith(".py"):
            _import_file(Path(plugin))
        else:
            _search_in("")
            importlib.import_module(plugin)
    except ConfigError:
        raise
    except ModuleNotFoundError as error:
        if error.name and (plugin == error.name or plugin.startswith(f"{error.name}.")):
            raise ConfigError(
                f"there is no module {plugin} to import (PLUGINS, --plugins); install it, start from the "
                "folder that it lies in, or give the path of its .py file"
            ) from None
        raise ConfigError(f"the plugin {plugin} cannot be imported: {one_line(error)}") from error
    except (Exception, SystemExit) as error:  # of code that is not ours
        raise ConfigError(
            f"the plugin {plugin} cannot be imported: {type(error).__name__}: {one_line(error)}"
        ) from error
    finally:
        _importing.pop()


def _import_file(path: Path) -> None:
    """Import a file as a module of its name, so that other processes find what it holds by that name."""
    if not path.is_file():
        raise ConfigError(f"there is no plugin {path} (PLUGINS, --plugins)")
    if not path.stem.isidentifier():
        raise ConfigError(
            f"the plugin {path} must have the name of a module: letters, digits and _ before .py"
        )
    _search_in(str(path.parent))
    module = importlib.import_module(path.stem)
    found = getattr(module, "__file__", None)
    if found is None or Path(found).resolve() != path:
        raise ConfigError(
            f"the plugin {path} is called like another module, {found or module.__name__}; rename the file"
        )


def _search_in(folder: str) -> None:
    """Put a folder last on the search path, "" for the current one; spawned processes inherit the path."""
    if folder not in sys.path and not (not folder and str(Path.cwd()) in sys.path):
        sys.path.append(folder or str(Path.cwd()))

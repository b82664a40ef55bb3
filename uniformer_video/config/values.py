"""Values of settings from text: of YAML files and of the command line."""

import re
from collections.abc import Hashable
from typing import Any

import yaml

from uniformer_video.config.rows import DEFAULTS, SETTINGS


class _Loader(yaml.SafeLoader):
    """YAML in which `1e-4` is a number, as in Python; YAML 1.1 wants `1.0e-4`."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A dict; `ValueError` for a key that stands in it with two values, of which YAML takes the last."""
        found: dict[str, Any] = {}
        for key, value in node.value:
            value = self.construct_object(value, deep=True)
            if not isinstance(key, yaml.ScalarNode):
                continue
            if found.setdefault(key.value, value) != value:
                raise ValueError(f"{key.value} stands in it twice, with two values; write it once")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def read_yaml(text: str) -> Any:
    """What YAML says; raises `ValueError`, in one line, where it is none."""
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    # of the library, for a day 32, for too many digits, and for tags such as !!int that do not fit
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:
        raise ValueError(" ".join(str(error).split())) from None


def parse_value(key: str, text: Any) -> Any:
    """A value from the command line: YAML, with text kept as it is for text settings."""
    if not isinstance(text, str):
        return text
    if isinstance(DEFAULTS.get(key), str):
        is_list = SETTINGS[key].or_list and re.fullmatch(r"\s*\[.*\]\s*", text, re.DOTALL)
        return _parse_yaml(text) if is_list else text
    return _parse_list(text) if isinstance(DEFAULTS.get(key), list) else _parse_yaml(text)


def without_tuple(key: str, value: Any) -> Any:
    """A list for the text of a Python tuple, which PySlowFast's files may hold for any list."""
    as_it_is = not isinstance(value, str) or isinstance(DEFAULTS.get(key), str)
    return value if as_it_is or not re.fullmatch(r"\(.*\)", value) else _parse_list(value)


def convert(key: str, value: Any, where: str) -> Any:
    """`value` in the type of the setting; `ConfigError`, with where it stands, for another one."""
    converted = SETTINGS[key].convert(value)
    if converted is None:
        raise SETTINGS[key].error(value, where)
    return converted


def _parse_list(text: str) -> Any:
    """`[a, b]`, `(a, b)` or `a, b` as a list."""
    text = text.strip()
    if text[:1] == "(":
        text = f"[{text[1:].rstrip(')')}]"
    elif text[:1] != "[":
        text = f"[{text}]"
    return _parse_yaml(text)


def _parse_yaml(text: str) -> Any:
    try:
        return read_yaml(text)
    except ValueError:
        return text

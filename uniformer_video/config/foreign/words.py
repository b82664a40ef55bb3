"""The settings of a config in another project's words while they are translated."""

from collections.abc import Mapping
from typing import Any

from uniformer_video.config.setting import TRAINING
from uniformer_video.errors import ConfigError


class Words:
    """The settings under way, and what is to be said about them.

    given: `{key: (value, source)}`; a larger source number overrides a smaller one. theirs: the model class
    of theirs that is meant, in lower case and without its PTV, "" for a model of ours; from_pytorchvideo:
    it is one of those that PySlowFast takes from pytorchvideo.
    """

    def __init__(self, given: Mapping[str, tuple[Any, int]]):
        # PySlowFast's reader takes the text None for no value.
        self.values = {k: None if value == "None" else value for k, (value, _) in given.items()}
        self.sources = {key: source for key, (_, source) in given.items()}
        self.said: list[str] = []
        self.ignored: list[str] = []
        self.unmet: dict[str, tuple[Any, str, str]] = {}  # {key: (value, phase, why)}
        self.theirs, self.from_pytorchvideo = "", False

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default` where it is not given."""
        return self.values.get(key, default)

    def flag(self, key: str) -> bool | None:
        """A switch of theirs; None where it is not given."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise ConfigError(f"{key} is {value!r}; it must be True or False")
        return value

    @property
    def several_labels(self) -> bool:
        """Whether a video may have several, in their words or in ours."""
        return bool(self.get("DATA.MULTI_LABEL")) or self.get("TRAIN.TASK") == "multi-label"

    def replace(self, key: str, value: Any, with_it: Mapping[str, Any] | tuple[()] = ()) -> None:
        """Give `key` another value, and the settings in `with_it` theirs unless they are given."""
        shown = self.complete(dict(with_it))
        self.said.append(f"{key} {self.values[key]} -> {value}{shown}")
        self.values[key] = value

    def complete(self, settings: Mapping[str, Any]) -> str:
        """Give the `settings` their values unless they are given; those that were not, in words."""
        new = {key: value for key, value in settings.items() if key not in self.values}
        self.values |= new
        return "".join(f", {key} {value}" for key, value in new.items())

    def move(self, key: str, target: str, value: Any) -> None:
        """Take `key` out and set `target`, unless that is given beside it or later."""
        old = self.values.pop(key)
        if self.get(target) and self.sources.get(target, -1) >= self.sources[key]:
            self.ignored.append(f"{key} {old}: {target} {self.get(target)} is given")
            return
        self.values[target] = value
        self.sources[target] = self.sources[key]
        self.said.append(f"{key} {old} -> {target} {value}")

    def ignore(self, key: str, why: str = "") -> None:
        """Take `key` out, if it is given, and name it among what has no meaning here."""
        if key in self.values:
            value = self.values.pop(key)
            self.ignored.append(f"{key} {value}: {why}" if why else key)

    def leave_unmet(self, key: str, why: str, phase: str = TRAINING) -> None:
        """Take `key` out; the phase of a run that it is about stops, with `why`: what to do."""
        self.unmet[key] = (self.values.pop(key), phase, why)

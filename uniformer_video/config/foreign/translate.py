"""Settings in other projects' words to settings in ours.

Four things happen to their keys. What means the same here under another name is translated, by the
rules in `_RULES`, and one log line says all of it. What means nothing here, or nothing to their own code
beside the model that is named, is ignored, and one warning lists it. What asks a training or a test for
something that is not here is left unmet, and stops that phase of a run. What makes another network is
an error.

What a file of theirs leaves out takes *our* default, not theirs. The exceptions follow from a name
of theirs that is given: a model class of the published UniFormer brings the 5x5x5 kernel and the sizes of
its default model, one of PySlowFast brings PySlowFast's defaults, a data set class its sampling, its
channel order and its names of lists and frames.
"""

import logging
from collections.abc import Container, Mapping
from typing import Any

from uniformer_video.config.foreign import data, pyslowfast, training, uniformers
from uniformer_video.config.foreign.words import Words

log = logging.getLogger(__name__)

# In this order: the model class tells what the keys beside it mean.
_RULES = (
    pyslowfast.name_by_architecture,
    uniformers.stage_lists,
    uniformers.mlp_ratio,
    uniformers.attention,
    uniformers.target_fps,
    training.clipping,
    training.optimizer,
    data.augmentation,
    data.test_clips,
    data.resuming,
    pyslowfast.model_class,
    uniformers.model_class,
    training.network,
    training.norms,
    training.bends,
    training.layers,
    data.dataset,
    data.precision,
    data.start_weights,
    data.tested_weights,
    data.ensemble,
    data.machine,
    data.task,
    training.loss,
)


def translate(given: Mapping[str, tuple[Any, int]], known: Container[str]) -> Words:
    """What settings in any of the projects' words are in ours; a `Words`.

    given: `{key: (value, source)}`; a larger source number overrides a smaller one, and the settings
    of one file have one number. What only follows from a setting has no source. known: our keys. Says
    in one log line what was translated, and in one warning what was ignored. Raises `ConfigError` for
    what cannot be had here.
    """
    words = Words(given)
    for rule in _RULES:
        rule(words)
    for key in [key for key in words.values if key not in known]:
        words.ignore(key)
    if words.said:
        log.info("Taken from other projects' names: %s", "; ".join(words.said))
    if words.ignored:
        log.warning(
            "These settings have no meaning here and are ignored: %s", ", ".join(words.ignored)
        )
    return words

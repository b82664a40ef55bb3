"""Which parameters a training leaves as they are, and which modules rest meanwhile.

A frozen parameter asks for no gradient, so that autograd keeps nothing for it, no process exchanges anything
about it and no optimiser holds a state of it. What comes before the first trained parameter costs a forward
pass alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from uniformer_video.errors import ConfigError
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.models.layer_groups import model_parts
from uniformer_video.words import plural

ALL_BUT_HEAD = "all-but-head"


@dataclass(frozen=True)
class Freezing:
    """What of a model is frozen.

    parts: names of its parts, `stem`, `stage1`, ..., `head`, or `ALL_BUT_HEAD`: they compute as in a test,
    BatchNorm by its running statistics, without dropout and stochastic depth. final_layer_alone: only the
    classifiers learn, while all else computes as in training, with statistics that go on. batch_norms: all
    BatchNorm layers keep their statistics and normalise by them; batch_norm_weights: and their weights and
    biases are frozen too.
    """

    parts: tuple[str, ...] = ()
    final_layer_alone: bool = False
    batch_norms: bool = False
    batch_norm_weights: bool = False

    def __bool__(self) -> bool:
        return bool(self.parts) or self.final_layer_alone or self.batch_norms

    def apply(self, model: RecognitionModel) -> list[nn.Module]:
        """Freeze `model`; the modules that must be in evaluation mode while it trains.

        Raises `ConfigError` for a part that it does not have, and where nothing would be left to train.
        """
        frozen = {id(parameter) for parameter in self._parameters_of_parts(model)}
        resting = list(_wholly_frozen(model, frozen))
        if self.final_layer_alone:
            heads = set(model.head_keys)
            frozen |= {id(value) for name, value in model.named_parameters() if name not in heads}
        if self.batch_norms:
            norms = _batch_norms(model)
            resting += norms
            if self.batch_norm_weights:
                frozen |= {id(parameter) for norm in norms for parameter in norm.parameters()}
        parameters = list(model.parameters())
        if all(id(parameter) in frozen for parameter in parameters):
            raise ConfigError(
                f"{self._in_words()} would freeze all of the model, and leave nothing to train; take a "
                f"part out (its parts are {', '.join(model_parts(model))}), or set TRAIN.ENABLE False"
            )
        for parameter in parameters:
            if id(parameter) in frozen:
                parameter.requires_grad_(False)
        return resting

    def lines(self, model: RecognitionModel) -> Iterator[str]:
        """What is said of a `model` that is frozen by this, before it trains."""
        total = sum(value.numel() for value in model.parameters())
        frozen = sum(value.numel() for value in model.parameters() if not value.requires_grad)
        if frozen:
            yield (
                f"{self._in_words()}: {frozen:,} of {total:,} parameters are frozen, without gradients and "
                "without a state of the optimiser."
            )
        if self.batch_norms:
            kept = len(_batch_norms(model))
            yield (
                f"MODEL.FROZEN_BN: {plural(kept, 'BatchNorm layer')} with the statistics of the start."
                if kept
                else "MODEL.FROZEN_BN has no effect: the model has no BatchNorm."
            )
        if late := self._frozen_behind_trained(model):
            yield (
                f"The backward pass goes through {', '.join(late)} all the same, as parts before are "
                "trained; to save its time, freeze from the stem on."
            )

    def note_without_weights(self) -> str:
        """What to say where the frozen parts were never trained, or ""."""
        if not self:
            return ""
        return (
            f"No weights to start from (UNIFORMER.PRETRAIN_NAME is empty): {self._in_words()} keeps as "
            "it is what was never trained. Name the weights, or leave it out."
        )

    def _parameters_of_parts(self, model: RecognitionModel) -> Iterator[nn.Parameter]:
        if not self.parts:
            return
        by_part, by_name = model_parts(model), dict(model.named_parameters())
        for part in self.parts:
            if part not in by_part and part != ALL_BUT_HEAD:
                raise ConfigError(
                    f"MODEL.FREEZE names {part!r}, and the model has no such part; it takes some of "
                    f"{', '.join(by_part)}, or {ALL_BUT_HEAD}"
                )
            for name in self._named_by(part, by_part):
                yield by_name[name]

    def _named_by(self, part: str, by_part: dict[str, list[str]]) -> Iterator[str]:
        if part == ALL_BUT_HEAD:
            yield from (name for key, names in by_part.items() if key != "head" for name in names)
        else:
            yield from by_part[part]

    def _frozen_behind_trained(self, model: RecognitionModel) -> list[str]:
        """The parts that are frozen behind one that is trained."""
        by_name = dict(model.named_parameters())
        found, trained_before = [], False
        for part, names in model_parts(model).items() if self.parts else ():
            is_trained = any(by_name[name].requires_grad for name in names)
            if trained_before and not is_trained:
                found.append(part)
            trained_before |= is_trained
        return found

    def _in_words(self) -> str:
        told: list[tuple[str, Any]] = [
            (f"MODEL.FREEZE [{', '.join(self.parts)}]", self.parts),
            ("MODEL.DETACH_FINAL_FC", self.final_layer_alone),
            ("MODEL.FROZEN_BN", self.batch_norms),
            ("MODEL.FROZEN_BN_AFFINE", self.batch_norms and self.batch_norm_weights),
        ]
        return " and ".join(words for words, is_set in told if is_set)


def _batch_norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def _wholly_frozen(module: nn.Module, frozen: set[int]) -> Iterator[nn.Module]:
    """The outermost modules that have parameters, all of them frozen ones."""
    parameters = [id(parameter) for parameter in module.parameters()]
    if parameters and frozen.issuperset(parameters):
        yield module
        return
    for child in module.children():
        yield from _wholly_frozen(child, frozen)

"""What a calibrated checkpoint records: a temperature, a threshold, and the protocol that both are for."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import DamagedError
from uniformer_video.weights.checkpoint import CALIBRATION

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibration:
    """A temperature, by which logits are divided, of one protocol and its score rule.

    threshold: the confidence below which the answer is "none of these"; None without one.
    """

    temperature: float
    protocol: Protocol
    threshold: float | None = None

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], source: str) -> "Calibration | None":
        """That of the metadata of a checkpoint, `source`; None without one.

        Raises `DamagedError` where it is damaged.
        """
        record = metadata.get(CALIBRATION)
        if record is None:
            return None
        temperature, threshold = record.get("temperature"), record.get("threshold")
        value = threshold.get("value") if isinstance(threshold, Mapping) else threshold
        good = isinstance(temperature, float) and 0 < temperature < float("inf")
        if not (good and (value is None or isinstance(value, float)) and "protocol" in record):
            raise DamagedError(f"{source}: what it says of its calibration is damaged")
        return cls(temperature, Protocol.from_dict(record["protocol"], source), value)

    def differences(self, protocol: Protocol) -> str:
        """In what another protocol differs from that of the temperature, in words; "" where in nothing."""
        own, other = self.protocol.to_dict(), protocol.to_dict()
        return ", ".join(
            f"{name} is {other[name]}, not {own[name]}" for name in own if own[name] != other[name]
        )


def applicable(calibration: Calibration | None, protocol: Protocol) -> Calibration | None:
    """The calibration where it is for this very protocol, else None; the log says which, and why."""
    if calibration is None:
        return None
    if differences := calibration.differences(protocol):
        what = (
            "temperature is" if calibration.threshold is None else "temperature and threshold are"
        )
        log.warning(
            "The checkpoint's %s not applied, these scores are not calibrated: it was calibrated for another "
            "protocol (%s).",
            what,
            differences,
        )
        return None
    reject = ""
    if calibration.threshold is not None:
        reject = (
            f', and below a confidence of {calibration.threshold:.1%} the answer is "none of these"'
        )
    log.info("Scores are calibrated: temperature %.4g%s.", calibration.temperature, reject)
    return calibration

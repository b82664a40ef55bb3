"""Which device a model answers on, and in which precision."""

import logging

import torch

from uniformer_video.errors import ConfigError, choice_error
from uniformer_video.training.precision import choose_precision

log = logging.getLogger(__name__)

DEVICES = ("cpu", "cuda", "mps")


def find_device(device: str | torch.device | None = None) -> torch.device:
    """A device by its name, "cpu", "cuda", "cuda:1" or "mps"; None = a GPU where there is one, else the CPU.

    Raises `ConfigError` for another name, and for a device that is not there.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = str(device).partition(":")
    if kind not in DEVICES or (number and not number.isdecimal()):
        raise choice_error("the device", str(device), DEVICES)
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(_has_mps())}[kind]
    if int(number or 0) >= count:
        raise ConfigError(f"the device {device} is not here; there are {', '.join(_present())}")
    return torch.device(device)


def nearest_precision(name: str, device: torch.device) -> str:
    """The precision of the test, or the nearest that the device computes in."""
    if name == "fp16" and device.type != "cuda":
        log.warning("The test used fp16, which needs a CUDA device; predicting in fp32.")
        return "fp32"
    return choose_precision(name, device)


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


def _present() -> list[str]:
    """The names of all devices that are here."""
    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return ["cpu", *gpus, *(["mps"] if _has_mps() else [])]

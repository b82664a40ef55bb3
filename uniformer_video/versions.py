"""Versions of packages and the name of the device, for records."""

import platform
from collections.abc import Iterable
from importlib import metadata as installed

import torch


def versions(others: Iterable[str] = ()) -> dict[str, str]:
    """Versions of what the numbers depend on, and of `others` beside that; those that are not there lack."""
    packages = ("uniformer-video", "torch", "numpy", "av", "decord", "fvcore", *others)
    found = {}
    for package in packages:
        try:
            found[package] = installed.version(package)
        except installed.PackageNotFoundError:
            continue
    return {"python": platform.python_version(), **found, "device": device_name()}


def device_name(device: torch.device | None = None) -> str:
    """The GPU's name, or the processor architecture; of the device that this machine would use by default."""
    if device.type == "cuda" if device else torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU ({platform.machine()})"

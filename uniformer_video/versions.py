"""Versions of packages and the name of the device, for records."""

import platform
from importlib import metadata as installed

import torch


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    packages = ("uniformer-video", "torch", "numpy", "av", "decord", "fvcore")
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

"""Python, the libraries that the package asks for, and versions known to be bad."""

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata as installed

from packaging.requirements import Requirement

from uniformer_video.doctor.finding import Finding, note, wrong
from uniformer_video.program import NAME, command, install

# What the extras are for; that of the tests and of the linter concerns developers alone.
_EXTRAS = {
    "report": "the report page and TensorBoard; without it a test ends with its results alone",
    "hub": "hf:// addresses and safetensors files",
    "remote": "shards in s3:// and other kinds of storage",
}


def check_python() -> Finding:
    """The interpreter; an installed package is of one that is new enough."""
    return Finding("Python", f"{platform.python_version()} ({platform.platform(terse=True)})")


def check_libraries() -> Iterator[Finding]:
    """What `setup.py` asks for, by what the installed package records of it, and the extras."""
    try:
        wanted = [Requirement(line) for line in installed.requires(NAME) or ()]
    except installed.PackageNotFoundError:
        yield note(
            "libraries",
            f"{NAME} is not installed as a package, so that it is not known which versions it asks for",
            "pip install -e . in the check-out",
        )
        return
    needed = [each for each in wanted if not each.marker or each.marker.evaluate({"extra": ""})]
    bad = [problem for each in needed if (problem := _problem(each))]
    if bad:
        names = " ".join(f'"{each.name}{each.specifier}"' for each in needed if _problem(each))
        yield wrong("libraries", "; ".join(bad), f"pip install {names}")
    else:
        yield Finding("libraries", f"all {len(needed)} that are needed, in versions that fit")
    for extra, purpose in _EXTRAS.items():
        yield _check_extra(extra, purpose, wanted)


def _check_extra(extra, purpose, wanted):
    asked = [
        each
        for each in wanted
        if each.marker and each.marker.evaluate({"extra": extra})
        if not each.marker.evaluate({"extra": ""})
    ]
    bad = [problem for each in asked if (problem := _problem(each))]
    about = f"extra {extra}"
    return (
        note(about, f"{'; '.join(bad)}: {purpose}", install(extra))
        if bad
        else Finding(about, "there")
    )


def _problem(requirement):
    """What is wrong with the installed version of a library; "" if nothing."""
    try:
        version = installed.version(requirement.name)
    except installed.PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if requirement.specifier.contains(version, prereleases=True):
        return ""
    return f"{requirement.name} is {version}, which is not {requirement.specifier}"


@dataclass(frozen=True)
class KnownBad:
    """Versions that are known to be bad, though they are inside the ranges.

    holds: (version of torch, of cuDNN, 0 = none) as tuples of numbers -> whether they are these.
    """

    holds: Callable[[tuple[int, ...], tuple[int, ...]], bool]
    found: str
    remedy: str


KNOWN_BAD = (
    KnownBad(
        lambda torch, cudnn: torch[:2] == (2, 9) and (9, 8) <= cudnn[:2] <= (9, 14),
        "torch 2.9 with cuDNN 9.8 to 9.14: 3D convolutions are slower, take more memory, and are wrong in "
        "bf16",
        "pip install 'nvidia-cudnn-cu12>=9.15', or another torch",
    ),
)


def check_known_bad(torch_version: str, cudnn: int | None, has_gpu: bool) -> list[Finding]:
    """What is known of these versions; `cudnn` as torch gives it, 91002 = 9.10.2, None = there is none.

    Without a GPU there is no use of cuDNN, and so a note.
    """
    numbers = tuple(int(part) for part in torch_version.split("+")[0].split(".")[:2])
    parts = (cudnn // 10000, cudnn // 100 % 100, cudnn % 100) if cudnn else ()
    tell = wrong if has_gpu else note
    return [
        tell("versions", bad.found, bad.remedy) for bad in KNOWN_BAD if bad.holds(numbers, parts)
    ]


def check_torch() -> Iterator[Finding]:
    """torch and what the package takes from it, the device, the processor."""
    try:
        import torch
    except (ImportError, OSError) as error:
        yield wrong(
            "torch", f"cannot be imported: {error}", "install torch again, pytorch.org says how"
        )
        return
    from uniformer_video.torch_internals import TORCH_RANGE, lacking

    if gone := lacking():
        relied_on = "; ".join(internal.relied_on for internal in gone)
        yield wrong(
            "torch", f"{torch.__version__} lacks: {relied_on}", f"pip install 'torch{TORCH_RANGE}'"
        )
    else:
        yield Finding("torch", torch.__version__)
    cudnn = torch.backends.cudnn.version()
    yield from check_known_bad(torch.__version__, cudnn, torch.cuda.is_available())
    yield _check_device(torch)
    yield _check_processor(torch)


def _check_device(torch):
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found = (
            f"{torch.cuda.device_count()} x {properties.name}, {properties.total_memory / 1e9:.0f} GB, CUDA "
            f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
        )
        try:
            torch.zeros(1, device="cuda").add(1).item()
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            return wrong("GPU", f"{found}: {reason}", "install a torch that is built for this GPU")
        return Finding("GPU", found)
    if not os.path.exists("/proc/driver/nvidia/version"):
        return note("GPU", "none that torch can use; training runs on the CPU")
    if torch.version.cuda:
        remedy = (
            "update the driver, or install a torch built for an older CUDA; nvidia-smi shows both"
        )
        return wrong(
            "GPU", f"there is one, and this torch (CUDA {torch.version.cuda}) cannot use it", remedy
        )
    remedy = "install a CUDA build of torch, pytorch.org says how"
    return wrong("GPU", "there is one, and this torch is built for the CPU alone", remedy)


def _check_processor(torch):
    from uniformer_video.cores import usable_cores

    kind = torch.backends.cpu.get_cpu_capability()
    found = f"{usable_cores()} of {os.cpu_count()} cores may be used, {kind}, {platform.machine()}"
    if kind == "DEFAULT" and platform.machine() in ("x86_64", "AMD64"):
        return note("CPU", f"{found}: no AVX2, without which everything takes several times longer")
    return Finding("CPU", found)


def check_command() -> Finding:
    """How the commands are called here."""
    return Finding("command", command("COMMAND"))

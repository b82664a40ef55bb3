"""Disk, shared memory, memory, limits."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from uniformer_video.doctor.finding import Finding, note, wrong
from uniformer_video.weights.download import cache_folder

GIGABYTE = 1e9
FEW_FILES = 1024  # below this limit batches of workers soon have too many open


def check_disks() -> Iterator[Finding]:
    """Free space where runs, temporary files and downloads go."""
    for about, folder in (
        ("disk, here", Path.cwd()),
        ("disk, temporary", Path(tempfile.gettempdir())),
        ("disk, downloads", cache_folder()),
    ):
        yield check_disk(about, folder)


def check_disk(about: str, folder: Path) -> Finding:
    """Free space in a folder, which need not exist, and whether it may be written."""
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    if not os.access(there, os.W_OK):
        return wrong(
            about, f"{there} may not be written", "work in another folder, or change its rights"
        )
    free = shutil.disk_usage(there).free / GIGABYTE
    found = f"{free:.1f} GB free in {folder}"
    if free < 1:
        return wrong(
            about, found, "free some space: a checkpoint of UniFormer-B alone takes 0.6 GB"
        )
    return note(about, found, "a long training needs more") if free < 10 else Finding(about, found)


def check_shared_memory(folder: str = "/dev/shm") -> Finding:
    """Through it, workers hand batches over; containers have 64 MB unless told otherwise."""
    from uniformer_video.data.loading.watchdog import SHM_HINT

    if not os.path.isdir(folder):
        return note(folder, "not there; batches go another way on this system")
    usage = shutil.disk_usage(folder)
    found = f"{usage.total / GIGABYTE:.2f} GB, {usage.free / GIGABYTE:.2f} GB of it free"
    if usage.free < 0.25 * GIGABYTE:
        return wrong(folder, f"{found}: too little for batches of workers", SHM_HINT)
    return note(folder, found, SHM_HINT) if usage.free < 2 * GIGABYTE else Finding(folder, found)


def check_limits() -> Iterator[Finding]:
    """Memory, and how many files may be open."""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIGABYTE
        found = f"{size:.1f} GB"
        less = "training takes 4 GB and more: small batches, few workers"
        yield note("memory", found, less) if size < 4 else Finding("memory", found)
    try:
        import resource
    except ImportError:  # Windows
        return
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= files < FEW_FILES:
        yield note("open files", f"{files} at most", "raise the limit: ulimit -n 4096")

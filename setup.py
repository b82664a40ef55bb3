"""Packaging. Ranges are honest; `constraints.txt` pins what was tested."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(
    r'__version__ = "(.+)"', (ROOT / "uniformer_video" / "__init__.py").read_text(encoding="utf-8")
)[1]

REPORT = ["jinja2>=3.1", "matplotlib>=3.7", "tensorboard>=2.14"]
HUB = ["huggingface_hub>=0.25", "safetensors>=0.4.3"]
# pulls no torch of its own: take the release that fits, and have FFmpeg's libraries installed
TORCHCODEC = ["torchcodec>=0.7"]
# training from shards in s3:// and others, with fsspec's driver for them, such as s3fs
REMOTE = ["fsspec>=2023.1"]
TEST = ["pytest>=8", "pytest-xdist>=3.6", "ruff>=0.8"]

setup(
    name="uniformer-video",
    version=VERSION,
    description="UniFormer for video action recognition: train, evaluate, inspect and ship",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["uniformer_video", "uniformer_video.*"]),
    package_data={
        "uniformer_video.evaluation": ["*.j2"],
        "uniformer_video.tasks": ["*.j2"],
        "uniformer_video.data.lists": ["names/*.txt"],
        "uniformer_video.zoo": ["*.csv"],
    },
    python_requires=">=3.10",
    install_requires=[
        # before 2.6, weights_only=True could be made to run code (CVE-2025-32434); after the last one tested,
        # what uniformer_video/torch_internals.py lists may be otherwise
        "torch>=2.6,<2.14",
        "numpy>=1.26",
        "fvcore>=0.1.5.post20221221",
        "pyyaml>=6",
        "simplejson>=3.19",
        # before 17 it converts BT.709 colours in another way, and loses frames of some live recordings
        "av>=17.1",
        # decord has wheels for these alone, and no source release
        "decord>=0.6; platform_system == 'Linux' and platform_machine == 'x86_64'",
        "decord>=0.6; platform_system == 'Windows'",
        "pytorchvideo>=0.1.5",
        "pillow>=10",
        "tqdm>=4.66",
        "urllib3>=2",
    ],
    extras_require={
        "report": REPORT,
        "hub": HUB,
        "remote": REMOTE,
        "torchcodec": TORCHCODEC,
        "test": [*TEST, *REPORT, *HUB, *REMOTE],
        "all": [*TEST, *REPORT, *HUB, *REMOTE],
    },
    entry_points={"console_scripts": ["uniformer-video = uniformer_video.cli:main"]},
)

"""Packaging. Ranges are honest; `constraints.txt` pins what was tested."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
VERSION = re.search(
    r'__version__ = "(.+)"', (ROOT / "uniformer_video" / "__init__.py").read_text(encoding="utf-8")
)[1]

# What the package carries, from the top of the repository to `uniformer_video/shipped/`.
SHIPPED = ["configs/**/*.yaml", "datasets/README.md", "datasets/*/README.md"]


class BuildWithConfigs(build_py):
    """Copies the configs and the guides to datasets into what is built; an editable install needs no copy."""

    def run(self):
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "uniformer_video" / "shipped"
            shutil.rmtree(target, ignore_errors=True)  # of an earlier build
            for source, copy in self._copies():
                self.mkpath(str(copy.parent))
                self.copy_file(str(source), str(copy))

    def get_outputs(self, include_bytecode=1):
        copies = [] if self.editable_mode else [str(copy) for _, copy in self._copies()]
        return [*super().get_outputs(include_bytecode), *copies]

    def _copies(self):
        """(file, its copy) of all that is shipped."""
        target = Path(self.build_lib) / "uniformer_video" / "shipped"
        for pattern in SHIPPED:
            for source in sorted(ROOT.glob(pattern)):
                yield source, target / source.relative_to(ROOT)


REPORT = ["jinja2>=3.1", "matplotlib>=3.7", "tensorboard>=2.14"]
HUB = ["huggingface_hub>=0.25", "safetensors>=0.4.3"]
# pulls no torch of its own: take the release that fits, and have FFmpeg's libraries installed
TORCHCODEC = ["torchcodec>=0.7"]
# comes with torch's builds for CUDA; on a CPU its interpreter tests the kernels
TRITON = ["triton>=3.3; platform_system == 'Linux'"]
# training on a CPU: compiles the gradients of depthwise convolutions; 60 MB with its compiler
FAST = ["numba>=0.61"]
# training from shards in s3:// and others, with fsspec's driver for them, such as s3fs
REMOTE = ["fsspec>=2023.1"]
SLURM = ["submitit>=1.5"]
# curves and results in the cloud, or kept for it: 20 MB of its own, and as much of what it needs
WANDB = ["wandb>=0.18"]
# predictions as parquet files
PARQUET = ["pyarrow>=16"]
# likely wrong labels
AUDIT = ["scikit-learn>=1.4", "scipy>=1.11"]
# tests of the pages in a Chromium that is installed
BROWSER = ["playwright>=1.45", "axe-playwright-python>=0.1.4"]
# models as ONNX files, and what runs them
EXPORT = ["onnx>=1.18", "onnxruntime>=1.22", "onnxscript>=0.5.4"]
# models as OpenVINO's files: 180 MB, for Intel's processors
OPENVINO = ["openvino>=2025.2"]
# what the figures of an evaluation are compared with
ORACLES = AUDIT
# Else a library of more than 20 MB is none of these: it gets an extra of its own, as torchcodec with its
# FFmpeg, and its tests are skipped without it. What is exported is worth what runs it: ONNX Runtime is there.
# setuptools builds the wheel that is tested.
TEST = [
    "pytest>=8",
    "pytest-xdist>=3.6",
    "setuptools>=77",
    *REPORT,
    *HUB,
    *REMOTE,
    *SLURM,
    *EXPORT,
    *ORACLES,
    *FAST,
]
LINT = ["ruff>=0.8", "mypy>=1.14", "types-PyYAML", "types-simplejson", "types-tqdm", "uv>=0.5"]

setup(
    name="uniformer-video",
    version=VERSION,
    description="UniFormer for video action recognition: train, evaluate, inspect and ship",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    author="The uniformer-video maintainers",
    project_urls={
        "Paper": "https://arxiv.org/abs/2201.04676",
        "Published code": "https://github.com/Sense-X/UniFormer",
        "Published weights": "https://huggingface.co/Sense-X/uniformer_video",
    },
    keywords="video, action recognition, UniFormer, PyTorch, Kinetics, Something-Something",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Environment :: GPU :: NVIDIA CUDA",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
        "Topic :: Multimedia :: Video",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    cmdclass={"build_py": BuildWithConfigs},
    packages=find_packages(include=["uniformer_video", "uniformer_video.*"]),
    package_data={
        "uniformer_video": ["py.typed"],
        "uniformer_video.pages": ["*.j2", "*.css", "*.js", "analyses/*.j2"],
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
        "packaging>=22",
    ],
    extras_require={
        "report": REPORT,
        "fast": FAST,
        "hub": HUB,
        "remote": REMOTE,
        "slurm": SLURM,
        "wandb": WANDB,
        "parquet": PARQUET,
        "export": EXPORT,
        "openvino": OPENVINO,
        "audit": AUDIT,
        "browser": BROWSER,
        "torchcodec": TORCHCODEC,
        "triton": TRITON,
        "test": TEST,
        "lint": LINT,
        "all": [*TEST, *LINT],
    },
    entry_points={"console_scripts": ["uniformer-video = uniformer_video.cli:main"]},
)

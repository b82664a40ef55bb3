"""How this program is called, for messages that name a command of it."""

import shutil
import sys
from pathlib import Path

NAME = "uniformer-video"
_MODULE = ["-m", "uniformer_video"]  # behind `python` or torchrun, installed or not


def command(words: str) -> str:
    """A command as a user can type it: "models" -> "uniformer-video models".

    Where the console script is not installed, as in a bare check-out, `python -m uniformer_video models`.
    """
    beside = str(Path(sys.executable).parent)  # found although the environment is not activated
    if shutil.which(NAME) or shutil.which(NAME, path=beside):
        return f"{NAME} {words}"
    return " ".join(["python", *_MODULE, words])


def install(extra: str) -> str:
    """What installs the libraries of an extra, such as "report"."""
    return f'pip install "{NAME}[{extra}]"'


def run_again(word: str = "run") -> list[str]:
    """What starts a run again, behind `python` or torchrun: a script of anybody's, or this package.

    word: the command of this package.
    """
    script = Path(sys.argv[0])
    if script.suffix == ".py" and script.name != "__main__.py":
        return [sys.argv[0]]
    return [*_MODULE, word]

"""What the package offers has complete type hints, and people's own code is checked against them."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "uniformer_video"


def is_public(name):
    """Whether others call it: no leading `_`, or a method of Python's own, such as `__call__`."""
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


def functions_of(body):
    """The functions of a module and the methods of its classes, also those under an `if` or a `try`.

    What is defined inside a function is nobody else's.
    """
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        else:
            yield from functions_of(ast.iter_child_nodes(node))


def is_complete(function):
    """Whether all arguments but `self` and `cls` have hints, and the result of all but `__init__`."""
    taken = function.args
    arguments = [*taken.posonlyargs, *taken.args, *taken.kwonlyargs, taken.vararg, taken.kwarg]
    return all(
        argument.annotation or argument.arg in ("self", "cls") for argument in arguments if argument
    ) and (function.returns is not None or function.name == "__init__")


def lacking(text, name):
    """`name:line function` of the public functions and methods in a module's text without full hints."""
    return [
        f"{name}:{function.lineno} {function.name}"
        for function in functions_of(ast.parse(text).body)
        if is_public(function.name) and not is_complete(function)
    ]


def test_public_functions_have_hints():
    without = [
        line
        for path in sorted(PACKAGE.rglob("*.py"))
        for line in lacking(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())
    ]
    assert not without, "\n".join(["no complete type hints:", *without])


@pytest.mark.parametrize(
    "text",
    [
        "def f(a: int, b) -> int: ...",
        "def f(a: int): ...",
        "async def f(*, a) -> int: ...",
        "def f(*a) -> int: ...",
        "def f(**a) -> int: ...",
        "class A:\n    def __call__(self): ...",
        "class A:\n    def __init__(self, a): ...",
        "class A:\n    @property\n    def f(self): ...",
        "if True:\n    def f(a) -> int: ...",
        "try:\n    pass\nexcept E:\n    def f(a) -> int: ...",
        "class _A:\n    class B:\n        def f(self, a) -> int: ...",
    ],
)
def test_every_hint_counts(text):
    assert len(lacking(text, "x.py")) == 1


@pytest.mark.parametrize(
    "text",
    [
        "def f(a: int, /, b: int = 1, *c: int, d: int, **e: int) -> None: ...",
        "def _f(a): ...",
        "class A:\n    def __init__(self, a: int): ...\n    @classmethod\n    def f(cls) -> int: ...",
        "def f() -> None:\n    def g(a): ...",
    ],
)
def test_what_needs_no_more_hints(text):
    assert not lacking(text, "x.py")


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None,
    reason="needs mypy: pip install 'uniformer-video[lint]'",
)
def test_a_script_of_a_user_is_checked_strictly(tmp_path):
    """As where the package is installed: without this repository's settings, errors of the script alone."""
    settings = tmp_path / "mypy.ini"
    settings.write_text("[mypy]\nstrict = True\nfollow_imports = silent\n")
    script = ROOT / "tests" / "support" / "typed_script.py"
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", settings, "--cache-dir", tmp_path, script],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr

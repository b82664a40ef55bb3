"""How commands are named in messages."""

import ast
import re
from pathlib import Path

import pytest

from uniformer_video import cli, program

PACKAGE = Path(program.__file__).parent
IN_A_CHECK_OUT = re.compile(
    r"\b(?:tools|configs|docs|benchmarks)/\w+|README|\bmake [a-z]+`|CONTRIBUTING|"
    r"constraints\.txt|requirements\.txt"
)
BY_HAND = re.compile(r"uniformer-video [a-z-]+|uniformer-video\[")
# a format's name; a sentence; a file of Megatron-LM's own
ALLOWED = {"uniformer-video checkpoint", "uniformer-video relies", "tools/checkpoint"}


def test_the_console_script_is_named_where_it_is_installed(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program.command("models") == "python -m uniformer_video models"
    (tmp_path / "uniformer-video").write_text("")
    (tmp_path / "uniformer-video").chmod(0o755)
    monkeypatch.setenv("PATH", "")
    assert program.command("models") == "uniformer-video models"


def texts(path):
    """The texts of a file beside its comments and docstrings, those of its f-strings included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_messages_name_nothing_that_an_installed_user_lacks(path):
    if path.parent.name == "commands":  # help comes from docstrings, and names commands as they are
        said = [path.read_text(encoding="utf-8")]
    else:
        said = list(texts(path))
        assert {match for text in said for match in BY_HAND.findall(text)} <= ALLOWED
    # the name of a file that is looked for alone is no message
    found = {
        match for text in said if text != "README.md" for match in IN_A_CHECK_OUT.findall(text)
    }
    assert found <= ALLOWED


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.j2")), ids=lambda path: path.name)
def test_pages_name_nothing_that_an_installed_user_lacks(path):
    text = path.read_text(encoding="utf-8")
    assert not IN_A_CHECK_OUT.findall(text) + BY_HAND.findall(text)


def called(text):
    return re.findall(r"uniformer-video ([a-z-]+)", text)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_named_commands_exist(path):
    source = path.read_text(encoding="utf-8")
    named = re.findall(r"\bcommand\(f?['\"]([a-z-]+)", source)
    assert {*named, *called(source)} - {"checkpoint", "relies"} <= set(cli._COMMANDS)

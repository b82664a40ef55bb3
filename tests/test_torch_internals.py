"""What is relied on beside torch's documented interface: a new torch that lacks it fails here, in words."""

import re
from pathlib import Path

import pytest
import torch

from uniformer_video import torch_internals
from uniformer_video.errors import MissingLibraryError
from uniformer_video.torch_internals import INTERNALS, TORCH_RANGE, Internal, check_torch
from uniformer_video.training.optim import adamw

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("internal", INTERNALS, ids=lambda internal: internal.relied_on)
def test_this_torch_still_has_it(internal):
    assert internal.holds(), f"{internal.used_by} relies on this: {internal.relied_on}"


def test_a_flag_on_the_device_leaves_out_a_fused_step():
    model = torch.nn.Linear(2, 1)
    optimizer = adamw(model, weight_decay=0.1)
    before = model.weight.detach().clone()
    for flag, changed in ((1.0, False), (0.0, True)):
        model.weight.grad = torch.ones_like(model.weight)
        for group in optimizer.param_groups:
            group["lr"] = 0.1
        optimizer.found_inf = torch.tensor(flag)
        optimizer.step()
        assert torch.equal(model.weight, before) != changed


def test_a_torch_that_lacks_something_is_told_in_one_line(monkeypatch, call):
    check_torch()
    gone = Internal("it has a spare wheel", "data.loading.workers", lambda: torch.spare_wheel)
    monkeypatch.setattr(torch_internals, "INTERNALS", (*INTERNALS, gone))
    message = (
        f"torch {torch.__version__} lacks what uniformer-video relies on: it has a spare wheel "
        f"(data.loading.workers); install a torch that it was tested with: pip install 'torch{TORCH_RANGE}'"
    )
    with pytest.raises(MissingLibraryError, match=f"^{re.escape(message)}$"):
        check_torch()
    assert call("run", "--cfg", "nowhere.yaml") == (2, "", f"error: {message}\n")


def test_a_change_is_noticed(monkeypatch):
    """One that keeps the name and one that does not, as examples."""
    iterator = torch.utils.data.dataloader._MultiProcessingDataLoaderIter
    monkeypatch.setattr(iterator, "_shutdown_workers", lambda self, timeout: None)
    monkeypatch.delattr(torch.utils.data._utils.signal_handling, "_set_worker_pids")
    words = [internal.relied_on for internal in torch_internals.lacking()]
    assert len(words) == 2
    assert "_set_worker_pids" in words[0] and "_shutdown_workers" in words[1]


def test_the_range_is_that_of_the_packaging_and_holds_what_was_tested():
    assert f'"torch{TORCH_RANGE}"' in (ROOT / "setup.py").read_text()
    pinned = re.search(r"^torch==([\d.]+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[
        1
    ]
    least, beyond = (
        tuple(map(int, number.split("."))) for number in re.findall(r"[\d.]+", TORCH_RANGE)
    )
    assert least <= tuple(map(int, pinned.split("."))) < beyond


def test_every_use_of_a_private_name_of_torch_is_listed():
    """A new `_name` that is imported from torch, or reached through its modules, belongs into the list."""
    listed = (ROOT / "uniformer_video" / "torch_internals.py").read_text()
    found = set()
    for path in (ROOT / "uniformer_video").rglob("*.py"):
        if path.name != "torch_internals.py":
            text = path.read_text()
            imports = re.findall(r"^\s*from torch\S* import (.*)$", text, re.MULTILINE)
            found |= {name for line in imports for name in re.findall(r"\b_\w+", line)}
            found |= set(
                re.findall(r"(?:signal_handling|_iterator|torch(?:\.\w+)+)\.(_[a-z]\w+)", text)
            )
            found |= set(re.findall(r"(?:get|has)attr\(self\._iterator, \"(_\w+)\"", text))
    assert found >= {"_BatchNorm", "_workers", "_set_worker_pids"}
    assert {name for name in found if name not in listed} == set()


def test_a_program_that_has_compiled_something_loses_nothing():
    """torch.compile wraps the methods of optimisers, for the rest of the process."""
    layer = torch.nn.Linear(2, 2)
    torch.optim.SGD(layer.parameters(), lr=0.1)
    torch.compile(layer, backend="eager")(torch.ones(1, 2))
    check_torch()

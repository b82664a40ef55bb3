"""Each way of a depthwise convolution gives the numbers of torch's, in float64, and its gradients."""

import importlib.util
import logging
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from uniformer_video.models import depthwise, depthwise_cpu
from uniformer_video.models.depthwise import depthwise_conv

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="needs Triton (the extra `triton`)"
)
# (grid, channels, kernel): borders on all sides, sides that no tile divides, a kernel larger than its grid.
CASES = [
    ((5, 6, 7), 20, (3, 3, 3)),
    ((9, 7, 5), 70, (3, 5, 5)),
    ((4, 5, 4), 33, (5, 5, 5)),
    ((1, 2, 2), 8, (5, 5, 5)),
    ((10, 9), 24, (5, 5)),
    ((11, 3), 6, (3, 3)),
]


def reference(tokens, weight, bias, kernel):
    conv = F.conv3d if len(kernel) == 3 else F.conv2d
    padding = [side // 2 for side in kernel]
    out = conv(tokens.movedim(-1, 1), weight, bias, padding=padding, groups=len(weight))
    return out.movedim(1, -1)


def inputs(case, dtype=torch.float64, device="cpu"):
    """Tokens, weight, bias and the gradient of the output."""
    grid, channels, kernel = case
    draw = torch.Generator().manual_seed(0)
    shapes = (2, *grid, channels), (channels, 1, *kernel), (channels,), (2, *grid, channels)
    tensors = [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes]
    return [tensor.to(device, dtype) for tensor in tensors]


def all_results(convolve, tokens, weight, bias, gradient):
    """Output and gradients."""
    leaves = [tensor.clone().requires_grad_() for tensor in (tokens, weight, bias)]
    out = convolve(*leaves)
    return [out, *torch.autograd.grad(out, leaves, gradient.to(out.dtype))]


def error(found, expected):
    return float((found.detach().double().cpu() - expected).norm() / expected.norm())


@pytest.fixture(params=["numba", "mirrored", "torch"])
def way(request):
    """Each way of a CPU."""
    if request.param == "numba":
        pytest.importorskip("numba", reason="needs numba (the extra `fast`)")
        assert depthwise_cpu.numba_works()
    return request.param


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_on_a_cpu_each_way_is_the_convolution(case, dtype, way):
    *tensors, gradient = inputs(case, dtype)
    exact = [tensor.double() for tensor in (*tensors, gradient)]
    kernel = case[-1]
    expected = all_results(lambda *leaves: reference(*leaves, kernel), *exact)
    found = all_results(lambda *leaves: depthwise_conv(*leaves, kernel, way), *tensors, gradient)
    assert found[0].is_contiguous() and {result.dtype for result in found} == {dtype}
    rounding = 2e-2 if way == "torch" else 5e-3
    bound = {torch.float64: 1e-13, torch.float32: 1e-6, torch.bfloat16: rounding}[dtype]
    assert max(map(error, found, expected)) < bound


def test_finite_differences_agree_with_the_gradients_of_each_way(way):
    *tensors, _ = inputs(((2, 3, 3), 2, (3, 3, 3)))
    leaves = [tensor.requires_grad_() for tensor in tensors]
    convolve = lambda *leaves: depthwise_conv(*leaves, (3, 3, 3), way)  # noqa: E731
    assert torch.autograd.gradcheck(convolve, leaves)


def test_a_way_is_taken_where_it_is_possible(monkeypatch):
    where = torch.device("cpu"), torch.float32, (3, 3, 3)
    monkeypatch.setattr(depthwise, "numba_works", lambda: True)
    assert depthwise.possible_ways(*where) == ("numba", "mirrored", "torch")
    taken = [depthwise.way_of(wanted, *where) for wanted in ("auto", *depthwise.WAYS)]
    assert taken == ["numba", "numba", "numba", "mirrored", "torch"]  # no Triton on a CPU
    monkeypatch.setattr(depthwise, "numba_works", lambda: False)
    assert [depthwise.way_of(wanted, *where) for wanted in ("auto", "numba")] == ["mirrored"] * 2
    assert depthwise.way_of("numba", torch.device("meta"), *where[1:]) == "torch"


def test_only_the_gradients_of_numbas_way_ask_for_numba(monkeypatch):
    asked = []
    monkeypatch.setattr(depthwise_cpu, "numba_works", lambda: asked.append(1))
    *tensors, gradient = inputs(CASES[3])
    for wanted, times in (("torch", 0), ("mirrored", 0), ("numba", 1), ("auto", 2)):
        convolve = lambda *leaves, way=wanted: depthwise_conv(*leaves, CASES[3][-1], way)  # noqa: E731
        convolve(*tensors)
        out = all_results(convolve, *tensors, gradient)[0]
        assert len(asked) == times
        assert ("DepthwiseOnCpu" in type(out.grad_fn).__name__) == (wanted != "torch")


def test_autocast_and_compile_change_nothing_but_rounding_on_a_cpu(way):
    case = CASES[1]
    *tensors, gradient = inputs(case, torch.float32)
    kernel = case[-1]
    exact = [tensor.double() for tensor in (*tensors, gradient)]
    expected = all_results(lambda *leaves: reference(*leaves, kernel), *exact)

    def convolve(*leaves):
        with torch.autocast("cpu", torch.bfloat16):
            return depthwise_conv(*leaves, kernel, way)

    compiled = torch.compile(convolve, fullgraph=True, backend="aot_eager")
    for function in (convolve, compiled):
        found = all_results(function, *tensors, gradient)
        assert [result.dtype for result in found] == [torch.bfloat16, *[torch.float32] * 3]
        assert max(map(error, found, expected)) < (2e-2 if way == "torch" else 5e-3)
    torch.compiler.reset()


def test_autocast_leaves_float64_alone():
    *tensors, _ = inputs(CASES[0])
    with torch.autocast("cpu", torch.bfloat16):
        out = depthwise_conv(*tensors, CASES[0][-1])
    assert out.dtype == torch.float64


@pytest.mark.parametrize("wanted", [0, 1, 2], ids=["tokens", "weight", "bias"])
def test_only_what_is_asked_for_gets_a_gradient(wanted, way):
    *tensors, gradient = inputs(CASES[0])
    kernel = CASES[0][-1]
    leaf = tensors[wanted].requires_grad_()
    expected = torch.autograd.grad(reference(*tensors, kernel), leaf, gradient)[0]
    found = torch.autograd.grad(depthwise_conv(*tensors, kernel, way), leaf, gradient)[0]
    assert error(found, expected) < 1e-13


def test_gradients_do_not_depend_on_the_number_of_threads(monkeypatch):
    pytest.importorskip("numba", reason="needs numba (the extra `fast`)")
    monkeypatch.setattr(depthwise_cpu, "_WORTH_A_PART", 100_000)  # parts that begin within a frame
    *tensors, gradient = inputs(CASES[1], torch.float32)
    convolve = lambda *leaves: depthwise_conv(*leaves, CASES[1][-1])  # noqa: E731
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(all_results(convolve, *tensors, gradient)[2])
    finally:
        torch.set_num_threads(before)
    exact = [tensor.double() for tensor in (*tensors, gradient)]
    expected = all_results(lambda *leaves: reference(*leaves, CASES[1][-1]), *exact)[2]
    assert torch.equal(*found) and error(found[0], expected) < 1e-6


@pytest.mark.parametrize("width", [1, 2, 3, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("where", ["tokens", "gradient"])
def test_what_is_not_finite_stays_with_the_taps_that_meet_it(width, dtype, where):
    """Also where a row is narrower than the margins of the kernel: no infinity meets a zero of the border."""
    pytest.importorskip("numba", reason="needs numba (the extra `fast`)")
    tokens, gradient = torch.ones(2, 1, 1, width, 16, dtype=dtype)
    (tokens if where == "tokens" else gradient)[0, 0, 0, 0] = torch.inf
    found = depthwise_cpu.weight_gradient(tokens[None], gradient[None], (1, 1, 5), True)
    rows = [values[0, 0, :, 0].float() for values in (tokens, gradient)]
    expected = []
    for shift in range(-2, 3):
        places = [w for w in range(width) if 0 <= w + shift < width]
        expected.append(sum(float(rows[0][w + shift] * rows[1][w]) for w in places))
    assert found[0].ravel().tolist() == expected


@pytest.fixture
def no_memory_of_numba():
    depthwise_cpu.numba_works.cache_clear()
    yield
    depthwise_cpu.numba_works.cache_clear()


@pytest.mark.usefixtures("no_memory_of_numba")
def test_without_numba_torch_computes_and_the_log_says_once_what_to_install(monkeypatch, caplog):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assert not depthwise_cpu.numba_works()
    assert caplog.text.count('pip install "uniformer-video[fast]"') == 1


@pytest.mark.parametrize("fault", ["its result is wrong", "ZeroDivisionError"])
@pytest.mark.usefixtures("no_memory_of_numba")
def test_where_numba_fails_torch_computes_and_the_log_says_why(fault, monkeypatch, caplog):
    pytest.importorskip("numba", reason="needs numba (the extra `fast`)")
    broken = (lambda *arguments: 1 / 0) if "Zero" in fault else (lambda *arguments: None)
    monkeypatch.setattr(depthwise_cpu, "_compiled", lambda: broken)
    assert not depthwise_cpu.numba_works()
    assert f"computed by torch, as numba failed: {fault}" in caplog.text


@pytest.mark.usefixtures("no_memory_of_numba")
def test_where_numba_may_not_compile_the_log_names_the_setting(monkeypatch, caplog):
    numba = pytest.importorskip("numba", reason="needs numba (the extra `fast`)")
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert not depthwise_cpu.numba_works()
    assert "it compiles nothing where NUMBA_DISABLE_JIT is set" in caplog.text


def _double(values):
    for place in range(len(values)):
        values[place] *= 2


@pytest.mark.parametrize("fault", ["torn", "gone"])
def test_a_folder_of_compiled_loops_that_fails_ends_no_training(
    fault, tmp_path, monkeypatch, caplog
):
    """As where a disk is full, or was when a file was written: it is said once, and all is compiled anew."""
    numba = pytest.importorskip("numba", reason="needs numba (the extra `fast`)")
    from uniformer_video.models.depthwise_loop import _compiled

    (folder := tmp_path / "compiled").mkdir()
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(folder))
    double, values = _compiled(_double), np.ones(2, np.float32)
    double(values)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files and not caplog.text
    if fault == "torn":
        for path in files:
            os.truncate(path, path.stat().st_size // 2)
    else:
        shutil.rmtree(folder)
        folder.touch()
    for kind in (np.float64, np.int64):  # each is compiled
        double(values := np.ones(2, kind))
        assert values.tolist() == [2, 2]
    assert caplog.text.count(f"cannot be kept in {folder}") == 1
    assert "NUMBA_CACHE_DIR" in caplog.text


INTERPRETED = """
import sys
import torch
sys.path[:0] = ["tests/models", "tests/support"]
from test_depthwise import CASES, all_results, error, inputs, reference
from uniformer_video.models import depthwise_op
from uniformer_video.models.depthwise import _by_kernels
depthwise_op.PARTS = 2  # the interpreter takes a second for a few programs
depthwise_op.CONVOLVE = depthwise_op.CONVOLVE._replace(places=32)
depthwise_op.CORRELATE = depthwise_op.CORRELATE._replace(places=32, channels=64)
for number in map(int, sys.argv[1:]):
    case = CASES[number]
    *tensors, gradient = inputs(case)
    kernel = case[-1]
    expected = all_results(lambda *leaves: reference(*leaves, kernel), *tensors, gradient)
    by_kernels = lambda *leaves: _by_kernels(*leaves, kernel, torch.float64)
    found = all_results(by_kernels, *tensors, gradient)
    assert found[0].is_contiguous()
    worst = max(map(error, found, expected))
    assert worst < 1e-13, (case, worst)
    torch.manual_seed(0)
print("equal")
"""


@needs_triton
@pytest.mark.parametrize("number", [0, 3, 5], ids=str)
def test_the_kernels_are_the_convolution_in_tritons_interpreter(number):
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-c", INTERPRETED, str(number)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout.endswith("equal\n"), done.stderr


def test_without_triton_torch_computes_and_says_so_once(monkeypatch, caplog):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    depthwise._triton_works.cache_clear()
    device = torch.device("cuda", 7)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert not depthwise._has_kernels(device, torch.bfloat16, (3, 3, 3))
    depthwise._triton_works.cache_clear()
    assert caplog.text.count("computed by torch, which is slower: Triton is not installed.") == 1


@needs_triton
def test_where_triton_fails_torch_computes_and_says_why(caplog):
    """As without a C compiler or a driver: here there is no such device."""
    depthwise._triton_works.cache_clear()
    device = torch.device("cuda", 7)
    assert not depthwise._has_kernels(device, torch.bfloat16, (3, 3, 3))
    depthwise._triton_works.cache_clear()
    assert caplog.text.count("computed by torch, which is slower: Triton failed, ") == 1


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(
    ("dtype", "bound"),
    [(torch.float32, 1e-6), (torch.bfloat16, 5e-3), (torch.float16, 7e-4)],
    ids=str,
)
def test_on_a_gpu_the_kernels_are_the_convolution(case, dtype, bound):
    *tensors, gradient = inputs(case, dtype, "cuda")
    kernel = case[-1]
    exact = [tensor.double().cpu() for tensor in (*tensors, gradient)]
    expected = all_results(lambda *leaves: reference(*leaves, kernel), *exact)
    assert depthwise._has_kernels(tensors[0].device, dtype, kernel)
    found = all_results(lambda *leaves: depthwise_conv(*leaves, kernel), *tensors, gradient)
    again = all_results(lambda *leaves: depthwise_conv(*leaves, kernel), *tensors, gradient)
    assert found[0].is_contiguous() and {result.dtype for result in found} == {dtype}
    assert max(map(error, found, expected)) < bound
    assert all(map(torch.equal, found, again))


@pytest.mark.gpu
def test_on_a_gpu_autocast_and_compile_change_nothing_but_rounding():
    case = CASES[1]
    *tensors, gradient = inputs(case, torch.float32, "cuda")
    kernel = case[-1]
    exact = [tensor.double().cpu() for tensor in (*tensors, gradient)]
    expected = all_results(lambda *leaves: reference(*leaves, kernel), *exact)

    def convolve(*leaves):
        with torch.autocast("cuda", torch.bfloat16):
            return depthwise_conv(*leaves, kernel)

    for function in (convolve, torch.compile(convolve, fullgraph=True)):
        found = all_results(function, *tensors, gradient)
        assert [result.dtype for result in found] == [torch.bfloat16, *[torch.float32] * 3]
        assert max(map(error, found, expected)) < 5e-3


@pytest.mark.gpu
def test_on_a_gpu_what_the_kernels_do_not_take_goes_by_torch():
    """float64, and a kernel whose sums no program can hold."""
    for case, dtype in ((CASES[0], torch.float64), (((5, 6, 7), 8, (7, 7, 7)), torch.float32)):
        *tensors, gradient = inputs(case, dtype, "cuda")
        exact = [tensor.double().cpu() for tensor in (*tensors, gradient)]
        kernel = case[-1]
        expected = all_results(lambda *leaves, kernel=kernel: reference(*leaves, kernel), *exact)
        assert not depthwise._has_kernels(tensors[0].device, dtype, kernel)
        convolve = lambda *leaves, kernel=kernel: depthwise_conv(*leaves, kernel)  # noqa: E731
        assert max(map(error, all_results(convolve, *tensors, gradient), expected)) < 1e-5

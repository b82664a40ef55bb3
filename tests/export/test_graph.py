"""Every family as a graph: that ONNX Runtime answers as the model does, whatever the batch and the size."""

import pytest
import torch
from torch import nn

from tests.zoo.test_contract import CLASSES, FORMS, SMALL, inputs
from uniformer_video.errors import ConfigError
from uniformer_video.export.graph import to_onnx, trace, varying_sides
from uniformer_video.export.planes import Planes
from uniformer_video.models.inference_mode import for_inference
from uniformer_video.models.layers import Mlp
from uniformer_video.models.light import _part_of
from uniformer_video.models.peers import merge_positions
from uniformer_video.zoo.create import build_network
from uniformer_video.zoo.registry import find_model

runtime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
onnx = pytest.importorskip("onnx")
pytest.importorskip("pytorchvideo")

ONE_SIZE = {"mvit"}  # positional encodings are of the clip's size
FEW = ("uniformer_s", "x3d_xs", "image_uniformer_xxs")  # of those that take any size
# Their program, run by torch, wants more than one position in the last map; the ONNX file takes one too.
ONE_POSITION = {"x3d", "slow", "slowfast", "r2plus1d"}


def session(program, path, **options):
    """What runs the program's ONNX file on tensors."""
    to_onnx(program, path, input_name="clips", output_name="logits", **options)
    opened = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(opened.run(["logits"], {"clips": x.numpy()})[0])


def model_of(name, **options):
    torch.manual_seed(0)
    model = build_network(name, CLASSES, **{**SMALL[find_model(name).family.name], **options})
    for key, value in model.state_dict().items():
        if value.is_floating_point() and "weight" in key and not value.any():
            value.fill_(0.5)  # a zero scale would hide the branch behind it
    return for_inference(model)


def like(x, batch, taller=0, wider=0):
    shape = [batch, *x.shape[1:-2], x.shape[-2] + taller, x.shape[-1] + wider]
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def assert_same(found, expected):
    assert found.shape == expected.shape
    # logits of fresh heads are small, and differences of what they are sums of are not
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max() + 1e-6


def check(name, path, *, dynamic_size, **options):
    """The model, its program and its ONNX file agree on several batches, and sizes if they vary."""
    model, x = model_of(name, **options), inputs(name, batch=1)
    program = trace(model, x, dynamic_size=dynamic_size)
    sides = {x.dim() - 2, x.dim() - 1} if dynamic_size else set()
    assert set(varying_sides(program)) == {0, *sides}
    run, module = session(program, path), program.module()
    others = [like(x, 2, 32, 64), like(x, 3, 72, 44)] if dynamic_size else []
    for clips in (x, like(x, 3), *others):
        with torch.no_grad():
            expected = model(clips)
            assert expected.std() > 0
            assert_same(run(clips), expected)
            native = clips.shape[-2:] == x.shape[-2:]
            if not (dynamic_size and native and find_model(name).family.name in ONE_POSITION):
                assert_same(module(clips), expected)


@pytest.mark.slow
def test_a_light_model_for_any_batch(tmp_path):
    """It ranks its tokens, by a stable sort."""
    check("image_uniformer_xxs", tmp_path / "m.onnx", dynamic_size=False, depths=[1, 1, 2, 1])


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_every_family_for_any_batch(name, tmp_path):
    check(name, tmp_path / "m.onnx", dynamic_size=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", FEW)
def test_families_for_any_size(name, tmp_path):
    check(name, tmp_path / "m.onnx", dynamic_size=True)


def test_a_family_of_one_size_says_so():
    (name,) = [name for name in FORMS if find_model(name).family.name in ONE_SIZE]
    with pytest.raises(ConfigError, match="one size alone"):
        trace(model_of(name), inputs(name), dynamic_size=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", FEW)
def test_families_in_openvino(name):
    openvino = pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    model, x = model_of(name), inputs(name, batch=1)
    converted = openvino.convert_model(trace(model, x))
    run = openvino.compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for clips in (x, like(x, 3)):
        with torch.no_grad():
            assert_same(torch.from_numpy(run(clips.numpy())[0]), model(clips))


class Order(nn.Module):
    def forward(self, importance):
        return importance.argsort(dim=1, descending=True, stable=True)


def test_equal_values_stay_in_their_order(tmp_path):
    """As TopK of ONNX has it too: the lower index first."""
    run = session(trace(Order().eval(), torch.zeros(2, 300)), tmp_path / "m.onnx")
    values = torch.randint(0, 4, (3, 300), generator=torch.Generator().manual_seed(0)) / 3
    assert torch.equal(run(values), Order()(values))


@pytest.mark.parametrize("form, opset", [("none", 18), ("tanh", 18), ("none", 20)])
def test_a_gelu_is_one_operator_of_onnx_runtime(tmp_path, form, opset):
    """Written as a sum and products in another order, each is a pass over the largest tensor of a block."""
    model, x = nn.GELU(form).eval(), torch.linspace(-6, 6, 90).reshape(2, 45)
    to_onnx(trace(model, x), tmp_path / "m.onnx", opset)
    options = runtime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "as_run.onnx")
    options.log_severity_level = 3  # it warns that such a file is for this machine
    opened = runtime.InferenceSession(tmp_path / "m.onnx", options, ["CPUExecutionProvider"])
    assert_same(torch.from_numpy(opened.run(None, {"input": x.numpy()})[0]), model(x))
    operators = {node.op_type for node in onnx.load(tmp_path / "as_run.onnx").graph.node}
    assert form == "tanh" or operators == {"Gelu"}


def test_names_and_texts_of_the_file(tmp_path):
    path = tmp_path / "m.onnx"
    program = trace(nn.Conv2d(3, 2, 1).eval(), torch.zeros(1, 3, 8, 8), dynamic_size=True)
    names = {0: "batch", 2: "height", 3: "width"}
    run = session(program, path, opset=20, axes=names, metadata={"classes": "ä, b"})
    assert run(torch.zeros(4, 3, 5, 7)).shape == (4, 2, 5, 7)
    opened = runtime.InferenceSession(path)
    assert opened.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    assert opened.get_outputs()[0].shape == ["batch", 2, "height", "width"]
    assert opened.get_modelmeta().custom_metadata_map == {"classes": "ä, b"}
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]  # the weights are inside


def test_no_number_of_tokens_bounds_the_batch():
    program = trace(Mlp(4, 8, nn.Linear).eval(), torch.zeros(2, 100, 4))
    x = torch.randn(50, 100, 4)
    (batch,) = program.range_constraints.values()
    assert batch.upper > 10**6
    assert program.module()(x).shape == x.shape


def test_logits_of_one_position_and_of_several():
    """The graph for any size computes one position by the formula of several."""

    class Merge(nn.Module):
        def forward(self, logits):
            return merge_positions(logits)

    logits = torch.randn(2, 5, 1, 3, 4)
    program = trace(Merge().eval(), logits, dynamic_size=True)
    for shape in (logits.shape, (3, 5, 1, 2, 2)):
        some = torch.randn(shape)
        torch.testing.assert_close(program.module()(some), merge_positions(some))


@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.5, 0.7, 0.29, 1.0])
def test_the_share_of_kept_tokens(ratio):
    assert [_part_of(count, ratio) for count in range(3000)] == [
        int(count * ratio) for count in range(3000)
    ]


class Fixed(nn.Module):
    def forward(self, x):
        return x * sum(range(x.shape[-1]))


class SaysSo(nn.Module):
    def forward(self, x):
        if x.shape[-1] != 4:
            raise ConfigError("the model was built for 4 pixels a side")
        return x


def test_models_that_cannot_be_traced():
    x = torch.zeros(1, 3, 2, 2)
    with pytest.raises(ConfigError, match="evaluation mode"):
        trace(Fixed(), x)
    with pytest.raises(ConfigError, match="one width alone"):
        trace(Fixed().eval(), x, dynamic_size=True)
    with pytest.raises(ConfigError, match="one size alone: the model was built for 4 pixels"):
        trace(SaysSo().eval(), torch.zeros(1, 3, 4, 4), dynamic_size=True)


class Depthwise(nn.Module):
    """A depthwise convolution in three dimensions, of maps with their channels last or first."""

    def __init__(self, channels_last, kernel, stride=1, bias=True):
        super().__init__()
        self.channels_last = channels_last
        padding = tuple(side // 2 for side in kernel)
        self.layer = nn.Conv3d(6, 6, kernel, (1, stride, stride), padding, groups=6, bias=bias)

    def forward(self, maps):
        if self.channels_last:
            return self.layer(maps.movedim(-1, 1)).movedim(1, -1)
        return self.layer(maps)


def kernels_of(path):
    """How many sides the kernel of each of a file's convolutions has."""
    nodes = [node for node in onnx.load(path).graph.node if node.op_type == "Conv"]
    pads = [each.ints for node in nodes for each in node.attribute if each.name == "pads"]
    return [len(each) // 2 for each in pads]


@pytest.mark.parametrize(
    "channels_last, kernel, stride, dynamic_size",
    [
        (True, (3, 3, 3), 1, False),
        (True, (9, 3, 5), 2, True),
        (False, (3, 3, 5), 2, False),
        (False, (5, 3, 3), 1, True),
        (False, (1, 3, 3), 1, False),
    ],
)
def test_a_depthwise_convolution_is_a_sum_of_planes(
    tmp_path, channels_last, kernel, stride, dynamic_size
):
    torch.manual_seed(0)
    model = Depthwise(channels_last, kernel, stride, bias=stride == 1).eval()
    shape = [2, 4, 9, 7, 6] if channels_last else [2, 6, 4, 9, 7]
    sides = (2, 3) if channels_last else (3, 4)
    program = trace(model, torch.zeros(shape), dynamic_size=dynamic_size, sides=sides)
    run = session(program, tmp_path / "m.onnx")
    for batch, more in ((1, 0), (3, 2 * dynamic_size)):
        shape[0], shape[sides[0]] = batch, shape[sides[0]] + more
        maps = torch.randn(shape)
        with torch.no_grad():
            assert_same(run(maps), model(maps))
    in_reach = min(kernel[0], 2 * 4 - 1)  # the outermost of 9 planes meet none of 4 frames
    assert kernels_of(tmp_path / "m.onnx") == [2] * in_reach


class Convolutions(nn.Module):
    """Depthwise with channels last and first, of time alone, with fewer frames out; and a usual one."""

    def __init__(self):
        super().__init__()
        self.last, self.first = (nn.Conv3d(32, 32, 3, padding=1, groups=32) for _ in range(2))
        self.time = nn.Conv3d(32, 32, (3, 1, 1), padding=(1, 0, 0), groups=32)
        self.shorter = nn.Conv3d(32, 32, 3, (2, 1, 1), 1, groups=32)
        self.mixing = nn.Conv3d(32, 4, 3, padding=1)

    def forward(self, tokens):
        maps = self.last(tokens.movedim(-1, 1)).relu()
        return self.mixing(self.shorter(self.time(self.first(maps))))


def test_which_convolutions_are_planes_and_that_the_file_is_no_larger(tmp_path):
    torch.manual_seed(0)
    model, tokens = Convolutions().eval(), torch.randn(2, 16, 6, 6, 32)
    program, sizes = trace(model, tokens), {}
    for planes, in_2d in ((Planes.ALL, 6), (Planes.LAST, 3), (Planes.NONE, 0)):
        path = tmp_path / f"{planes.name}.onnx"
        with torch.no_grad():
            assert_same(session(program, path, planes=planes)(tokens), model(tokens))
        kept = 5 - in_2d // 3
        assert sorted(kernels_of(path)) == [2] * in_2d + [3] * kept
        sizes[planes] = path.stat().st_size
    # what repeats the weights for 16 frames is in the graph; 3456 bytes are those of one layer
    assert sizes[Planes.ALL] - sizes[Planes.NONE] < 16 * 3456


class WithoutBatch(nn.Module):
    """The same convolution of `[C, T, H, W]`, by lists of one number for all axes."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 1, 3, 3, 3))

    def forward(self, maps):
        return nn.functional.conv3d(maps[0], self.weight, stride=[1], padding=[1], groups=6)[None]


@pytest.mark.parametrize("planes", [Planes.ALL, Planes.NONE])
def test_a_convolution_without_a_batch_and_with_one_number_for_all_axes(tmp_path, planes):
    torch.manual_seed(0)
    model, maps = WithoutBatch().eval(), torch.randn(1, 6, 4, 7, 5)
    program = trace(model, maps, dynamic_batch=False)
    with torch.no_grad():
        assert_same(session(program, tmp_path / "m.onnx", planes=planes)(maps), model(maps))
    onnx.checker.check_model(onnx.load(tmp_path / "m.onnx"), full_check=True)

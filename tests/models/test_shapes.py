"""Networks without memory."""

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from uniformer_video.models.shapes import shapes_only
from uniformer_video.zoo.create import build_network


class Asked(TorchDispatchMode):
    """The names of the operators that torch is asked for."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_nothing_is_drawn_and_every_shape_is_there():
    name, options = "upernet_uniformer_s", {"embed_dims": [8, 8, 16, 16], "head_dim": 8}
    before = torch.get_rng_state()
    with Asked() as asked, shapes_only():
        model = build_network(name, 3, **options)
    assert not {"normal_", "uniform_"} & asked.names
    assert torch.equal(torch.get_rng_state(), before)
    assert all(tensor.is_meta for tensor in model.state_dict().values())
    real = build_network(name, 3, **options)
    assert {key: value.shape for key, value in model.state_dict().items()} == {
        key: value.shape for key, value in real.state_dict().items()
    }


def test_a_tensor_with_memory_is_filled():
    with shapes_only():
        ones = nn.init.ones_(torch.empty(2, device="cpu"))
        drawn = torch.zeros(8, device="cpu").normal_()
        named = nn.init.normal_(tensor=torch.zeros(8, device="cpu"))
    assert ones.tolist() == [1, 1]
    assert drawn.any() and named.any()


def test_afterwards_initial_values_are_drawn():
    with shapes_only():
        nn.Linear(2, 2)
    assert nn.Linear(2, 2).weight.any()

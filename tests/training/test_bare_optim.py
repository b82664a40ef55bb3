"""Optimisers without torch's wrappers for its compiler."""

import copy

import pytest
import torch

from uniformer_video.training import bare_optim


@pytest.mark.parametrize(
    ("name", "settings"),
    [("AdamW", {"weight_decay": 0.1}), ("SGD", {"momentum": 0.9, "nesterov": True})],
)
def test_they_are_torchs_own_to_the_bit(name, settings):
    """Through steps, a state that is saved and loaded, and gradients that are cleared."""
    torch.manual_seed(0)
    first = torch.nn.Linear(4, 3)
    results = []
    for module in (torch.optim, bare_optim):
        layer = copy.deepcopy(first)
        kind = getattr(module, name)
        optimizer = kind(layer.parameters(), lr=0.1, fused=True, **settings)
        hooked = []
        optimizer.register_step_post_hook(lambda *_: hooked.append(1))  # noqa: B023
        for step in range(4):
            if step == 2:
                state = copy.deepcopy(optimizer.state_dict())
                optimizer = kind(layer.parameters(), lr=0.0, fused=True, **settings)
                optimizer.load_state_dict(state)
            layer(torch.full((2, 4), step + 1.0)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            assert all(parameter.grad is None for parameter in layer.parameters())
        assert len(hooked) == 2 and isinstance(optimizer, getattr(torch.optim, name))
        results.append(torch.cat([one.detach().ravel() for one in layer.parameters()]))
    assert torch.equal(*results) and not torch.equal(results[0][:12], first.weight.ravel())

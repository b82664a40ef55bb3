"""torch's AdamW and SGD without the wrappers that import the compiler.

Making or stepping an optimiser of torch's imports `torch._dynamo` and with it sympy, 65 MB and a second of
the processor, also in a run that compiles nothing: its methods are wrapped for the case that they are
compiled, which no training does here (of a compiled training the model is). Below the wrappers lie the same
methods, and the numbers are the same.
"""

from collections.abc import Callable
from inspect import unwrap
from typing import Any, TypeVar

import torch

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _bare(method: _Method) -> _Method:
    found: _Method = unwrap(method)
    return found


class _Bare(torch.optim.Optimizer):
    add_param_group = _bare(torch.optim.Optimizer.add_param_group)
    zero_grad = _bare(torch.optim.Optimizer.zero_grad)
    state_dict = _bare(torch.optim.Optimizer.state_dict)
    load_state_dict = _bare(torch.optim.Optimizer.load_state_dict)


class AdamW(_Bare, torch.optim.AdamW):
    """`torch.optim.AdamW`, its steps outside of the graph of gradients (not `differentiable`)."""

    step = torch.no_grad()(_bare(torch.optim.AdamW.step))


class SGD(_Bare, torch.optim.SGD):
    """`torch.optim.SGD`, its steps outside of the graph of gradients (not `differentiable`)."""

    step = torch.no_grad()(_bare(torch.optim.SGD.step))

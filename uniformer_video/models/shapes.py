"""Networks of which only the shapes are asked for."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

# Without memory, torch has no kernel for the first: it would load its compiler, in seconds, for the shape.
_DRAWS = frozenset({torch.Tensor.normal_, torch.Tensor.uniform_})


class _NothingFilled(TorchFunctionMode):
    """A tensor without memory that is to be initialised stays as it is."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _DRAWS or getattr(func, "__module__", "") == nn.init.__name__:
            filled = args[0] if args else kwargs["tensor"]
            if filled.is_meta:
                return filled
        return func(*args, **kwargs)


@contextmanager
def shapes_only() -> Iterator[None]:
    """What is built inside has shapes and no memory, as on torch's device "meta", without its detours.

    Initial values are neither drawn nor held, so the generators of random numbers stay where they are.
    """
    with torch.device("meta"), _NothingFilled():
        yield

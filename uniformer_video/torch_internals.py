"""What this package takes from torch beside its documented interface, and whether this torch still has it.

`setup.py` bounds torch for its sake. Each entry says in words what is relied on. The checks take
milliseconds, so that a run says in one line what another torch lacks, in place of a traceback or, worse,
of workers that nobody watches.
"""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature, unwrap
from pathlib import Path
from typing import Any

import torch

from uniformer_video.errors import MissingLibraryError

# From the first that reads weights safely to the last that was tested; as in `setup.py`.
TORCH_RANGE = ">=2.6,<2.14"


@dataclass(frozen=True)
class Internal:
    """relied_on: what is relied on, in words. used_by: the module that does. holds: whether it is so."""

    relied_on: str
    used_by: str
    holds: Callable[[], bool]


def _iterator() -> Any:
    return torch.utils.data.dataloader._MultiProcessingDataLoaderIter


def _names(function: Callable[..., Any]) -> set[str]:
    """The attributes and texts in a function's code."""
    code = unwrap(function).__code__  # torch.compile wraps the methods of optimisers
    texts = [constant for constant in code.co_consts if isinstance(constant, str)]
    return {*code.co_names, *texts}


def _has_workers() -> bool:
    return {"_workers", "_workers_done_event"} <= _names(_iterator().__init__)


def _has_pinning_thread() -> bool:
    return "_pin_memory_thread" in _names(_iterator().__init__)


def _tells_the_processes() -> bool:
    tell = torch.utils.data._utils.signal_handling._set_worker_pids
    return callable(tell) and "_set_worker_pids" in _names(_iterator().__init__)


def _shuts_down() -> bool:
    done = _names(_iterator()._shutdown_workers)
    return (
        len(signature(_iterator()._shutdown_workers).parameters) == 1
        and "_workers_done_event" in done
    )


def _says_that_it_waited() -> bool:
    return any(text.startswith("DataLoader timed out") for text in _names(_iterator()._get_data))


def _says_that_it_caught() -> bool:
    return any(text.startswith("Caught ") for text in _names(torch._utils.ExceptionWrapper.reraise))


def _are_batch_norms() -> bool:
    base = torch.nn.modules.batchnorm._BatchNorm
    kinds = (
        torch.nn.BatchNorm1d,
        torch.nn.BatchNorm2d,
        torch.nn.BatchNorm3d,
        torch.nn.SyncBatchNorm,
    )
    return all(issubclass(kind, base) for kind in kinds)


def _asks_for_the_shape() -> bool:
    return "_check_input_dim" in _names(torch.nn.modules.batchnorm._BatchNorm.forward)


def _hides_buffers() -> bool:
    layer = torch.nn.BatchNorm1d(1)
    vars(layer)["running_mean"] = hidden = torch.zeros(1)
    layer(torch.ones(2, 1))
    return bool(hidden > 0) and bool(layer._buffers["running_mean"] == 0)


def _takes_a_flag() -> bool:
    # whether a step is then left out is for a test to say: making an optimiser takes a second
    from torch.optim.adam import adam

    return "found_inf" in signature(adam).parameters


def _takes_a_flag_too() -> bool:
    from torch.optim.sgd import sgd

    return "found_inf" in signature(sgd).parameters


def _keeps_a_buffer_that_is_there() -> bool:
    return "momentum_buffer" in _names(torch.optim.SGD._init_group)


def _steps_below_their_wrappers() -> bool:
    steps: dict[str, Callable[..., Any]] = {
        "adam": torch.optim.Adam.step,
        "sgd": torch.optim.SGD.step,
    }
    return all({"_init_group", function} <= _names(step) for function, step in steps.items())


def _keeps_buffers_apart() -> bool:
    known = signature(torch.nn.parallel.DistributedDataParallel).parameters
    return "forward_sync_buffers" in known or "broadcast_buffers" in known


def _meets() -> bool:
    from torch.distributed.rendezvous import rendezvous

    return {"url", "rank", "world_size"} <= set(signature(rendezvous).parameters)


def _marks_constants() -> bool:
    # read, as to import it takes a second
    text = Path(torch.__file__).with_name("_dynamo") / "decorators.py"
    return "._dynamo_marked_constant = True" in text.read_text(errors="replace")


def _turns_gradients_of_a_softmax() -> bool:
    weights, gradient = torch.tensor([0.25, 0.75]), torch.tensor([4.0, 0.0])
    turn = torch.ops.aten._softmax_backward_data.out
    turn(gradient, weights, -1, weights.dtype, grad_input=gradient)  # in place, as it is used
    return gradient.tolist() == [0.75, -0.75]


_WORKERS, _STATISTICS = "data.loading.workers", "training.batch_statistics"
INTERNALS = (
    Internal(
        "a DataLoader's iterator lists its worker processes in `_workers`", _WORKERS, _has_workers
    ),
    Internal("its thread for pinned memory is `_pin_memory_thread`", _WORKERS, _has_pinning_thread),
    Internal(
        "torch raises for the dead of the processes that `signal_handling._set_worker_pids` is told",
        _WORKERS,
        _tells_the_processes,
    ),
    Internal("`_shutdown_workers` ends it, by way of `_workers_done_event`", _WORKERS, _shuts_down),
    Internal("it says `DataLoader timed out`", _WORKERS, _says_that_it_waited),
    Internal("a worker's own error begins with `Caught `", _WORKERS, _says_that_it_caught),
    Internal("all batch norms are `_BatchNorm`s", _STATISTICS, _are_batch_norms),
    Internal("an attribute of a layer hides its buffer of that name", _STATISTICS, _hides_buffers),
    Internal(
        "`_BatchNorm` asks `_check_input_dim` what it may take",
        "models.layers",
        _asks_for_the_shape,
    ),
    Internal(
        "the compiler takes for constant what a function with `_dynamo_marked_constant` answers",
        "models.depthwise",
        _marks_constants,
    ),
    Internal(
        "`_softmax_backward_data` gives the gradient of a softmax, in place too",
        "models.attention",
        _turns_gradients_of_a_softmax,
    ),
    Internal("AdamW's fused step can be left out by `found_inf`", "training.optim", _takes_a_flag),
    Internal("SGD's too", "training.optim", _takes_a_flag_too),
    Internal(
        "SGD goes on from a `momentum_buffer` that it has",
        "training.optim",
        _keeps_a_buffer_that_is_there,
    ),
    Internal(
        "below the wrappers of `Adam.step` and `SGD.step` lies the step itself",
        "training.bare_optim",
        _steps_below_their_wrappers,
    ),
    Internal(
        "DistributedDataParallel can leave each process its own buffers",
        "distributed.ranks",
        _keeps_buffers_apart,
    ),
    Internal("`rendezvous` makes a store of an address", "distributed.ranks", _meets),
)


def lacking() -> list[Internal]:
    """What this torch does otherwise."""
    return [internal for internal in INTERNALS if not _is_there(internal)]


def _is_there(internal: Internal) -> bool:
    try:
        return internal.holds()
    except (AttributeError, ImportError, OSError, TypeError, RuntimeError):
        return False


def check_torch() -> None:
    """Raise `MissingLibraryError`, on one line, where this torch lacks something."""
    if gone := lacking():
        words = "; ".join(f"{internal.relied_on} ({internal.used_by})" for internal in gone)
        raise MissingLibraryError(
            f"torch {torch.__version__} lacks what uniformer-video relies on: {words}; install a torch that "
            f"it was tested with: pip install 'torch{TORCH_RANGE}'"
        )

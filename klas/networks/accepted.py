"""What a network must not be wrapped in or converted to before it is cut."""

import torch
from torch import nn
from torch._dynamo import OptimizedModule
from torch.nn.parallel import DataParallel, DistributedDataParallel

from klas.errors import AnchorError


def refuse_wrapped(model: nn.Module, name: str) -> None:
    """Refuse a network whose code can't be followed or that is not in single precision.

    Args:
        model: the network, which may hold such modules within.
        name: what the error calls it.

    Raises:
        AnchorError: it is parallel, compiled, scripted, or not in float32; the sentence says what
            to pass instead.

    Examples:
        >>> refuse_wrapped(nn.DataParallel(nn.Linear(2, 2)), "mine")
        Traceback (most recent call last):
            ...
        klas.errors.AnchorError: mine: it is a DataParallel; pass its .module instead
    """
    for path, module in model.named_modules():
        what = f"{name}: {f'its {path!r}' if path else 'it'} is"
        if isinstance(module, DataParallel | DistributedDataParallel):
            raise AnchorError(f"{what} a {type(module).__name__}; pass its .module instead")
        if isinstance(module, OptimizedModule):
            raise AnchorError(
                f"{what} compiled by torch.compile; pass its ._orig_mod, the network before that"
            )
        if module._compiled_call_impl is not None:
            raise AnchorError(f"{what} compiled in place; pass the network before .compile()")
        if isinstance(module, torch.jit.ScriptModule):
            raise AnchorError(
                f"{what} a TorchScript module; pass the nn.Module before torch.jit.script or trace"
            )
    for path, parameter in model.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            kind = str(parameter.dtype).removeprefix("torch.")
            raise AnchorError(
                f"{name}: its {path!r} is {kind}; pass the network in single precision "
                "(.float()); forward passes then have the study's precision"
            )

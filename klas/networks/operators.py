"""How many multiply–accumulates (MACs) an operator does, and which operators say nothing about it.

By the papers' convention, products that are summed count: matrix products, convolutions,
attention. Pointwise operators, reductions, norms, pooling, resizing and sampling, and whatever
only moves values count nothing. Most formulas are torch's own. Operators outside torch, and those
of torch that multiply and accumulate in a way for which no formula is usual (Fourier transforms,
decompositions, distances), are named, so that a count can say that it is a lower bound.
"""

import re
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

_TORCHS = ("aten", "prims", "prim")  # the namespaces of operators that torch has itself

# Parts of names of torch's operators that multiply and accumulate.
_PRODUCT = re.compile(
    r"(^|_)(\w*mm|\w*mv|dot|vdot|conv\w*|convolution|linear|trilinear|matmul|gemm|\w*attention"
    r"|lstm|gru|rnn|encoder|fft|linalg|cholesky|geqrf|ormqr|matrix|solve|spsolve|inverse"
    r"|cdist|pdist|euclidean)(_|$)"
)
# Those among them that compute norms, indices or checks, or move values.
_NO_PRODUCT = re.compile(
    r"^(_thnn_fused_\w+_cell|linalg_(vector_norm|cross|_powsum)|_linalg_check_errors|lu_unpack"
    r"|slice_inverse|matrix_H|fft_r?fftfreq|_cudnn_rnn_flatten_weight|_?\w*convert_\w+"
    r"|mkldnn_reorder_\w+)$"
)

Rule = Callable[[Sequence[Any], Tensor], int]
"""MACs from an operator's arguments and its output."""


def _deformable_convolution(args: Sequence[Any], output: Tensor) -> int:
    """As any convolution; where it samples its input is interpolation, which counts nothing."""
    weight = args[1]  # (C_out, C_in / groups, height, width)
    batch, _, *grid = output.shape
    return int(batch * prod(grid) * weight.numel())


def _sequence_convolution(args: Sequence[Any], output: Tensor) -> int:
    length, batch, _ = output.shape
    return int(length * batch * args[1].numel())  # the weight is (width, C_in, C_out)


def _trilinear(args: Sequence[Any], output: Tensor) -> int:
    """As ``einsum`` does it: the first two tensors, then their product with the third."""
    tensors, expanded, summed = args[:3], args[3:6], args[6]
    shapes = [list(tensor.shape) for tensor in tensors]
    for shape, places in zip(shapes, expanded, strict=True):
        for place in sorted(places):
            shape.insert(place, 1)
    sizes = [max(size) for size in zip(*shapes, strict=True)]
    first: int = prod(sizes)
    return first + first // int(prod(sizes[d] for d in summed if d in expanded[2]))


def _matrix_product(first: int) -> Rule:
    """Of the arguments ``first`` and ``first + 1``, matrices or stacks of them."""
    return lambda args, output: int(args[first].numel() * args[first + 1].shape[-1])


def _all_of(place: int) -> Rule:
    """One MAC for every entry of an argument."""
    return lambda args, output: int(args[place].numel())


# Formulas that torch lacks. An operator that works in place has the name of the other one and "_".
_RULES: dict[str, Rule] = {
    "aten::addmm": _matrix_product(1),
    "aten::addbmm": _matrix_product(1),
    "aten::baddbmm": _matrix_product(1),
    "aten::_addmm_activation": _matrix_product(1),
    "aten::_int_mm": _matrix_product(0),
    "aten::mv": _all_of(0),
    "aten::addmv": _all_of(1),
    "aten::dot": _all_of(0),
    "aten::vdot": _all_of(0),
    "aten::conv_tbc": _sequence_convolution,
    "aten::_trilinear": _trilinear,
    "torchvision::deform_conv2d": _deformable_convolution,
}


class NoFakeKernelError(Exception):
    """An operator does not run on tensors without content; the message is a clause that says so."""

    def __init__(self, operator: str) -> None:
        super().__init__(
            f"its operator {operator} does not run on tensors without content, on which networks "
            "are cut and counted; give it a fake kernel (torch.library.register_fake)"
        )


class MacCounter(TorchDispatchMode):
    """Counts what runs inside it.

    Attributes:
        macs: of the operators that have a formula.
        uncounted: names of those that may do MACs and have none, such as ``mine::mix``. A formula
            given to torch by ``torch.utils.flop_counter.register_flop_formula`` is used.

    Raises (while something runs inside it):
        NoFakeKernelError: an operator has no kernel for the tensors that it is given.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0
        self.uncounted: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and count it, or count the operators that it consists of."""
        kwargs = kwargs or {}
        packet = getattr(func, "_overloadpacket", func)  # one of higher order has no overloads
        flops = flop_registry.get(packet)
        rule = None if flops is not None else _RULES.get(_name(func).removesuffix("_"))
        if flops is None and rule is None and isinstance(func, torch._ops.OpOverload):
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        try:
            output = func(*args, **kwargs)
        except Exception as error:  # a kernel of the user's may raise anything
            own = _name(func).partition("::")[0] not in _TORCHS
            if own or isinstance(error, NotImplementedError):
                raise NoFakeKernelError(_name(func)) from None
            raise
        if flops is not None:
            self.macs += flops(*args, **kwargs, out_val=output) // 2
        elif rule is not None:
            self.macs += rule(args, output)
        elif may_multiply(_name(func)):
            self.uncounted.add(_name(func))
        return output


def may_multiply(operator: str) -> bool:
    """Whether an operator that has no formula may do MACs.

    Args:
        operator: its name with its namespace.

    Examples:
        >>> may_multiply("aten::relu"), may_multiply("aten::_fft_r2c"), may_multiply("mine::mix")
        (False, True, True)
    """
    namespace, _, name = operator.partition("::")
    if namespace not in _TORCHS:
        return True
    return _PRODUCT.search(name) is not None and _NO_PRODUCT.match(name) is None


def _name(func: Any) -> str:
    if isinstance(func, torch._ops.OpOverload):
        return str(func._schema.name)
    return f"{func.namespace}::{func._name}" if hasattr(func, "namespace") else str(func)

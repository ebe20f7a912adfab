"""What counts as multiply–accumulates: by kind, each against its closed form."""

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode, flop_registry, register_flop_formula
from torchvision.ops import DeformConv2d

from klas.errors import AnchorError
from klas.networks.cost import anchor_cost, count_macs
from klas.networks.load import load_anchor
from klas.networks.operators import MacCounter, may_multiply
from klas.study import AnchorSpec
from tests.networks import nets


class Call(nn.Module):
    """A network of one function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def t(*shape, dtype=None):
    return torch.empty(*shape, device="meta", dtype=dtype)


def counted(function, *inputs):
    count = count_macs(Call(function), *inputs)
    return count.macs, count.uncounted


def attention(**options):
    return lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, **options)


Q, K = (2, 5, 8), (2, 7, 8)
ATTENTION = 2 * 5 * 7 * (8 + 8)

PRODUCTS = {
    "matrix and vector": (torch.mv, [t(3, 5), t(5)], 15),
    "stack and vector": (torch.matmul, [t(2, 3, 5), t(5)], 30),
    "two vectors": (torch.dot, [t(5), t(5)], 5),
    "added matrix and vector": (torch.addmv, [t(3), t(3, 5), t(5)], 15),
    "summed stacks": (torch.addbmm, [t(3, 4), t(2, 3, 5), t(2, 5, 4)], 120),
    "in place": (lambda a, b, c: a.addmm_(b, c), [t(3, 4), t(3, 5), t(5, 4)], 60),
    "stacks in place": (
        lambda a, b, c: a.baddbmm_(b, c),
        [t(2, 3, 4), t(2, 3, 5), t(2, 5, 4)],
        120,
    ),
    "activated": (torch._addmm_activation, [t(4), t(3, 5), t(5, 4)], 60),
    "integers": (torch._int_mm, [t(32, 16, dtype=torch.int8), t(16, 8, dtype=torch.int8)], 4096),
    "bilinear": (functional.bilinear, [t(2, 3), t(2, 4), t(5, 3, 4)], 2 * 5 * 3 * 4 + 2 * 5 * 4),
    "einsum": (lambda a, b: torch.einsum("bij,bkj->bik", a, b), [t(2, 3, 5), t(2, 4, 5)], 120),
    "tensordot": (lambda a, b: torch.tensordot(a, b, 1), [t(2, 3), t(3, 4)], 24),
    "inner": (torch.inner, [t(2, 3), t(4, 3)], 24),
    "chain": (lambda *m: torch.linalg.multi_dot(m), [t(2, 3), t(3, 4), t(4, 5)], 24 + 40),
    "groups": (
        lambda x, w: functional.conv1d(x, w, groups=2),
        [t(1, 4, 9), t(6, 2, 3)],
        7 * 6 * 2 * 3,
    ),
    "transposed": (
        lambda x, w: functional.conv_transpose2d(x, w, stride=2),
        [t(1, 4, 5, 5), t(4, 6, 2, 2)],
        25 * 4 * 6 * 4,
    ),
    "time, batch, channels": (torch.conv_tbc, [t(9, 1, 3), t(3, 3, 5), t(5)], 7 * 3 * 3 * 5),
    "attention": (attention(), [t(*Q), t(*K), t(*K)], ATTENTION),
    "one head": (attention(), [t(5, 8), t(7, 8), t(7, 8)], ATTENTION // 2),
    "odd widths": (attention(), [t(2, 5, 7), t(2, 9, 7), t(2, 9, 3)], 2 * 5 * 9 * (7 + 3)),
    "masked": (attention(attn_mask=t(5, 7)), [t(1, *Q), t(1, *K), t(1, *K)], ATTENTION),
    "causal": (attention(is_causal=True), [t(1, *Q)] * 3, 2 * 5 * 5 * 16),
    "grouped": (attention(enable_gqa=True), [t(1, 4, 5, 8), t(1, *K), t(1, *K)], 2 * ATTENTION),
    "bfloat16": (attention(), [t(1, *s, dtype=torch.bfloat16) for s in (Q, K, K)], ATTENTION),
    "multi-head": (
        lambda x: nn.MultiheadAttention(8, 2, device="meta").eval()(x, x, x)[0],
        [t(5, 1, 8)],
        4 * 5 * 8 * 8 + 2 * 5 * 5 * 8,
    ),
    "lstm": (lambda x: nn.LSTM(3, 4, device="meta")(x)[0], [t(7, 1, 3)], 7 * 4 * 4 * (3 + 4)),
    "gru": (lambda x: nn.GRU(3, 4, device="meta")(x)[0], [t(7, 1, 3)], 7 * 3 * 4 * (3 + 4)),
}


@pytest.mark.parametrize("kind", PRODUCTS)
def test_products_that_are_summed_count(kind):
    function, inputs, macs = PRODUCTS[kind]
    assert counted(function, *inputs) == (macs, ())


@pytest.mark.parametrize(
    ("options", "offsets", "macs"),
    [
        ({"padding": 1}, (18, 8, 8), 9216),
        ({}, (18, 6, 6), 5184),
        ({"stride": 2, "padding": 1}, (18, 4, 4), 2304),
        ({"groups": 2, "padding": 1}, (36, 8, 8), 4608),
    ],
)
def test_a_deformable_convolution_costs_what_a_plain_one_does(options, offsets, macs):
    count = count_macs(DeformConv2d(4, 4, 3, **options), t(1, 4, 8, 8), t(1, *offsets))
    assert (count.macs, count.uncounted) == (macs, ())
    plain = count_macs(nn.Conv2d(4, 4, 3, **options), t(1, 4, 8, 8))
    assert plain.macs == macs


FREE = {
    "pointwise": lambda x: functional.gelu(x) * x + x.exp(),
    "reductions": lambda x: x.softmax(1).cumsum(1).var(2),
    "norms": lambda x: functional.layer_norm(x, x.shape[2:]) / x.norm(dim=1, keepdim=True),
    "pooling": lambda x: functional.avg_pool2d(functional.adaptive_max_pool2d(x, 4), 2),
    "resizing": lambda x: functional.interpolate(x, scale_factor=2, mode="bicubic"),
    "sampling": lambda x: functional.grid_sample(x, t(1, 5, 5, 2), align_corners=False),
    "moving": lambda x: (
        functional.fold(functional.unfold(x, 2), 8, 2).roll(1, 2).flip(3)[:, [0, 2]]
    ),
    "sorting": lambda x: x.flatten(1).sort(1)[0].topk(3)[0],
}


@pytest.mark.parametrize("kind", FREE)
def test_what_the_papers_do_not_count_costs_nothing(kind):
    assert counted(FREE[kind], t(1, 3, 8, 8)) == (0, ())


WITHOUT_FORMULA = {
    "aten::_fft_r2c": torch.fft.rfft2,
    "aten::_cdist_forward": lambda x: torch.cdist(x, x),
    "aten::_euclidean_dist": lambda x: torch.cdist(x.expand(40, 40), x.expand(40, 40)),
    "aten::_pdist_forward": torch.pdist,
    "aten::linalg_inv_ex": torch.linalg.inv,
    "aten::linalg_qr": lambda x: torch.linalg.qr(x)[0],
    "aten::_linalg_svd": lambda x: torch.linalg.svd(x)[0],
    "aten::_linalg_eigh": lambda x: torch.linalg.eigh(x)[0],
    "aten::_linalg_solve_ex": lambda x: torch.linalg.solve(x, x),
    "aten::linalg_cholesky_ex": torch.linalg.cholesky,
    "aten::linalg_matrix_exp": torch.matrix_exp,
}


@pytest.mark.parametrize("operator", WITHOUT_FORMULA)
def test_what_has_no_formula_is_named(operator):
    shape = (40, 1) if "euclidean" in operator else (4, 4)
    assert counted(WITHOUT_FORMULA[operator], t(*shape)) == (0, (operator,))


def test_no_operator_of_torch_multiplies_unseen():
    """Of all that torch has, by name: a new one of these kinds is not free either."""
    schemas = {schema.name for schema in torch._C._jit_get_all_schemas()}
    kinds = ("_mm", "conv", "attention", "linalg", "rnn", "_fft_")
    alike = {n for n in schemas if n.startswith("aten::") and any(k in n for k in kinds)}
    free = {n.removeprefix("aten::") for n in alike if not may_multiply(n)}
    free -= {n for n in free if "_backward" in n or "linalg_vector_norm" in n or "fft_shift" in n}
    assert {"linalg_cross", "_linalg_check_errors"} <= free
    harmless = ("norm", "cross", "check", "convert", "reorder", "flatten", "_powsum", "fftfreq")
    assert not {n for n in free if not any(word in n for word in harmless)}


torch.library.define("klas_test::mix", "(Tensor x) -> Tensor")
torch.library.define("klas_test::mix_maps", "(Tensor x) -> Tensor")
torch.library.define("klas_test::halves", "(Tensor x) -> Tensor")


@torch.library.impl("klas_test::mix", "CPU")
def _mix(x):
    return x @ x.mT


@torch.library.register_fake("klas_test::mix")
def _mix_fake(x):
    return x.new_empty(*x.shape[:-1], x.shape[-2])


@torch.library.register_fake("klas_test::mix_maps")
def _mix_maps_fake(x):
    return torch.empty_like(x)


@torch.library.impl("klas_test::halves", "CompositeImplicitAutograd")
def _halves(x):
    return x @ x.mT / 2


def test_an_operator_of_the_users_is_named():
    assert counted(torch.ops.klas_test.mix, t(3, 4)) == (0, ("klas_test::mix",))
    mixed = lambda x: torch.ops.klas_test.mix(x) @ t(3, 5)  # noqa: E731
    assert counted(mixed, t(3, 4)) == (3 * 3 * 5, ("klas_test::mix",))


def test_an_operator_that_consists_of_torchs_own_is_counted():
    assert counted(torch.ops.klas_test.halves, t(3, 4)) == (36, ())


def test_an_operator_that_torch_was_given_a_formula_for_is_counted():
    packet = torch.ops.klas_test.mix
    register_flop_formula(packet)(lambda shape, *, out_shape=None: 2 * shape[0] ** 2 * shape[1])
    try:
        assert counted(packet, t(3, 4)) == (36, ())
    finally:
        del flop_registry[packet]


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext", "levit_128s"])
def test_networks_count_as_they_do_in_torchs_own_counter(name):
    with torch.device("meta"), torch.no_grad():
        model = timm.create_model(name).eval()
        image = torch.empty(1, *model.pretrained_cfg["input_size"])
        with FlopCounterMode(display=False) as theirs:
            model(image)
        with MacCounter() as ours:
            model(image)
    assert ours.macs == theirs.get_total_flops() // 2 > 0
    assert not ours.uncounted


torch.library.define("klas_test::without_fake", "(Tensor x) -> Tensor")
torch.library.impl("klas_test::without_fake", "CPU")(lambda x: x + 1)


@torch.library.custom_op("klas_test::custom", mutates_args=())
def _custom(x: torch.Tensor) -> torch.Tensor:
    return x + 1


class Custom(nets.Block):
    def __init__(self, operator):
        super().__init__(8)
        self.operator = operator

    def forward(self, x):
        return self.operator(super().forward(x))


def of_custom(operator):
    network = nets.Plain()
    network.layers = nn.ModuleList([Custom(operator) for _ in range(3)])
    network.pretrained_cfg = {"input_size": (3, 16, 16)}
    return network


def without_fake():
    return of_custom(torch.ops.klas_test.without_fake)


def custom():
    return of_custom(_custom)


def of_torch():
    return of_custom(lambda x: torch.linalg.lstsq(x, x)[0])


@pytest.mark.parametrize(
    ("factory", "operator"),
    [
        ("without_fake", "klas_test::without_fake"),
        ("custom", "klas_test::custom"),
        ("of_torch", "aten::linalg_lstsq"),
    ],
)
def test_an_operator_that_needs_content_is_named_with_what_to_do(factory, operator):
    spec = AnchorSpec(name="mine", model=f"tests.networks.test_operators:{factory}")
    with pytest.raises(AnchorError) as caught:
        load_anchor(spec, crop=1.0, interpolation="bilinear", allow_code=True)
    message = str(caught.value)
    assert message.startswith(f"mine: its operator {operator}")
    assert "register_fake" in message
    assert "\n" not in message


def test_a_lower_bound_is_known_part_by_part():
    network = nets.Plain()
    network.layers[1] = Custom(torch.ops.klas_test.mix_maps)
    cost = anchor_cost(nets.anchor(network.eval(), 16))
    assert cost.total.uncounted == cost.front(2).uncounted == ("klas_test::mix_maps",)
    assert cost.back(1).uncounted == ("klas_test::mix_maps",)
    assert cost.front(1).uncounted == cost.back(2).uncounted == ()
    plain = anchor_cost(nets.anchor(nets.Plain().eval(), 16))
    assert cost.total_macs == plain.total_macs

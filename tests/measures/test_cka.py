import gc
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from klas.digits.scenes import make_scenes
from klas.digits.train import normalised
from klas.digits.zoo import ZOO
from klas.errors import AnchorError
from klas.measures import cka as module
from klas.measures.cka import GramMatrices, chunk_sizes, cka_terms, u_centred
from klas.measures.sweep import sweep
from klas.networks.load import load_anchor
from klas.selection import scores
from klas.storage.arrays import ArrayWriter, views
from klas.study import AnchorSpec
from tests.measures.test_sweep import Kept


def hsic1(k, ell):
    """HSIC₁ as Song et al. 2012 and Nguyen et al. 2021, equation 3, write it."""
    k, ell = k.copy(), ell.copy()
    np.fill_diagonal(k, 0)
    np.fill_diagonal(ell, 0)
    n, one = len(k), np.ones(len(k))
    trace = np.trace(k @ ell)
    means = (one @ k @ one) * (one @ ell @ one) / ((n - 1) * (n - 2))
    return (trace + means - 2 / (n - 2) * (one @ k @ ell @ one)) / (n * (n - 3))


def slow_terms(first, second):
    """The three kinds of (n − 3) HSIC₁ by a loop over chunks and pairs of cuts, in float64."""
    actual = []
    for start in range(0, len(first[0]), 64):
        parts = [[a[start : start + 64] for a in side] for side in (first, second)]
        if len(parts[0][0]) < 4:
            continue
        a, b = ([x.double().flatten(1).numpy() for x in side] for side in parts)
        a, b = ([x @ x.T for x in side] for side in (a, b))
        cross = [[hsic1(k, ell) for ell in b] for k in a]
        kinds = cross, [hsic1(k, k) for k in a], [hsic1(k, k) for k in b]
        actual.append([(len(parts[0][0]) - 3) * np.array(kind) for kind in kinds])
    return [np.array(part) for part in zip(*actual)]


def cka(cross, own_first, own_second):
    return scores.cka(cross.sum(0), own_first.sum(0), own_second.sum(0))


def slow_cka(first, second):
    cross, own_first, own_second = slow_terms(first, second)
    actual = np.empty(cross.shape[1:])
    for i, j in np.ndindex(actual.shape):
        actual[i, j] = cross[:, i, j].sum() / np.sqrt(
            own_first[:, i].sum() * own_second[:, j].sum()
        )
    return actual


def collected(cuts, sizes):
    """What the collector keeps of activations at some cuts, seen in batches of these sizes."""
    kept, samples = Kept(), len(cuts[0])
    anchor = SimpleNamespace(info=SimpleNamespace(name="net", depth=len(cuts) - 1))
    collector = GramMatrices(anchor, samples, kept.append)
    for part in zip(*(a.split(sizes) for a in cuts)):
        for cut, activation in enumerate(part):
            collector.update_cut(cut, activation)
        collector.update_output(torch.empty(0), torch.zeros(len(part[0])))
    grams = [kept[name] for name in GramMatrices.shapes(anchor.info, samples) if kept.parts]
    for (shape, dtype), gram in zip(GramMatrices.shapes(anchor.info, samples).values(), grams):
        assert gram.shape == shape
        assert gram.dtype == dtype
    return grams or [np.zeros((0, 2016), np.float32)] * len(cuts)


def related(samples, seed=0):
    """Two anchors' activations that resemble each other: tokens and maps, two cuts each."""
    torch.manual_seed(seed)
    shared = torch.randn(samples, 6)
    first = [shared @ torch.randn(6, 40) + torch.randn(samples, 40) for _ in range(2)]
    second = [shared @ torch.randn(6, 36) + torch.randn(samples, 36) for _ in range(2)]
    return [a.unflatten(1, (5, 8)) for a in first], [a.unflatten(1, (4, 3, 3)) for a in second]


def test_u_centred_rows_sum_to_zero_and_give_the_textbooks_hsic():
    torch.manual_seed(0)
    for n in (4, 5, 64):
        x, y = torch.randn(n, 7).double() + 3, torch.randn(n, 3).double()
        k, ell = x @ x.T, y @ y.T
        first, second = u_centred(torch.stack([k, ell]))
        assert (first.diagonal() == 0).all()
        assert first.sum(1).abs().max() < 1e-10
        actual = float((first * second).sum()) / (n * (n - 3))
        assert actual == pytest.approx(hsic1(k.numpy(), ell.numpy()), rel=1e-10)


@pytest.mark.parametrize("samples", [4, 5, 63, 64, 66, 67, 68, 200])
def test_equals_the_slow_loop(samples):
    first, second = related(samples)
    terms = cka_terms(collected(first, 64), collected(second, 64), samples)
    wanted = slow_terms(first, second)
    for got, want in zip(terms, wanted, strict=True):
        assert got.dtype == np.float64
        assert np.allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())
    assert np.allclose(cka(*terms), slow_cka(first, second), atol=1e-6)


@contextmanager
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_equals_torch_cka_on_real_networks():
    # The package does not centre before it multiplies: in float32 it is off by 5e-5 here.
    reference = pytest.importorskip("torch_cka")
    images = normalised(make_scenes("val", 192)[0])
    anchors = [
        load_anchor(AnchorSpec(name=n, model=n), crop=1.0, interpolation="bilinear").eval()
        for n in (ZOO[1], ZOO[2])
    ]
    grams = []
    for anchor in anchors:
        kept, data = Kept(), TensorDataset(images.float(), torch.zeros(192))
        collector = GramMatrices(anchor.float(), 192, kept.append)
        sweep(anchor, DataLoader(data, batch_size=100), [collector], lambda n: None)
        grams.append([kept[f"gram{k}"] for k in range(anchor.info.depth + 1)])
    actual = cka(*cka_terms(*grams, 192))
    layers = [["stem", *(f"blocks.{k}" for k in range(a.info.depth))] for a in anchors]
    loader = DataLoader(TensorDataset(images.double(), torch.zeros(192)), batch_size=64)
    with torch.no_grad(), redirect_stderr(StringIO()), float64():
        theirs = reference.CKA(*(a.double() for a in anchors), "first", "second", *layers)
        theirs.compare(loader, loader)
    assert np.abs(actual - theirs.export()["CKA"].numpy()).max() < 1e-5
    assert actual.std() > 0.05  # not all alike


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=12))
def test_the_forward_batch_does_not_matter(sizes):
    first, second = related(sum(sizes))
    actual = cka_terms(collected(first, sizes), collected(second, 256), sum(sizes))
    wanted = cka_terms(collected(first, 64), collected(second, 64), sum(sizes))
    assert len(actual.cross) == len(chunk_sizes(sum(sizes)))
    for got, want in zip(actual, wanted, strict=True):
        assert np.allclose(got, want, rtol=1e-5, atol=1e-5 * np.abs(want).max(initial=0))


def test_never_more_than_one_chunk_of_a_cut_is_held():
    width = 977  # of no other tensor here
    anchor = SimpleNamespace(info=SimpleNamespace(name="net", depth=0))
    collector = GramMatrices(anchor, 10_000, lambda name, rows: None)
    for size in (256, 127, 1, 200, 10, 250):
        collector.update_cut(0, torch.randn(size, width))
        alive = [
            t for t in gc.get_objects() if type(t) is torch.Tensor and t.shape[-1:] == (width,)
        ]
        kept = sum(t.untyped_storage().nbytes() for t in alive)
        assert kept <= (0 if size == 256 else 64 * width * 4)  # whole chunks pass through
        collector.update_output(torch.empty(0), torch.zeros(size))


def test_a_rotation_and_a_scale_are_the_same_and_noise_is_not():
    torch.manual_seed(1)
    x, noise = torch.randn(128, 12), torch.randn(128, 12)
    turned = 1e3 * x @ torch.linalg.qr(torch.randn(12, 12)).Q + 50
    actual = cka(*cka_terms(collected([x], 64), collected([turned, noise], 64), 128))
    assert actual[0, 0] == pytest.approx(1, abs=1e-5)
    assert abs(actual[0, 1]) < 0.1


@pytest.mark.parametrize("value", [0.0, 0.1, -1234.567, 1e15])
@pytest.mark.parametrize("samples", [4, 7, 64, 77])  # 7 and 13 round where powers of 2 do not
def test_constant_activations_are_like_nothing(value, samples):
    torch.manual_seed(3)
    varying = torch.randn(samples, 30)
    constant = (value * torch.randn(30)).repeat(samples, 1)
    first = collected([constant, varying], 50)
    actual = cka(*cka_terms(first, first, samples))
    assert actual[1, 1] == pytest.approx(1)
    assert (actual[0] == 0).all()
    assert (actual[:, 0] == 0).all()


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_too_few_samples_for_a_chunk_are_like_nothing(samples):
    first, second = related(samples)
    terms = cka_terms(collected(first, 2), collected(second, 2), samples)
    assert terms.cross.shape == (0, 2, 2)
    assert (cka(*terms) == 0).all()


@pytest.mark.parametrize("rest", [4, 5, 7, 16, 40])
def test_a_few_samples_more_make_the_estimate_no_noisier(rest):
    def estimates(samples):
        actual = []
        for seed in range(30):
            torch.manual_seed(seed)
            common = torch.randn(samples, 6)
            sides = []
            for width in (20, 12):
                mixed = common @ torch.randn(
                    6, width, generator=torch.Generator().manual_seed(width)
                )
                sides.append(collected([mixed + torch.randn(samples, width)], samples))
            actual.append(float(cka(*cka_terms(*sides, samples))[0, 0]))
        return np.std(actual)

    # Equal weights made it 1.3 to 3 times as noisy with rests of 4 to 7.
    assert estimates(128 + rest) < 1.25 * estimates(128)


def test_small_chunks_give_finite_numbers():
    for samples in (4, 5, 68):
        first, second = related(samples, seed=samples)
        assert np.isfinite(
            cka(*cka_terms(collected(first, 3), collected(second, 3), samples))
        ).all()


def test_float32_storage_and_a_large_mean_cost_little():
    torch.manual_seed(2)
    first, second = ([a + 100 for a in side] for side in related(256))
    actual = cka(*cka_terms(collected(first, 256), collected(second, 256), 256))
    assert np.abs(actual - slow_cka(first, second)).max() < 1e-6


def test_under_bfloat16_the_products_stay_float32():
    anchor = load_anchor(
        AnchorSpec(name="net", model=ZOO[0]), crop=1.0, interpolation="bilinear"
    ).eval()

    class Seen:
        def __init__(self):
            self.cuts = {}

        def update_cut(self, cut, activation):
            self.cuts[cut] = activation.clone()

        def update_output(self, logits, labels):
            pass

    seen, kept = Seen(), Kept()
    batches = [(torch.randn(64, 1, 16, 16), torch.zeros(64))]
    collectors = [seen, GramMatrices(anchor, 64, kept.append)]
    sweep(anchor, batches, collectors, lambda n: None, precision="bfloat16")
    cuts = [seen.cuts[k].float() for k in range(anchor.info.depth + 1)]
    grams = [kept[f"gram{k}"] for k in range(anchor.info.depth + 1)]
    assert np.abs(cka(*cka_terms(grams, grams, 64)) - slow_cka(cuts, cuts)).max() < 1e-6


def test_mapped_files_are_read_a_few_chunks_at_a_time(tmp_path, monkeypatch):
    first, second = related(300)
    grams = {f"a{k}": g for k, g in enumerate(collected(first, 64))}
    grams |= {f"b{k}": g for k, g in enumerate(collected(second, 64))}
    shapes = {name: (g.shape, g.dtype) for name, g in grams.items()}
    with ArrayWriter(tmp_path / "grams", shapes) as out:
        for name, rows in grams.items():
            out.append(name, rows)
        out.finish()
    mapped = views((tmp_path / "grams").read_bytes())
    arguments = [mapped["a0"], mapped["a1"]], [mapped["b0"], mapped["b1"]], 300
    whole = cka_terms(*arguments)
    monkeypatch.setattr(module, "ROWS_BYTES", 2 * 4 * 2016 * 8)  # two chunks of four cuts
    for got, want in zip(cka_terms(*arguments), whole, strict=True):
        assert np.allclose(got, want, rtol=1e-12)


def test_what_a_bootstrap_draws_is_a_cka_too():
    first, second = related(256)
    terms = cka_terms(collected(first, 64), collected(second, 64), 256)
    drawn = [0, 2, 2, 3]
    repeated = [
        [torch.cat([a[64 * c : 64 * c + 64] for c in drawn]) for a in s] for s in (first, second)
    ]
    actual = cka(*(part[drawn] for part in terms))
    assert np.allclose(actual, slow_cka(*repeated), atol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_what_is_not_finite_is_refused_by_name(bad):
    fine, broken = torch.randn(64, 10), torch.randn(64, 10)
    broken[3, 4] = bad
    with pytest.raises(AnchorError, match="net: the activations at cut 1 "):
        collected([fine, broken], 64)


@pytest.mark.parametrize("columns", [1, 7, 10_000])
def test_columns_that_are_multiplied_apart_add_up(monkeypatch, columns):
    torch.manual_seed(0)
    rows = torch.randn(2, 64, 100) + 30 * torch.randn(100)
    monkeypatch.setattr(module, "TILE_BYTES", 4 * 2 * 64 * columns)
    centred = rows.double() - rows.double().mean(1, keepdim=True)
    wanted = u_centred(centred @ centred.mT)
    actual = u_centred(module._grams(rows).double())
    assert torch.allclose(actual, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
    constant = rows[:, :1].expand(2, 64, 100)
    assert (module._grams(constant) == 0).all()

"""Poolings over windows against torch's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tilefarm.solve.contract import Weights
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.windows import l2_windows, max_windows

shapes = st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(3, 12), st.integers(3, 12))


@settings(deadline=None)
@given(
    shape=shapes,
    kernel=st.sampled_from([2, 3]),
    ceil=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
    levels=st.integers(1, 4),
    seed=st.integers(0, 2**31),
)
def test_the_largest_and_its_gradient_are_torchs_own_bits(
    shape: tuple[int, ...], kernel: int, ceil: bool, dtype: torch.dtype, levels: int, seed: int
) -> None:
    """Few different values, so that most windows have ties; gradients whose sums are not rounded."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-levels, levels + 1, shape, generator=generator).to(dtype)
    mine = values.contiguous(memory_format=torch.channels_last).requires_grad_()
    theirs = values.clone().requires_grad_()
    pooled, wanted = max_windows(mine, kernel, ceil), F.max_pool2d(theirs, kernel, 2, ceil_mode=ceil)
    assert torch.equal(pooled, wanted)
    grad = torch.randint(-9, 10, wanted.shape, generator=generator).to(dtype)
    (found,) = torch.autograd.grad(pooled, mine, grad)
    (expected,) = torch.autograd.grad(wanted, theirs, grad)
    assert torch.equal(found, expected)


@settings(deadline=None)
@given(shape=shapes, kernel=st.sampled_from([2, 3]), seed=st.integers(0, 2**31))
def test_l2_is_torchs_own(shape: tuple[int, ...], kernel: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.01
    mine, theirs = values.clone().requires_grad_(), values.clone().requires_grad_()
    pooled, wanted = l2_windows(mine, kernel, False, 0.7), 0.7 * F.lp_pool2d(theirs, 2.0, kernel, 2)
    torch.testing.assert_close(pooled, wanted, rtol=1e-12, atol=0)
    grad = torch.randn(wanted.shape, generator=generator, dtype=torch.float64)
    (found,) = torch.autograd.grad(pooled, mine, grad)
    (expected,) = torch.autograd.grad(wanted, theirs, grad)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


def test_incomplete_windows_have_the_gradient_of_their_values() -> None:
    x = torch.rand(1, 2, 6, 8, dtype=torch.float64, requires_grad=True)
    assert l2_windows(x, 3, True, 0.5).shape == (1, 2, 3, 4)
    assert torch.autograd.gradcheck(lambda y: l2_windows(y, 3, True, 0.5), (x,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_where_all_is_zero_the_gradient_is(dtype: torch.dtype) -> None:
    x = torch.zeros(1, 1, 4, 4, dtype=dtype)
    x[0, 0, 0, 0] = 2.0
    x.requires_grad_()
    pooled = l2_windows(x, 2, False, 0.5)
    assert pooled.flatten().tolist() == [1.0, 0.0, 0.0, 0.0]
    pooled.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [0.5] + [0.0] * 15


def test_squares_do_not_leave_float16s_range() -> None:
    x = torch.full((1, 1, 2, 2), 2000.0, dtype=torch.float16, requires_grad=True)
    pooled = l2_windows(x, 2, False, 0.5)
    assert pooled.item() == 2000.0
    (grad,) = torch.autograd.grad(pooled, x, torch.ones_like(pooled))
    assert grad.flatten().tolist() == [0.25] * 4


@pytest.mark.parametrize("pooling", ["max", "average", "l2"])
@pytest.mark.parametrize(("network", "layer"), [("vgg16", "relu3_1"), ("squeezenet", "fire4")])
def test_features_are_positively_homogeneous(
    pooling: str, network: str, layer: str, random_weights: Callable[[str], Weights]
) -> None:
    """With input and biases divided by a power of two, as in float16, so are all features."""
    weights = replace(random_weights(network), preprocessing="caffe")
    shifted = Weights(
        {k: v / np.float32(64) if k.endswith("bias") else v for k, v in weights.arrays.items()},
        "caffe",
        "shifted",
    )
    picture = torch.rand(1, 3, 40, 33, generator=torch.Generator().manual_seed(1))
    mean = torch.tensor([123.68, 116.779, 103.939]).view(1, 3, 1, 1) / 255
    plain, scaled = (
        FeatureNetwork(network, each, [layer], pooling=pooling, dtype=torch.float64)  # type: ignore[arg-type]
        for each in (weights, shifted)
    )
    wanted = plain.features(picture.double(), [layer])[layer]
    found = scaled.features(((picture - mean) / 64 + mean).double(), [layer])[layer]
    torch.testing.assert_close(64 * found, wanted, rtol=1e-4, atol=float(wanted.max()) * 1e-5)
    assert float(wanted.max()) > 0


def test_one_byte_per_output_is_kept() -> None:
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    x = torch.randn(1, 8, 17, 17, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        max_windows(x, 3, True)
    assert sum(kept.values()) == 8 * 8 * 8

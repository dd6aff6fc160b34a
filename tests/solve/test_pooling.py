from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tilefarm.solve.contract import Weights
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.pooling import max_pool


def _kept_bytes(run: Callable[[Tensor], object], x: Tensor) -> int:
    """Bytes that autograd keeps for the backward pass of `run(x)`."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run(x)
    return sum(kept.values())


@settings(deadline=None)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(2, 9), st.integers(2, 9)),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
    levels=st.integers(1, 4),
    seed=st.integers(0, 2**31),
)
def test_values_and_gradients_are_torchs_own_bits(
    shape: tuple[int, int, int, int], dtype: torch.dtype, levels: int, seed: int
) -> None:
    """With few different values there are ties in most cells, zeros and negative ones among them."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-levels, levels + 1, shape, generator=generator).to(dtype)
    mine = values.contiguous(memory_format=torch.channels_last).requires_grad_()
    theirs = values.clone().requires_grad_()
    pooled, wanted = max_pool(mine).relu_(), F.max_pool2d(F.relu(theirs), 2)
    assert torch.equal(pooled, wanted)
    grad = torch.randn(wanted.shape, generator=generator).to(dtype)
    (found,) = torch.autograd.grad(pooled, mine, grad)
    (expected,) = torch.autograd.grad(wanted, theirs, grad)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("place", range(4))
def test_what_is_not_a_number_is_not_hidden(place: int) -> None:
    x = torch.ones(4)
    x[place] = float("nan")
    assert max_pool(x.view(1, 1, 2, 2)).isnan().all()


def test_one_byte_per_output_is_kept() -> None:
    x = torch.randn(1, 8, 16, 16, requires_grad=True)
    assert _kept_bytes(max_pool, x) == 8 * 8 * 8


def test_what_is_pooled_is_kept_only_where_it_is_wanted(random_weights: Callable[[str], Weights]) -> None:
    """The rectified layer before a pooling is the largest of its block, and nothing needs it."""
    network = FeatureNetwork("vgg19", random_weights("vgg19"), ["relu1_2", "relu2_1"])
    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    lean = _kept_bytes(lambda x: network.features(x, ["relu2_1"]), x)
    full = _kept_bytes(lambda x: network.features(x, ["relu1_2", "relu2_1"]), x)
    assert full - lean == 64 * 32 * 32 * 4

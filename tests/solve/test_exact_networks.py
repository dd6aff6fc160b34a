"""Every network, pooling and padding in pieces, in float64: what is left is only the order of additions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.exactness import relative_error, smooth_picture, squeezenet_features, targets_of, tiled, untiled
from tilefarm.geometry import Size
from tilefarm.plan.halo import ReceptiveField, partition, receptive_field
from tilefarm.solve.backend import make_network
from tilefarm.solve.contract import SolverSettings, Weights
from tilefarm.solve.measure import core_slice
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.weights import load_weights
from tilefarm.spec.networks import PaddingName, PoolingName, layer_names

REAL = Path(__file__).parents[2] / "../shared/weights/squeezenet1_1_caffe.safetensors"
FIRES = ("relu1", "fire2", "fire3", "fire5", "fire7", "fire9")


def network_in_float64(
    name: str,
    weights: Weights,
    layers: tuple[str, ...],
    pooling: PoolingName = "max",
    padding: PaddingName = "zeros",
) -> FeatureNetwork:
    return FeatureNetwork(name, weights, layers, pooling=pooling, padding=padding, dtype=torch.float64)


def picture(width: int, height: int) -> Tensor:
    return torch.from_numpy(smooth_picture(width, height, 1)).permute(2, 0, 1)[None].double()


def in_pieces(
    name: str, network: FeatureNetwork, layers: tuple[str, ...], x: Tensor, core: int, field: ReceptiveField
) -> tuple[float, Tensor]:
    """The largest error of a core's features, and the sum of the pieces' gradients.

    Of the sum over layers of <R, features>, R being random numbers for the positions of the whole picture.
    """
    whole = {layer: values.detach() for layer, values in network.features(x, layers).items()}
    seeds = random_like(whole)
    size = Size(x.shape[3], x.shape[2])
    gradient, error = torch.zeros_like(x), 0.0
    pieces = list(partition(size, core, field))
    assert len(pieces) > 1
    for piece in pieces:
        there = (slice(None), slice(None), slice(piece.crop.top, piece.crop.bottom))
        box = (*there, slice(piece.crop.left, piece.crop.right))
        crop = x[box].clone().requires_grad_()
        total = torch.zeros((), dtype=x.dtype)
        for layer, features in network.features(crop, layers).items():
            stride = receptive_field(name, layer).stride
            mine = core_slice(features, piece.core_in_crop, stride)
            wanted, seed = (core_slice(each[layer], piece.core, stride) for each in (whole, seeds))
            error = max(error, float((mine.detach() - wanted).abs().max() / whole[layer].abs().max()))
            total = total + (mine * seed).sum()
        (part,) = torch.autograd.grad(total, crop)
        gradient[box] += part
    return error, gradient


def untiled_gradient(network: FeatureNetwork, layers: tuple[str, ...], x: Tensor) -> Tensor:
    y = x.clone().requires_grad_()
    features = network.features(y, layers)
    seeds = random_like(features)
    total = torch.stack([(features[layer] * seeds[layer]).sum() for layer in layers]).sum()
    (gradient,) = torch.autograd.grad(total, y)
    return gradient


def random_like(features: dict[str, Tensor]) -> dict[str, Tensor]:
    """Random numbers that make each layer count as much as any other."""
    generator = torch.Generator().manual_seed(5)
    return {
        name: torch.randn(features[name].shape, generator=generator, dtype=torch.float64)
        / features[name].detach().norm()
        for name in sorted(features)
    }


def distance(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize(
    ("width", "height", "core"),
    [(213, 158, 64), (176, 97, 48), (32, 129, 32), (401, 17, 128), (17, 401, 128), (96, 81, 16)],
)
@pytest.mark.parametrize("pooling", ["max", "average", "l2"])
def test_squeezenet_is_exact_at_any_size(
    width: int, height: int, core: int, pooling: PoolingName, random_weights: Callable[[str], Weights]
) -> None:
    network = network_in_float64("squeezenet", random_weights("squeezenet"), FIRES, pooling)
    x = picture(width, height)
    error, gradient = in_pieces("squeezenet", network, FIRES, x, core, receptive_field("squeezenet", "fire9"))
    assert error < 1e-13
    assert distance(gradient, untiled_gradient(network, FIRES, x)) < 1e-12


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("layer", ["fire3", "fire5", "fire9"])
def test_squeezenet_needs_all_of_either_halo(
    side: str, layer: str, random_weights: Callable[[str], Weights]
) -> None:
    network, layers = network_in_float64("squeezenet", random_weights("squeezenet"), (layer,)), (layer,)
    x, field = picture(320, 100), receptive_field("squeezenet", layer)
    halos = {"before": field.halo_before, "after": field.halo_after}
    halos[side] -= field.stride
    smaller = ReceptiveField(field.stride, halos["before"], halos["after"], field.unpadded)
    wanted = untiled_gradient(network, layers, x)
    assert distance(in_pieces("squeezenet", network, layers, x, 64, field)[1], wanted) < 1e-12
    assert distance(in_pieces("squeezenet", network, layers, x, 64, smaller)[1], wanted) > 1e-9


@pytest.mark.parametrize("padding", ["zeros", "replicate", "reflect"])
@pytest.mark.parametrize("pooling", ["max", "l2"])
def test_what_lies_beyond_the_edge_is_exact_in_pieces(
    padding: PaddingName, pooling: PoolingName, random_weights: Callable[[str], Weights]
) -> None:
    layers = ("relu1_1", "relu2_1", "relu3_1")
    network = network_in_float64("vgg16", random_weights("vgg16"), layers, pooling, padding)
    x = picture(75, 46)
    error, gradient = in_pieces("vgg16", network, layers, x, 32, receptive_field("vgg16", "relu3_1"))
    assert error < 1e-13
    assert distance(gradient, untiled_gradient(network, layers, x)) < 1e-12


@pytest.mark.parametrize("padding", ["replicate", "reflect"])
def test_the_first_convolution_sees_what_numpy_pads(
    padding: PaddingName, random_weights: Callable[[str], Weights]
) -> None:
    """Like the inner part of a picture that is larger by what lies beyond its edge."""
    weights = random_weights("vgg16")
    x = picture(19, 13)
    larger = torch.nn.functional.pad(x, (1, 1, 1, 1), mode=padding)
    found = network_in_float64("vgg16", weights, ("relu1_1",), padding=padding).features(x, ["relu1_1"])
    plain = network_in_float64("vgg16", weights, ("relu1_1",)).features(larger, ["relu1_1"])
    torch.testing.assert_close(found["relu1_1"], plain["relu1_1"][:, :, 1:-1, 1:-1], rtol=1e-12, atol=1e-12)
    zeros = network_in_float64("vgg16", weights, ("relu1_1",)).features(x, ["relu1_1"])["relu1_1"]
    difference = (found["relu1_1"] - zeros).abs().amax(1)[0]
    assert float(difference[1:-1, 1:-1].max()) < 1e-12
    assert float(difference[0].min()) > 1e-3


def test_squeezenet_has_no_padding_to_choose(random_weights: Callable[[str], Weights]) -> None:
    with pytest.raises(ValueError, match="the first convolution of squeezenet has no padding, got reflect"):
        network_in_float64("squeezenet", random_weights("squeezenet"), ("relu1",), padding="reflect")


@pytest.fixture(scope="module")
def real() -> Weights:
    if not REAL.is_file():
        pytest.skip(f"needs the real weights of SqueezeNet 1.1 in {REAL}")
    return load_weights("squeezenet", REAL)


def test_the_real_network_is_the_one_written_out(real: Weights) -> None:
    assert real.preprocessing == "caffe"
    x = picture(101, 66)
    mean = torch.tensor([103.939, 116.779, 123.68], dtype=torch.float64).view(1, 3, 1, 1)
    wanted = squeezenet_features(real, x.flip(1) * 255 - mean, "max")
    layers = layer_names("squeezenet")
    found = network_in_float64("squeezenet", real, layers).features(x, layers)
    assert set(found) == set(wanted)
    for name, values in wanted.items():
        torch.testing.assert_close(found[name], values, rtol=1e-10, atol=1e-9)
        assert float(values.max()) > 10


def test_the_real_network_is_exact_in_pieces(real: Weights) -> None:
    settings = SolverSettings(
        network="squeezenet",
        pooling="max",
        precision="float32",
        content_layers=(("fire5", 1.0),),
        style_layers=tuple((name, 1.0) for name in ("relu1", "fire3", "fire5", "fire7", "fire9")),
        content_weight=1.0,
        style_weight=1.0,
        tv_weight=0.0,
        history=5,
    )
    network = make_network(settings, real, "cpu")
    image, content = smooth_picture(203, 130, 1), smooth_picture(203, 130, 2)
    targets = targets_of(network, settings, smooth_picture(96, 80, 3))
    pieces = list(partition(Size(203, 130), 64, receptive_field("squeezenet", "fire9")))
    loss, gradient = tiled(network, settings, targets, image, content, pieces)
    wanted_loss, wanted = untiled(settings, real, targets, image, content)
    assert loss == pytest.approx(wanted_loss, rel=1e-6)
    assert relative_error(gradient, wanted) < 5e-6
    x, layers = picture(203, 130), tuple(name for name, _ in settings.style_layers)
    in_float64 = network_in_float64("squeezenet", real, layers)
    error, found = in_pieces("squeezenet", in_float64, layers, x, 64, receptive_field("squeezenet", "fire9"))
    assert error < 1e-13
    assert distance(found, untiled_gradient(in_float64, layers, x)) < 1e-12

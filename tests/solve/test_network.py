from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tilefarm.errors import JobError
from tilefarm.solve.contract import Picture, Preprocessing, Weights
from tilefarm.solve.network import FeatureNetwork, preprocess

# Written out by hand: the positions of torchvision's layers and what style transfer calls them.
VGG19_RELUS = {1: "1_1", 3: "1_2", 6: "2_1", 8: "2_2", 11: "3_1", 13: "3_2", 15: "3_3", 17: "3_4", 20: "4_1"}
VGG19_RELUS |= {22: "4_2", 24: "4_3", 26: "4_4", 29: "5_1", 31: "5_2", 33: "5_3", 35: "5_4"}
VGG16_RELUS = {1: "1_1", 3: "1_2", 6: "2_1", 8: "2_2", 11: "3_1", 13: "3_2", 15: "3_3", 18: "4_1", 20: "4_2"}
VGG16_RELUS |= {22: "4_3", 25: "5_1", 27: "5_2", 29: "5_3"}
RELUS = {"vgg16": VGG16_RELUS, "vgg19": VGG19_RELUS}


class Rescaled(nn.Module):
    def __init__(self, pooling: nn.Module, factor: float) -> None:
        super().__init__()
        self.pooling, self.factor = pooling, factor

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.factor * self.pooling(x + 1e-20)  # torch's l2 has no gradient at zeros
        return result


POOLINGS = {
    "max": nn.MaxPool2d(2, 2),
    "average": Rescaled(nn.AvgPool2d(2, 2), 1.37),
    "l2": Rescaled(nn.LPPool2d(2, 2), 0.64),
}


def reference_features(network: str, weights: Weights, pooling: str, x: Tensor) -> dict[str, Tensor]:
    """A plain nn.Sequential in torchvision's order, nothing in place, applied to a preprocessed picture."""
    relus = RELUS[network]
    modules: list[nn.Module] = []
    names: dict[int, str] = {}
    for position in range(max(relus) + 1):
        if position in relus:
            modules.append(nn.ReLU())
            names[position] = f"relu{relus[position]}"
        elif position + 1 in relus:
            name = f"conv{relus[position + 1]}"
            weight = torch.from_numpy(weights.arrays[f"{name}.weight"].copy())
            convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
            convolution.weight = nn.Parameter(weight, requires_grad=False)
            bias = torch.from_numpy(weights.arrays[f"{name}.bias"].copy())
            convolution.bias = nn.Parameter(bias, requires_grad=False)
            modules.append(convolution)
        else:
            modules.append(POOLINGS[pooling])
    found = {}
    for position, module in enumerate(nn.Sequential(*modules)):
        x = module(x)
        if position in names:
            found[names[position]] = x
    return found


def as_batch(*pictures: Picture) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
@pytest.mark.parametrize("pooling", ["max", "average", "l2"])
def test_features_and_gradient_are_those_of_a_plain_sequential(
    network: str,
    pooling: str,
    random_weights: Callable[[str], Weights],
    picture: Callable[[int, int, int], Picture],
) -> None:
    weights = random_weights(network)
    layers = [f"relu{name}" for name in RELUS[network].values()]
    ours = FeatureNetwork(network, weights, layers, pooling=pooling)  # type: ignore[arg-type]
    x = as_batch(picture(37, 50, 0), picture(37, 50, 1)).requires_grad_()
    y = x.detach().clone().requires_grad_()
    found = ours.features(x, layers)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    wanted = reference_features(network, weights, pooling, (y - mean) / deviation)
    assert set(found) == set(wanted)
    for name in layers:
        assert float(wanted[name].detach().std()) > 0.01
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-3, atol=1e-4)
    for features in (found, wanted):
        torch.stack([values.square().mean() for values in features.values()]).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert y.grad is not None
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-3, atol=float(y.grad.abs().max()) * 1e-4)


def test_handed_out_features_are_not_changed_by_deeper_layers(
    random_weights: Callable[[str], Weights], picture: Callable[[int, int, int], Picture]
) -> None:
    network = FeatureNetwork("vgg19", random_weights("vgg19"), ["relu3_1"])
    x = as_batch(picture(32, 32, 0))
    shallow = network.features(x, ["relu1_1"])["relu1_1"]
    deep = network.features(x, ["relu1_1", "relu1_2", "relu2_1", "relu3_1"])
    assert torch.equal(shallow, deep["relu1_1"])
    assert [deep[f"relu{block}_1"].shape[2] for block in (1, 2, 3)] == [32, 16, 8]


@pytest.mark.parametrize(
    ("preprocessing", "white", "black"),
    [
        ("caffe", (151.061, 138.221, 131.32), (-103.939, -116.779, -123.68)),
        ("torchvision", (2.2489083, 2.4285714, 2.64), (-2.1179039, -2.0357143, -1.8044444)),
    ],
)
def test_preprocessing_of_white_black_and_red(
    preprocessing: Preprocessing, white: tuple[float, ...], black: tuple[float, ...]
) -> None:
    picture = torch.zeros(1, 3, 1, 3)
    picture[0, :, 0, 0] = 1.0
    picture[0, 0, 0, 2] = 1.0
    found = preprocess(picture, preprocessing)
    np.testing.assert_allclose(found[0, :, 0, 0], white, rtol=1e-5)
    np.testing.assert_allclose(found[0, :, 0, 1], black, rtol=1e-5)
    red = 2 if preprocessing == "caffe" else 0
    wanted = list(black)
    wanted[red] = white[red]
    np.testing.assert_allclose(found[0, :, 0, 2], wanted, rtol=1e-5)


def test_bundled_weights_tell_red_from_blue(bundled: Weights) -> None:
    """The first layer's filters want blue first; with the channels swapped the features differ."""
    network = FeatureNetwork("vgg19", bundled, ["relu1_1"], dtype=torch.bfloat16)
    red = torch.zeros(1, 3, 16, 16)
    red[:, 0] = 1.0
    features = network.features(red, ["relu1_1"])["relu1_1"]
    assert features.dtype == torch.bfloat16
    weight = torch.from_numpy(bundled.arrays["conv1_1.weight"])
    shifted = torch.tensor([0.0, 0.0, 255.0]) - torch.tensor([103.939, 116.779, 123.68])
    centre = (weight.sum((2, 3)) @ shifted + torch.from_numpy(bundled.arrays["conv1_1.bias"])).relu()
    torch.testing.assert_close(features[0, :, 8, 8].float(), centre, rtol=0.02, atol=2.0)


def test_only_what_is_needed_is_built_and_wrong_names_are_refused(
    random_weights: Callable[[str], Weights],
) -> None:
    network = FeatureNetwork("vgg19", random_weights("vgg19"), ["relu2_1"])
    with pytest.raises(ValueError, match="relu3_1"):
        network.features(torch.zeros(1, 3, 16, 16), ["relu3_1"])
    with pytest.raises(ValueError, match="conv1_1"):
        FeatureNetwork("vgg19", random_weights("vgg19"), ["conv1_1"])
    assert FeatureNetwork("vgg19", random_weights("vgg19"), []).features(torch.zeros(1, 3, 4, 4), []) == {}


def test_a_picture_too_small_for_the_network_is_a_sentence(random_weights: Callable[[str], Weights]) -> None:
    network = FeatureNetwork("vgg19", random_weights("vgg19"), ["relu5_1"])
    with pytest.raises(JobError, match="got 40x15"):
        network.features(torch.zeros(1, 3, 15, 40), ["relu5_1"])
    assert network.features(torch.zeros(1, 3, 16, 16), ["relu5_1"])["relu5_1"].shape == (1, 512, 1, 1)

"""The objective of a batch of tiles: its value and its gradient with respect to the pixels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tilefarm.plan.halo import receptive_field
from tilefarm.solve.contract import (
    LayerWeights,
    LevelTargets,
    Losses,
    RegionMoments,
    SolverSettings,
)
from tilefarm.solve.distances import Compare
from tilefarm.solve.losses import content_error, moments, style_error, total_variation
from tilefarm.solve.moments import Drift, Moments
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.scaling import MOST_LOWERED, left_range, seed_scale
from tilefarm.solve.statistics import comparison


def active(layers: LayerWeights) -> dict[str, float]:
    """The layers that take part: those whose weight is not zero."""
    return {name: weight for name, weight in layers if weight != 0}


def shares_at(regions: Tensor, network: str, layer: str) -> Tensor:
    """Shares of regions (B, R, h, w) at a layer's positions: the mean over each position's own cell."""
    field = receptive_field(network, layer)
    height, width = (field.positions(length) for length in regions.shape[2:])
    pooled = torch.nn.functional.avg_pool2d(regions, field.stride) if field.stride > 1 else regions
    return pooled[:, :, :height, :width]


@dataclass(frozen=True)
class BatchLosses:
    """The terms of a batch, each of shape (B,). Content or style of weight 0 is not computed and reads 0."""

    total: Tensor
    content: Tensor
    style: Tensor
    tv: Tensor

    def of_tile(self, position: int) -> Losses:
        """The losses of the tile at a position of the batch."""
        return Losses(
            float(self.total[position]),
            float(self.content[position]),
            float(self.style[position]),
            float(self.tv[position]),
        )


class TileObjective:
    """1000 * (style_weight * E + content_weight * 0.05 * C + tv_weight * 0.05 * TV) of each tile.

    E is the mean of the layers' style errors and C that of their content errors, each weighted with
    the layers' weights; so only the proportions of layer weights matter. Gatys et al. 2016, equation
    7, with the scaling under which key values of 1.0 give a good picture. In other units than relative ones
    (`SolverSettings.units`) it is style_weight * E + content_weight * C + tv_weight * TV with sums over the
    layers, the form in which systems publish their weights.

    A layer or a term of weight 0 costs nothing. With `SolverSettings.normalize_gradients` every layer's
    derivative by its features has the length of its weight in the sum, whatever its error: the gradient then
    is not that of the value.
    """

    def __init__(
        self,
        network: FeatureNetwork,
        settings: SolverSettings,
        targets: LevelTargets,
        content: Tensor,
        start: Tensor | None = None,
        regions: Tensor | None = None,
    ) -> None:
        """Computes the features of `content` (B, 3, H, W), float32, 0..1, once.

        `start`, the tiles' starting images, is needed where the targets correct drift
        (`LevelTargets.pictures`); it is of the same shape. `regions` (B, R, H, W), 0..1, are the shares of
        the targets' regions in every pixel; None where there is one for all.
        """
        self._network = network
        self._settings = settings
        self._style_layers = active(settings.style_layers) if settings.style_weight else {}
        self._content_layers = active(settings.content_layers) if settings.content_weight else {}
        self._grey = settings.grey
        self._layers = frozenset(self._style_layers) | frozenset(self._content_layers)
        relative = settings.units == "relative"
        self._mean_squares = {
            name: targets.content_mean_squares[name] if relative else 1.0 for name in self._content_layers
        }
        self._region_weights = targets.region_weights
        self._shares = {
            name: None if regions is None else shares_at(regions, settings.network, name)
            for name in self._style_layers
        }
        with torch.no_grad():
            self._content = self._features(content, self._content_layers)
            self._compare = self._comparisons(targets, start)

    def _comparisons(self, targets: LevelTargets, start: Tensor | None) -> dict[str, Compare]:
        """Per style layer what a tile's statistics are compared with."""
        features = {}
        if targets.pictures and self._style_layers:
            if start is None:
                raise ValueError("targets that correct drift need the tiles' starting images")
            features = self._features(start, self._style_layers)
        found = {}
        for name in self._style_layers:
            drift = None
            if name in features:
                own, _ = moments(features[name], self._shares[name])
                drift = Drift(own, self._moments(targets.pictures[name]))
            found[name] = comparison(
                self._settings.statistics,
                self._settings.activation_shift,
                self._moments(targets.styles[name]),
                drift,
                self._settings.units,
            )
        return found

    def _moments(self, known: RegionMoments) -> Moments:
        dtype = torch.float64 if self._network.dtype == torch.float64 else torch.float32
        mean, product = (
            torch.tensor(values, dtype=dtype, device=self._network.device)
            for values in (known.means, known.products)
        )
        return Moments(mean, product)

    def evaluate(self, images: Tensor) -> tuple[BatchLosses, Tensor]:
        """The losses of `images` (B, 3, H, W), float32, 0..1, and the gradient of each tile's total,
        projected on grey pictures where `SolverSettings.grey` asks for it.

        Where a tile's gradient leaves the range of float16, it is formed again from smaller numbers; that
        changes nothing for the other tiles. If it still is not finite, it is returned as it is.
        """
        lowered = torch.zeros(images.shape[0], dtype=torch.int32, device=images.device)
        while True:
            losses, gradient, too_large = self._attempt(images, lowered)
            again = too_large & (lowered < MOST_LOWERED)
            if not again.any():
                return losses, to_grey(gradient) if self._grey else gradient
            lowered += again

    def losses(self, images: Tensor) -> BatchLosses:
        """The losses alone: a forward pass without a graph."""
        with torch.no_grad():
            return self._losses(images)

    def _attempt(self, images: Tensor, lowered: Tensor) -> tuple[BatchLosses, Tensor, Tensor]:
        """Losses, gradients, and whose gradients have left the range of float16, (B,)."""
        images = images.detach().requires_grad_()
        features = self._features(images, self._layers)
        losses = self._terms(features, images)
        if not losses.total.requires_grad:  # every weight is 0
            return losses, torch.zeros_like(images), torch.zeros_like(lowered, dtype=torch.bool)
        largest = self._largest_derivatives(losses.total, features)
        scale = seed_scale(largest, lowered).to(images.dtype)
        # A tile's total depends on its own pixels only, so the batch's gradient holds every tile's.
        (gradient,) = torch.autograd.grad(losses.total, images, scale)
        gradient /= scale.view(-1, 1, 1, 1)
        # Detached, so that keeping the losses does not keep the graph and its activations.
        return replace(losses, total=losses.total.detach()), gradient, left_range(largest, gradient)

    def _largest_derivatives(self, total: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """Of each tile's total by what the network put out, (B,); 0 where nothing needs scaling.

        Layer by layer, because in float32 all layers together would take as much as the graph.
        """
        largest = torch.zeros_like(total)
        if self._network.dtype == torch.float16:
            for values in features.values():
                (back,) = torch.autograd.grad(total.sum(), values, retain_graph=True)
                largest = torch.maximum(largest, back.abs().flatten(1).amax(1))
        return largest.detach() * self._network.unit

    def _features(self, images: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """In the network's dtype; in float32 and true size for float16, in which they could not be told."""
        features = self._network.features(images, layers)
        if self._network.dtype != torch.float16:
            return features
        return {name: values.float().mul_(self._network.unit) for name, values in features.items()}

    def _losses(self, images: Tensor) -> BatchLosses:
        return self._terms(self._features(images, self._layers), images)

    def _terms(self, features: Mapping[str, Tensor], images: Tensor) -> BatchLosses:
        nothing = torch.zeros(images.shape[0], dtype=images.dtype, device=images.device)
        style, content = nothing, nothing
        normalize = self._settings.normalize_gradients
        if self._style_layers:
            terms = {
                n: style_error(
                    features[n], self._compare[n], self._shares[n], self._region_weights, normalize
                )
                for n in self._style_layers
            }
            style = self._weighted(terms, self._style_layers)
        if self._content_layers:
            terms = {
                n: content_error(features[n], self._content[n], self._mean_squares[n], normalize)
                for n in self._content_layers
            }
            content = self._weighted(terms, self._content_layers)
        settings, scales = self._settings, self._settings.scales
        style_weight, content_weight = settings.style_weight, settings.content_weight
        tv_weight = settings.tv_weight
        with torch.set_grad_enabled(torch.is_grad_enabled() and tv_weight != 0):
            # Cheap, and reported even where it has no weight.
            tv = total_variation(images, settings.tv_exponent)
        total = style_weight * style + content_weight * scales.content * content + tv_weight * scales.tv * tv
        return BatchLosses(scales.overall * total, content.detach(), style.detach(), tv.detach())

    def _weighted(self, terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        """sum(w_l t_l) / sum(w_l), shape (B,), without the divisor in other units than relative ones."""
        weighted = torch.stack([weights[name] * term for name, term in terms.items()], dim=-1)
        return weighted.sum(-1) / self._settings.layer_total(weights.values())


def to_grey(pictures: Tensor) -> Tensor:
    """The nearest pictures (B, 3, H, W) with three equal channels: each channel is the mean of the three."""
    return pictures.mean(1, keepdim=True).expand_as(pictures)

"""How often neurons are active on the data, and how that goes with their size."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dynamics.measures.table import MEASURES, Measure
from dynamics.measures.view import View

SPARSE_RATE = 0.1  # a neuron active on at most this share of the data counts as sparse


def activation_statistics(view: View) -> dict[str, jax.Array]:
    """Return over neurons: who is alive (active on some sample), how often the alive are active,
    whose kink misses the data.

    alive_fraction, outside_fraction (kink |b| / |w| at or beyond the data's radius), always_active_fraction: shares of
    all neurons. Mean, median and 90th percentile of the alive's activation rate, and sparse_fraction (the share of the
    alive that is active on at most 10 % of the samples): NaN when no neuron is alive.
    """
    bias, direction = view.neurons.hidden[0], view.neurons.hidden[1:]
    rate, used = view.rate, view.used
    alive = used & (rate > 0)
    count, total = jnp.sum(alive), jnp.sum(used).astype(rate.dtype)
    outside = used & (jnp.abs(bias) >= view.radius * jnp.linalg.norm(direction, axis=0))
    among = jnp.where(alive, rate, jnp.nan)
    return {
        "alive_fraction": count / total,
        "outside_fraction": jnp.sum(outside) / total,
        "always_active_fraction": jnp.sum(used & (rate >= 1 - 1e-5)) / total,
        "activation_rate_mean": jnp.sum(jnp.where(alive, rate, 0)) / count,
        "activation_rate_median": jnp.nanmedian(among),
        "activation_rate_p90": jnp.nanquantile(among, 0.9),
        "sparse_fraction": jnp.sum(alive & (rate <= SPARSE_RATE * (1 + 1e-5))) / count.astype(rate.dtype),
    }


def ranks(values: jax.Array, among: jax.Array) -> jax.Array:
    """Ranks (K,) of the values among those masked, ties sharing their mean rank; meaningless elsewhere."""
    ordered = jnp.sort(jnp.where(among, values, jnp.inf))
    return (jnp.searchsorted(ordered, values, side="left") + jnp.searchsorted(ordered, values, side="right")).astype(
        values.dtype
    )


def rate_norm_correlation(view: View) -> dict[str, jax.Array]:
    """Return, over the neurons alive, Spearman's correlation of activation rate with |w| and |v| |w|,
    and the median |w|.

    A correlation is NaN if one side is constant, the median if no neuron is alive. Shattering shows as a negative
    correlation: what is seldom active has grown large (Liang et al. 2025, Figures 1 and 4-8).
    """
    norm = jnp.linalg.norm(view.neurons.hidden[1:], axis=0)
    views = view.layout.mass / view.layout.share
    rate = jnp.round(view.rate * views * view.hyper["data.num_samples"])  # a count, so that ties are ties
    alive = view.used & (rate > 0)

    def centred(values: jax.Array) -> jax.Array:
        rank = jnp.where(alive, ranks(values, alive), 0)
        return jnp.where(alive, rank - jnp.sum(rank) / jnp.sum(alive), 0)

    def correlation(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.sum(a * b) / jnp.sqrt(jnp.sum(a**2) * jnp.sum(b**2))

    rate = centred(rate)
    return {
        "rate_weight_norm_correlation": correlation(rate, centred(norm)),
        "rate_path_correlation": correlation(rate, centred(norm * jnp.abs(view.neurons.readout))),
        "alive_weight_norm_median": jnp.nanmedian(jnp.where(alive, norm, jnp.nan)),
    }


OF_THE_ALIVE = ("activation_rate_mean", "activation_rate_median", "activation_rate_p90", "sparse_fraction")
CORRELATIONS = ("rate_weight_norm_correlation", "rate_path_correlation", "alive_weight_norm_median")
UNITS = ("one_hidden_layer", "single_output")
MEASURES.update(
    {
        "activation_statistics": Measure(activation_statistics, UNITS, padding="exact", undefined=OF_THE_ALIVE),
        "rate_norm_correlation": Measure(rate_norm_correlation, UNITS, padding="exact", undefined=CORRELATIONS),
    }
)

"""The terms of the genetic part are drawn: who acts, in pairs or alone, and how strongly; not yet scaled."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genoweave.errors import DataError
from genoweave.methods.phenotype.effects import (
    Causal,
    EffectDraws,
    Given,
    acting_traits,
    maf_weights,
    varying,
)
from genoweave.methods.phenotype.genetic import Term
from genoweave.methods.phenotype.parameters import Phenotype
from genoweave.methods.phenotype.shares import BACKGROUND
from genoweave.rng import Root

log = logging.getLogger(__name__)

Float = NDArray[np.float64]


def draw_terms(
    frequency: Float,
    causal: Causal,
    given: Given | None,
    draws: EffectDraws,
    params: Phenotype,
    parts: dict[str, Any],
) -> tuple[list[Term], NDArray[np.int64]]:
    """Draw the effects of each genetic component that has a share, and the pairs.

    Parameters
    ----------
    frequency
        f8 (variants,) of the counted allele; where it is 0, 1 or NaN nothing is drawn.
    causal, given
        Variants that act additively, and their effects, if a user gives these.
    draws
        Of effects.
    params, parts
        The setting, and the components that have a share of the variance.

    Returns
    -------
    terms, pairs
        The components, of stretch 1 and offset 0; int64 (pairs, 2), rows of variants.

    Raises
    ------
    DataError
        If no variant varies, or too few for the pairs.
    """
    single = params.traits == 1
    terms = []
    for name, rows in (("additive", causal.every), ("additive_shared", causal.shared),
                       ("additive_independent", causal.independent)):  # fmt: skip
        if name in parts:
            terms.append(_additive(name, rows, frequency, given, draws, params))
    for name in ("dominance", "interaction"):
        if name in parts:
            effects = draws.columns(f"phenotype.{name}", params.traits, causal.every)[:1]
            terms.append(_term(name, _scattered(effects, causal.every, len(frequency)), params.traits))
    varies = varying(frequency)
    for name in BACKGROUND:
        if name in parts:
            shared = name.endswith("_shared")
            effects = draws.columns(f"phenotype.{name}", 1 if shared else params.traits, varies, normal=True)
            loading = None if single else _loading(draws.root, name, params)
            effects = _scattered(effects / np.sqrt(len(varies)), varies, len(frequency))
            terms.append(_term(name, effects, params.traits, loading))
    pairs = np.empty((0, 2), np.int64)
    if "epistasis" in parts:
        pairs = draw_pairs(varies, draws, params.n_pairs)
        stream = draws.root.stream("phenotype.pair-effect")
        effects = np.stack([stream.normals(t, len(pairs)) for t in range(params.traits)], axis=-1)[None]
        terms.append(_term("epistasis", effects, params.traits))
    return terms, pairs


def _additive(
    name: str, rows: NDArray[np.int64], frequency: Float, given: Given | None, draws: EffectDraws,
    params: Phenotype,
) -> Term:  # fmt: skip
    if given is not None:
        p = frequency[given.rows]
        deviation = np.nan_to_num(np.sqrt(2 * p * (1 - p)))
        if not deviation.all():
            log.warning("%d of %d given variants do not vary and add nothing", (deviation == 0).sum(), len(p))
        effects = (given.per_allele * deviation[:, None])[None]
        return _term(name, _scattered(effects, given.rows, len(frequency)), params.traits)
    shared = name == "additive_shared"
    stream = "phenotype.effect-shared" if shared else "phenotype.effect"
    effects = draws.columns(stream, 1 if shared else params.traits, rows)
    effects = effects * maf_weights(frequency[rows], params.maf_alpha)[:, None]
    loading = _loading(draws.root, name, params) if shared else None
    if name == "additive_independent":
        loading = acting_traits(params, draws.root).astype(np.float64)
    return _term(name, _scattered(effects, rows, len(frequency)), params.traits, loading)


def _term(name: str, effects: Float, n_traits: int, loading: Float | None = None) -> Term:
    ones = np.ones((1, n_traits))
    return Term(name, effects, ones[0] if loading is None else loading, ones, np.zeros((1, n_traits)))


def _loading(root: Root, name: str, params: Phenotype) -> Float:
    """Normal loadings of the traits, as PhenotypeSimulator draws them."""
    return root.stream(f"phenotype.loading.{name}").normals(0, params.traits)


def _scattered(effects: Float, rows: NDArray[np.int64], n_variants: int) -> Float:
    out = np.zeros((effects.shape[0], n_variants, effects.shape[2]))
    out[:, rows] = effects
    return out


def draw_pairs(varies: NDArray[np.int64], draws: EffectDraws, n_pairs: int) -> NDArray[np.int64]:
    """Draw pairs of variants that vary, each variant in one pair, int64 (pairs, 2).

    Raises
    ------
    DataError
        If there are too few variants.
    """
    if 2 * n_pairs > len(varies):
        raise DataError(
            f"{n_pairs} pairs need {2 * n_pairs} variants that vary, the cohort has {len(varies)}; lower "
            "[phenotype] n_pairs"
        )
    order = np.argsort(draws.root.stream("phenotype.pair").words64(0, draws.rows[varies]), kind="stable")
    return np.sort(varies[order[: 2 * n_pairs]].reshape(-1, 2), axis=1)

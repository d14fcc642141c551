"""The genetic part: its terms, their values over a cohort, and their use for other samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.errors import DataError
from genoweave.methods.phenotype.products import (
    Columns,
    additive_coding,
    dominance_coding,
    pair_products,
    products,
)
from genoweave.methods.phenotype.shares import ADDITIVE, BACKGROUND

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Term:
    """One genetic component as effects of variants, or of pairs of variants.

    Its value in trait t of a sample in group k is stretch[k, t] x loading[t] x (sum of coding x effect)
    - offset[k, t].

    Attributes
    ----------
    name
        Of the component: additive, additive_shared, background, dominance, epistasis, interaction, ...
    effects
        f8 (copies, variants or pairs, columns): one copy, or one per group; one column that all traits share,
        or one per trait.
    loading
        f8 (traits,).
    stretch, offset
        f8 (groups, traits).
    """

    name: str
    effects: Float
    loading: Float
    stretch: Float
    offset: Float

    def scaled(self, k: int) -> Float:
        """Return the effects on the liability's scale in group k, f8 (variants or pairs, traits)."""
        return self.effects[min(k, len(self.effects) - 1)] * (self.loading * self.stretch[k])

    def value(self, sums: Float, group: NDArray[np.int64]) -> Float:
        """Return the component f8 (samples, traits) of sums f8 (samples, columns)."""
        return sums * self.loading * self.stretch[group] - self.offset[group]


@dataclass(frozen=True)
class GeneticModel:
    """All that gives samples their genetic part.

    Attributes
    ----------
    frequency
        f8 (variants,) of the counted allele; NaN where nothing was called or a variant has three alleles.
    causal
        bool (variants,): acts additively, besides the infinitesimal part.
    terms
        The components.
    pairs
        int64 (pairs, 2): rows of the variants that interact.
    groups
        Names of the groups with effects or scales of their own; ("",) of one.
    sizes
        int64 (groups,): samples of each.
    n_traits
        Number of traits.
    interaction_covariate
        Name of the covariate that variants interact with, or "".
    covariate_scale
        Its mean and standard deviation.
    """

    frequency: Float
    causal: NDArray[np.bool_]
    terms: tuple[Term, ...]
    pairs: NDArray[np.int64]
    groups: tuple[str, ...]
    sizes: NDArray[np.int64]
    n_traits: int
    interaction_covariate: str = ""
    covariate_scale: tuple[float, float] = (0.0, 1.0)

    @property
    def deviation(self) -> Float:
        """sqrt(2p(1-p)), f8 (variants,); NaN where `frequency` is."""
        return np.asarray(np.sqrt(2 * self.frequency * (1 - self.frequency)))

    @property
    def effect(self) -> Float:
        """Additive effects of the causal variants per standardised genotype, f8 (variants, traits).

        On the liability's scale; of several groups the mean over samples.
        """
        return self._sum(ADDITIVE)

    @property
    def per_allele(self) -> Float:
        """The same per counted allele."""
        return self._per_allele(self.effect)

    @property
    def background(self) -> Float | None:
        """Infinitesimal effects per standardised genotype, f8 (variants, traits), or None."""
        return self._sum(BACKGROUND) if self._has(BACKGROUND) else None

    @property
    def dominance(self) -> Float | None:
        """Effects per standardised dominance coding, f8 (variants, traits), or None."""
        return self._sum(("dominance",)) if self._has(("dominance",)) else None

    @property
    def interaction(self) -> Float | None:
        """Effects per standardised genotype and standardised covariate, f8 (variants, traits), or None."""
        return self._sum(("interaction",)) if self._has(("interaction",)) else None

    @property
    def pair_effects(self) -> Float | None:
        """Effects per product of standardised genotypes, f8 (pairs, traits), or None."""
        if not self._has(("epistasis",)):
            return None
        term = next(term for term in self.terms if term.name == "epistasis")
        return self._mean(term)

    def group_effect(self, k: int) -> Float:
        """Additive effects of the causal variants in group k, f8 (variants, traits)."""
        out = np.zeros((len(self.frequency), self.n_traits))
        for term in self.terms:
            if term.name in ADDITIVE:
                out += term.scaled(k)
        return out

    def _per_allele(self, effect: Float) -> Float:
        scale = self.deviation[:, None]
        return np.divide(effect, scale, out=np.zeros_like(effect), where=scale > 0)

    def _has(self, names: Sequence[str]) -> bool:
        return any(term.name in names for term in self.terms)

    def _mean(self, term: Term) -> Float:
        out = np.zeros((term.effects.shape[1], self.n_traits))
        for k, size in enumerate(self.sizes):
            out += term.scaled(k) * (size / self.sizes.sum())
        return out

    def _sum(self, names: Sequence[str]) -> Float:
        out = np.zeros((len(self.frequency), self.n_traits))
        for term in self.terms:
            if term.name in names:
                out += self._mean(term)
        return out

    def to_dataset(self) -> xr.Dataset:
        """Return everything as variables and one attribute, for a store."""
        found: dict[str, Any] = {
            "model_frequency": ("variants", self.frequency),
            "model_causal": ("variants", self.causal),
            "model_pairs": (("pairs", "two"), self.pairs),
        }
        for term in self.terms:
            axis = "pairs" if term.name == "epistasis" else "variants"
            dims = (f"copies_{term.name}", axis, f"columns_{term.name}")
            found[f"model_effects_{term.name}"] = (dims, term.effects)
        rest = {
            "terms": [
                {"name": term.name}
                | {key: getattr(term, key).tolist() for key in ("loading", "stretch", "offset")}
                for term in self.terms
            ],
            "groups": list(self.groups),
            "sizes": self.sizes.tolist(),
            "n_traits": self.n_traits,
            "interaction_covariate": self.interaction_covariate,
            "covariate_scale": list(self.covariate_scale),
        }
        return xr.Dataset(found, attrs={"genetic_model": json.dumps(rest)})

    @classmethod
    def from_dataset(cls, ds: xr.Dataset) -> GeneticModel:
        """Read what `to_dataset` made.

        Raises
        ------
        DataError
            If the dataset holds no such model.
        """
        if "genetic_model" not in ds.attrs:
            raise DataError(
                "the dataset holds no genetic model of a simulated trait; simulate the trait again"
            )
        rest = json.loads(ds.attrs["genetic_model"])
        terms = tuple(
            Term(
                part["name"],
                ds[f"model_effects_{part['name']}"].values,
                *(np.array(part[key], np.float64) for key in ("loading", "stretch", "offset")),
            )
            for part in rest["terms"]
        )
        return cls(
            ds["model_frequency"].values,
            ds["model_causal"].values,
            terms,
            ds["model_pairs"].values,
            tuple(rest["groups"]),
            np.array(rest["sizes"], np.int64),
            rest["n_traits"],
            rest["interaction_covariate"],
            (rest["covariate_scale"][0], rest["covariate_scale"][1]),
        )


def raw_sums(
    ds: xr.Dataset, model: GeneticModel, group: NDArray[np.int64], covariate: Float | None = None
) -> dict[str, Float]:
    """Return each term's sums over variants, f8 (samples, columns), before loading, stretch and offset.

    Two passes at most over the genotypes (for up to 64 columns): all linear terms, and the pairs. Without the
    covariate that variants interact with the interaction is 0.
    """
    linear = [term for term in model.terms if term.name != "epistasis"]
    additive, dominance = additive_coding(model.frequency), dominance_coding(model.frequency)
    columns = [Columns(dominance if term.name == "dominance" else additive, term.effects) for term in linear]
    found = dict(zip((term.name for term in linear), products(ds, columns, group), strict=True))
    for term in model.terms:
        if term.name == "epistasis":
            found[term.name] = pair_products(ds, model.pairs, additive, term.effects[0])
    if "interaction" in found:
        with_it = np.zeros(len(group)) if covariate is None else np.nan_to_num(_standard(covariate, model))
        found["interaction"] = found["interaction"] * with_it[:, None]
    return {term.name: found[term.name] for term in model.terms}


def _standard(covariate: Float, model: GeneticModel) -> Float:
    mean, sd = model.covariate_scale
    return np.asarray((covariate - mean) / sd)


def genetic_values_of(
    ds: xr.Dataset,
    model: GeneticModel,
    group: NDArray[np.int64] | None = None,
    covariate: Float | None = None,
) -> Float:
    """Return the genetic part of other samples over the same variants, f8 (samples, traits).

    Parameters
    ----------
    ds
        A cohort with the model's variants, in its order and with the same counted alleles.
    model
        Of the cohort on which the trait was simulated.
    group
        int64 (samples,), the samples' numbers among ``model.groups``; needed if there are several.
    covariate
        f8 (samples,), values of ``model.interaction_covariate``; without them the interaction is 0.

    Raises
    ------
    DataError
        If variants differ in number, or groups are needed and not given.
    """
    if ds.sizes["variants"] != len(model.frequency):
        raise DataError(
            f"the trait was simulated over {len(model.frequency)} variants, these samples have "
            f"{ds.sizes['variants']}; give samples over the same variants"
        )
    if group is None and len(model.groups) > 1:
        raise DataError("the trait's effects differ between ancestry groups; give each sample's group")
    group = np.zeros(ds.sizes["samples"], np.int64) if group is None else group
    sums = raw_sums(ds, model, group, covariate)
    out = np.zeros((len(group), model.n_traits))
    for term in model.terms:
        out += term.value(sums[term.name], group)
    return out

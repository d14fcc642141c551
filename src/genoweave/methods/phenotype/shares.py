"""Shares of variance: what each component is asked to have, and the stretch that gives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genoweave.aggregate import people
from genoweave.errors import DataError
from genoweave.methods.phenotype.parameters import Phenotype

Float = NDArray[np.float64]

ADDITIVE = ("additive", "additive_shared", "additive_independent")
BACKGROUND = ("background", "background_shared", "background_independent")
NON_ADDITIVE = ("dominance", "epistasis", "interaction")
GENETIC = (*ADDITIVE, *NON_ADDITIVE, *BACKGROUND)
SYSTEMATIC = ("covariates", "covariates_shared", "covariates_independent", "stratification")
NOISE = ("correlated", "noise", "noise_shared", "noise_independent")


@dataclass(frozen=True)
class Groups:
    """Samples in whose every group the shares are met: the ancestry groups, or all in one.

    Attributes
    ----------
    names
        Labels; ("",) of one group.
    number
        int64 (samples,): each sample's group.
    """

    names: tuple[str, ...]
    number: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Samples of each group."""
        return np.bincount(self.number, minlength=len(self.names))

    def rows(self) -> list[NDArray[np.int64]]:
        """Samples of each group, ascending."""
        return [np.flatnonzero(self.number == k) for k in range(len(self.names))]


def asked_shares(
    params: Phenotype, heritability: Float, acts: NDArray[np.bool_], given: bool = False
) -> dict[str, Float]:
    """Return the variance of each component, f8 (groups, traits); only of those that have any.

    Parameters
    ----------
    params
        The setting.
    heritability
        f8 (groups,).
    acts
        bool (traits,): on which traits independent effects act. If each trait is to meet its shares, the
        others get that share from the shared part.
    given
        The user's effects are the additive part, which then is not split.
    """
    genetic = heritability[:, None] * np.ones(params.traits)
    noise = 1 - genetic
    variants = params.h2s * genetic
    systematic = params.delta + params.rho + params.stratification
    additive = variants * max(0.0, 1 - params.dominance - params.epistasis - params.interaction)
    split = _Split(params, acts)
    shares = {"additive": additive} if given else split("additive", additive, params.theta, limited=True)
    shares |= {name: getattr(params, name) * variants for name in NON_ADDITIVE}
    shares |= split("background", genetic - variants, params.eta)
    shares |= split("covariates", params.delta * noise, params.gamma, limited=True)
    shares |= {"stratification": params.stratification * noise, "correlated": params.rho * noise}
    shares |= split("noise", max(0.0, 1 - systematic) * noise, params.alpha)
    return {name: share for name, share in shares.items() if (share > 1e-15).any()}


class _Split:
    """Split a share into what traits have in common and what each has of its own."""

    def __init__(self, params: Phenotype, acts: NDArray[np.bool_]) -> None:
        self.single = params.traits == 1
        self.by_trait = params.scaling == "trait"
        self.acts = acts

    def __call__(self, name: str, share: Float, shared: float, *, limited: bool = False) -> dict[str, Float]:
        if self.single:  # a product of a sample's and a trait's factor would make no difference
            return {name: share}
        own = (1 - shared) * share
        if limited and self.by_trait and shared > 0:
            own = own * self.acts
        return {f"{name}_shared": share - own, f"{name}_independent": own}


def stretches(name: str, raw: Float, share: Float, groups: Groups, scaling: str) -> Float:
    """Return the factors f8 (groups, traits) that give a component its variance within each group.

    Parameters
    ----------
    name
        Of the component, for the message.
    raw
        f8 (samples, traits).
    share
        f8 (groups, traits), the variances wanted.
    groups
        Of the samples.
    scaling
        ``"trait"``: of each trait; ``"mean"``: of their mean, by one factor for all.

    Raises
    ------
    DataError
        If the component does not vary where it is to have a share.
    """
    out = np.zeros_like(share)
    for k, rows in enumerate(groups.rows()):
        part = raw[rows]
        spread = part.std(axis=0)
        spread[~(spread > 1e-12 * np.abs(part).max(axis=0, initial=0.0))] = 0
        wanted = share[k]
        if scaling == "mean":
            spread = np.full_like(spread, np.sqrt((spread**2).mean()))
        flat = np.flatnonzero((spread == 0) & (wanted > 0))
        if len(flat):
            where = f" in group {groups.names[k]}" if groups.names[k] else ""
            raise DataError(
                f"trait {flat[0] + 1}: the component {name} is to have a share of "
                f"{wanted[flat[0]]:.3g} of the variance{where}, and does not vary over its "
                f"{people(len(rows))} samples; set its share to 0, or take more samples, variants or effects"
            )
        out[k] = np.divide(np.sqrt(wanted), spread, out=np.zeros_like(spread), where=spread > 0)
    return out


def variance_table(
    trait_id: Sequence[str],
    groups: Groups,
    asked: dict[str, Float],
    components: dict[str, Float],
    unit: Float,
) -> pd.DataFrame:
    """Return asked and realised variances: a row per trait, group and component, and of their sums.

    `unit` f8 (traits,) multiplies what was asked for: the scale of the traits.
    """
    sums = {
        "genetic": [name for name in components if name in GENETIC],
        "noise": [name for name in components if name in NOISE],
        "liability": list(components),
    }
    rows = []
    for k, members in enumerate(groups.rows()):
        for t, trait in enumerate(trait_id):
            for name, values in components.items():
                rows.append((trait, groups.names[k], name, asked[name][k, t], values[members, t].var()))
            for name, parts in sums.items():
                total = np.zeros(len(members))
                for part in parts:
                    total += components[part][members, t]
                wanted = sum(float(asked[part][k, t]) for part in parts)
                rows.append((trait, groups.names[k], f"{name} (sum)", wanted, total.var()))
    found = pd.DataFrame(rows, columns=["trait", "group", "component", "asked", "realised"])
    scale = dict(zip(trait_id, unit**2, strict=True))
    return found.assign(asked=found["asked"] * found["trait"].map(scale).astype(float))

"""Which variants act on the traits, and how strongly: drawn, or given by the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtr, ndtri, stdtrit

from genoweave.errors import ConfigError, DataError
from genoweave.methods.phenotype.parameters import Phenotype, is_column_name
from genoweave.methods.qc import usable_variants
from genoweave.rng import Root

Float = NDArray[np.float64]

_DEGREES, _SHAPE = 5.0, 1.0
_NORMAL = Phenotype()
_ID_NAMES = ("id", "snp", "variant_id", "rsid")
_ALLELE_NAMES = ("a1", "allele", "effect_allele", "counted_allele")


@dataclass(frozen=True)
class Causal:
    """Rows of the variants that act additively.

    Attributes
    ----------
    every
        int64, in random order.
    shared, independent
        Those whose effects traits share, and those with an effect of each trait's own.
    """

    every: NDArray[np.int64]
    shared: NDArray[np.int64]
    independent: NDArray[np.int64]


@dataclass(frozen=True)
class Given:
    """A user's effects.

    Attributes
    ----------
    rows
        int64 (variants given,), ascending.
    per_allele
        f8 (variants given, traits), of the allele that the cohort counts.
    trait_id
        Names of the traits.
    """

    rows: NDArray[np.int64]
    per_allele: Float
    trait_id: tuple[str, ...]


def varying(frequency: Float) -> NDArray[np.int64]:
    """Return the variants that vary.

    Raises
    ------
    DataError
        If there are none.
    """
    rows = np.flatnonzero((frequency > 0) & (frequency < 1))
    if len(rows) == 0:
        raise DataError("no variant varies in this cohort, so that no trait can be simulated on it")
    return rows


def acting_traits(params: Phenotype, root: Root) -> NDArray[np.bool_]:
    """Return on which traits independent effects act: ceil(independent_traits x traits) of them."""
    acts = np.zeros(params.traits, bool)
    wanted = int(np.ceil(params.independent_traits * params.traits - 1e-9))
    acts[root.stream("phenotype.independent-traits").permutation(0, params.traits)[:wanted]] = True
    return acts


def choose_causal(
    frequency: Float, rows: NDArray[np.int64], params: Phenotype, parts: set[str], root: Root
) -> Causal:
    """Draw the causal variants without replacement among those that vary.

    Parameters
    ----------
    frequency
        f8 (variants,) of the counted allele.
    rows
        int64 (variants,), the addresses of the variants' draws.
    params
        The setting.
    parts
        Components that have a share of the variance.
    root
        Of the public seed.

    Raises
    ------
    DataError
        If no variant varies, or fewer than ``n_causal``.
    """
    varies = varying(frequency)
    wanted = params.n_causal or min(len(varies), max(1, round(params.causal_fraction * len(frequency))))
    if wanted > len(varies):
        raise DataError(
            f"n_causal = {wanted} variants are to act on the trait, and only {len(varies)} of "
            f"{len(frequency)} vary in this cohort; lower [phenotype] n_causal"
        )
    order = np.argsort(root.stream("phenotype.causal").words64(0, rows[varies]), kind="stable")
    chosen = varies[order[:wanted]]
    if params.traits == 1:
        return Causal(chosen, chosen[:0], chosen)
    own = round(params.independent_fraction * wanted)
    if "additive_shared" not in parts or "additive_independent" not in parts:
        own = 0 if "additive_shared" in parts else wanted
    elif own in (0, wanted):
        what = "independent" if own == 0 else "shared"
        raise ConfigError(
            f"[Phenotype] {what} effects have a share of the variance, but independent_fraction = "
            f"{params.independent_fraction:g} of {wanted} causal variants leaves none for them; change it or "
            "theta"
        )
    return Causal(chosen, chosen[own:], chosen[:own])


def standard_effects(u: Float, params: Phenotype) -> Float:
    """Return effects of mean square 1 from uniforms `u`, each by the quantile of its distribution.

    Normal, t, uniform: mean 0. Fixed is 1, gamma is above 0; with ``random_sign`` they are made
    symmetric, half of the effects negative.
    """
    shape = params.effect_shape
    if params.effect == "normal":
        return np.asarray(ndtri(u))
    if params.effect == "uniform":
        return np.asarray((u - 0.5) * np.sqrt(12))
    if params.effect == "t":
        degrees = shape or _DEGREES
        return np.asarray(stdtrit(degrees, u) * np.sqrt((degrees - 2) / degrees))
    sign = np.where(u < 0.5, -1.0, 1.0) if params.random_sign else 1.0
    if params.effect == "fixed":
        return np.asarray(sign * np.ones_like(u))
    k = shape or _SHAPE
    size = gammaincinv(k, np.abs(2 * u - 1) if params.random_sign else u)
    return np.asarray(sign * size / np.sqrt(k * (k + 1)))


class EffectDraws:
    """Effects of variants addressed by their row in the source, per trait and ancestry group."""

    def __init__(self, root: Root, params: Phenotype, rows: NDArray[np.int64], correlation: Float) -> None:
        self.root, self.params, self.rows = root, params, rows
        # effects in the groups: one draw for all if they are equal, else as many as groups, mixed
        self.mixing = None if (correlation == 1).all() else correlation_root(correlation)

    @property
    def n_copies(self) -> int:
        """1, or the number of groups, if each has effects of its own."""
        return 1 if self.mixing is None else len(self.mixing)

    def columns(
        self, name: str, n_columns: int, variants: NDArray[np.int64], *, normal: bool = False
    ) -> Float:
        """Return effects f8 (copies, variants, columns); `normal` whatever the parameters say."""
        return np.stack([self._column(name, c, variants, normal) for c in range(n_columns)], axis=-1)

    def _column(self, name: str, column: int, variants: NDArray[np.int64], normal: bool) -> Float:
        address = self.rows[variants]
        if self.mixing is None:
            uniform = self.root.stream(name).uniforms(column, address)[None]
        else:
            streams = [self.root.stream(f"{name}.group{k}") for k in range(len(self.mixing))]
            own = np.stack([stream.normals(column, address) for stream in streams])
            uniform = ndtr(_mixed(self.mixing, own))
        return standard_effects(uniform, _NORMAL if normal else self.params)


def _mixed(mixing: Float, own: Float) -> Float:
    """Return mixing @ own, summed in the order of the groups."""
    out = np.zeros((len(mixing), own.shape[1]))
    for k, column in enumerate(mixing.T):
        out += column[:, None] * own[k]
    return out


def correlation_root(matrix: Float) -> Float:
    """Return L with L L' = matrix.

    Raises
    ------
    ConfigError
        If it is no positive definite correlation matrix.
    """
    matrix = np.asarray(matrix, np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.allclose(matrix, matrix.T):
        raise ConfigError(f"a symmetric matrix of correlations is wanted, found shape {matrix.shape}")
    if not np.isfinite(matrix).all() or not np.allclose(np.diag(matrix), 1):
        raise ConfigError(
            "a matrix of correlations has 1 on its diagonal; divide covariances by their scales"
        )
    try:
        return np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        smallest = float(np.linalg.eigvalsh(matrix).min())
        raise ConfigError(
            f"the matrix of correlations is not positive definite (smallest eigenvalue {smallest:.3g}); no "
            "variables have it. Shrink its off-diagonal elements"
        ) from None


def maf_weights(frequency: Float, alpha: float) -> Float:
    """Return the standard deviation of effects per standardised genotype, [2p(1-p)]^((1 + alpha) / 2)."""
    return np.asarray((2 * frequency * (1 - frequency)) ** ((1 + alpha) / 2))


def read_given(ds: xr.Dataset, table: pd.DataFrame, n_traits: int) -> Given:
    """Match a user's effects to the cohort's variants, and turn them to the allele that it counts.

    Parameters
    ----------
    ds
        A cohort with ``variant_id`` and ``variant_allele``.
    table
        Columns ``id``, ``a1`` (the allele of which the effect is) and an effect per allele for each trait.
    n_traits
        Number of traits.

    Raises
    ------
    DataError
        If a column lacks or has no name for a trait, a variant is not in the cohort, there twice or with
        more than two alleles, an allele is neither of the variant's, or an effect is no finite number.
    """
    columns = {str(name).lower().lstrip("#"): name for name in table.columns}
    id_column = _named(columns, _ID_NAMES, "the variant's id")
    allele_column = _named(columns, _ALLELE_NAMES, "the allele of which the effect is")
    effect_columns = [name for name in table.columns if name not in (id_column, allele_column)]
    if len(effect_columns) != n_traits:
        raise DataError(
            f"the table of effects has {len(effect_columns)} columns of effects "
            f"({', '.join(map(str, effect_columns)) or 'none'}) for {n_traits} traits; give one for each, or "
            "set [phenotype] traits"
        )
    effects = _numbers(table[effect_columns])
    rows = _rows_of(ds, table[id_column].astype(str).tolist())
    sign = _signs(ds, rows, table[allele_column].astype(str).str.upper().tolist())
    order = np.argsort(rows)
    names = _trait_names(effect_columns) if n_traits > 1 else ("trait1",)
    return Given(rows[order], (effects * sign[:, None])[order], names)


def _named(columns: dict[str, Any], names: tuple[str, ...], meaning: str) -> Any:
    for name in names:
        if name in columns:
            return columns[name]
    raise DataError(
        f"the table of effects has no column {names[0]!r} ({meaning}); it has: {', '.join(map(str, columns))}"
    )


def _trait_names(columns: list[Any]) -> tuple[str, ...]:
    """Return the names of effects' columns, which become those of the traits' columns and files."""
    names = tuple(map(str, columns))
    bad = [name for name in names if not is_column_name(name)]
    if bad:
        raise DataError(
            f"the table of effects has a column {bad[0]!r}, which cannot be the name of a trait; begin it "
            "with a letter, go on with letters, digits, _, . and -, and call none FID, IID or SID"
        )
    return names


def _numbers(table: pd.DataFrame) -> Float:
    try:
        effects = table.to_numpy(np.float64)
    except (TypeError, ValueError):
        raise DataError("the table of effects has text where an effect is wanted; write numbers") from None
    bad = np.flatnonzero(~np.isfinite(effects).all(axis=1))
    if len(bad):
        raise DataError(
            f"the table of effects: row {bad[0] + 1} has a missing or infinite effect ({len(bad)} rows in "
            "all); leave out variants without an effect"
        )
    if len(effects) == 0:
        raise DataError("the table of effects has no row; give at least one variant")
    return effects


def _rows_of(ds: xr.Dataset, ids: list[str]) -> NDArray[np.int64]:
    """Return the rows of the variants named, each once in table and cohort."""
    known = pd.Index(ds["variant_id"].values.astype(str))
    wanted = pd.Index(ids)
    if wanted.has_duplicates:
        twice = wanted[wanted.duplicated()][0]
        raise DataError(f"the table of effects names variant {twice} twice; give each variant one row")
    absent = wanted[~wanted.isin(known)]
    if len(absent):
        raise DataError(
            f"{len(absent)} of {len(wanted)} variants of the table of effects are not in the cohort, the "
            f"first is {absent[0]}; leave them out, or compare how the ids are written"
        )
    matches = known.isin(wanted)
    if matches.sum() > len(wanted):
        twice = known[matches][known[matches].duplicated()][0]
        raise DataError(f"the cohort has variant {twice} more than once; give its variants unique ids")
    places = np.flatnonzero(matches)
    return np.asarray(places[pd.Index(known[places]).get_indexer(wanted)], np.int64)


def _signs(ds: xr.Dataset, rows: NDArray[np.int64], alleles: list[str]) -> Float:
    """Return 1 where the table's allele is the one that the cohort counts, -1 where it is the other."""
    many = np.flatnonzero(~usable_variants(ds, autosomes_only=False)[rows])
    if len(many):
        raise DataError(
            f"the table of effects names variant {ds['variant_id'].values[rows[many[0]]]}, which has more "
            f"than two alleles ({len(many)} such rows); split it, or leave it out"
        )
    pairs = np.char.upper(ds["variant_allele"].values[rows, :2].astype(str))
    found = np.array(alleles)
    sign = np.where(found == pairs[:, 1], 1.0, np.where(found == pairs[:, 0], -1.0, 0.0))
    bad = np.flatnonzero(sign == 0)
    if len(bad):
        i = bad[0]
        raise DataError(
            f"the table of effects gives allele {alleles[i]} for variant {ds['variant_id'].values[rows[i]]}, "
            f"which has {pairs[i, 0]} and {pairs[i, 1]} ({len(bad)} such rows); compare strand and build"
        )
    return sign

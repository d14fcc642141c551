"""Watermarks hidden among a cohort's variants, and the key with what an honest server says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from genoweave.aggregate import people
from genoweave.chunks import ranges
from genoweave.errors import ConfigError, DataError
from genoweave.genotypes import read_rows, source_of
from genoweave.kernels.packed import unpack_dosages
from genoweave.methods.gwas import Trait
from genoweave.methods.gwas.samples import complete
from genoweave.methods.qc import QC
from genoweave.methods.watermark.designed import draw_genotypes
from genoweave.methods.watermark.interleaved import Rows, interleave, places_of
from genoweave.methods.watermark.key import RESULTS, Key
from genoweave.methods.watermark.models import PROGRAMS, cheaper_models, model_asked, table_of
from genoweave.methods.watermark.naming import Names
from genoweave.methods.watermark.panel import keeps, read_panel
from genoweave.methods.watermark.paper import watermark
from genoweave.methods.watermark.parameters import HiddenWatermark, Watermark
from genoweave.methods.watermark.places import Place, Places
from genoweave.methods.watermark.sorting import Drawn, associate, packed_rows
from genoweave.rng import Root

# Watermarks that are made together: their noise and genotypes take so many bytes.
_BATCH_BYTES = 256 * 2**20
_MOST_ATTEMPTS = 20
_FARTHEST = 3
# A statistic z takes so many times z^2 / n of a watermark's variance.
_LEFT = 2.5
# More models without one covariate are not kept in the key.
_MOST_WITHOUT = 30


@dataclass
class _Mark:
    """One watermark: its place, its genotypes, and what it should and does say."""

    place: Place
    drawn: Drawn
    on_second: NDArray[np.uint8] | None
    dosage: NDArray[np.int8]


def watermark_cohort(
    ds: xr.Dataset,
    trait: Trait,
    covariates: NDArray[np.float64] | None = None,
    params: Watermark | None = None,
    key: Root | None = None,
    *,
    asked: str = "plink2",
    names: Sequence[str] | None = None,
    qc: QC | None = None,
) -> tuple[xr.Dataset, Key]:
    """Hide watermarks among the variants of a cohort that is sent to a server.

    Parameters
    ----------
    ds
        A cohort after quality control, sorted. ``sample_ancestry``, where present, gives the strata.
    trait
        What the server is asked to test. Samples without it are sent too.
    covariates
        float64 (samples, covariates) that the server is asked to use; NaN where one is missing.
    params
        Number, kind, range of abs(z), share of nulls.
    key
        Private root of every draw (from the operating system if None).
    asked
        The program that the server is to run (plink2, regenie, saige, gemma), or the model itself: linear,
        score, wald, firth, hybrid, mixed.
    names
        Of the covariates; C1, C2, ... by default.
    qc
        Thresholds that watermarks of the kind qc-proof pass with a margin; the paper's by default.

    Returns
    -------
    cohort : xarray.Dataset
        Lazy: the variants and the watermarks at their places. Sample data are unchanged; statistics and
        truths of variants, dosages (``call_dosage``) and attributes are left out, since they would tell.
    key : Key
        Secret: the watermarks, what each model says of them, and their neighbours.

    Raises
    ------
    DataError
        If the cohort has too few variants that pass quality control, or too few samples for ``z_min``.
    ConfigError
        If the trait has no such model.

    Notes
    -----
    Two passes over the genotypes, and reads of the rows around watermarks; mixed models read the whole cohort
    once more. Memory: see `read_panel` and `Places`; n / 4 bytes a watermark (3 n / 8 if phased), and 256
    MiB. The same cohort, key and parameters give the same bits for any chunks and workers.
    """
    params, key = params or HiddenWatermark(), key or Root.from_system()
    n_samples = ds.sizes["samples"]
    covariates = np.empty((n_samples, 0)) if covariates is None else np.asarray(covariates, np.float64)
    names = tuple(names) if names is not None else tuple(f"C{k + 1}" for k in range(covariates.shape[1]))
    if len(names) != covariates.shape[1]:
        raise ConfigError(f"there are {covariates.shape[1]} covariates and {len(names)} names of covariates")
    model = model_asked(asked, trait)
    _check_trait(trait, covariates)
    program = asked if asked in PROGRAMS else ""
    rows, roles = _Maker(ds, trait, covariates, params, key, model, qc or QC()).make()
    sent = interleave(ds, rows)
    return sent, make_key(ds, sent, rows, roles, trait, covariates, names, model, program)


def _check_trait(trait: Trait, covariates: NDArray[np.float64]) -> None:
    used = complete(trait.values, covariates)
    if not used.any():
        raise DataError(f"trait {trait.name}: no sample has it and all covariates; check the tables' ids")
    if not trait.is_binary and np.ptp(trait.values[used]) == 0:
        raise DataError(
            f"trait {trait.name}: a watermark needs a trait that varies, found {trait.values[used][0]:g} in "
            f"all {people(int(used.sum()))} samples with all covariates"
        )
    cases = int((trait.values[used] == 1).sum())
    if trait.is_binary and cases in (0, int(used.sum())):
        raise DataError(
            f"trait {trait.name}: a watermark needs cases and controls, found {people(cases)} cases of "
            f"{people(int(used.sum()))} samples with all covariates"
        )


class _Maker:
    """Makes the rows of all watermarks."""

    def __init__(
        self, ds: xr.Dataset, trait: Trait, covariates: NDArray[np.float64], params: Watermark, key: Root,
        model: str, qc: QC,
    ) -> None:  # fmt: skip
        self.ds, self.trait, self.covariates, self.params = ds, trait, covariates, params
        self.key, self.model, self.qc = key, model, qc
        self.source = source_of(ds)
        self.is_phased = not self.source.is_unphased and "call_genotype_phased" in ds
        self.panel = read_panel(ds, qc)
        contig, position = ds["variant_contig"].values, ds["variant_position"].values
        self.places = Places(self.panel, contig, position, key)
        self.draws = key.stream("watermark.genotype")
        self.noise = key.stream("watermark.noise")
        # a signal's neighbours tell no more of it: the rest is for its own association
        n_used = int(complete(trait.values, covariates).sum())
        self.most_told = max(0.5, 1 - _LEFT * params.z_max**2 / n_used)
        self.names = Names(ds["variant_id"].values, key.stream("watermark.name"))

    def make(self) -> tuple[Rows, NDArray]:
        """Return the rows in the order of the cohort, and their roles."""
        n, n_samples = self.params.n, self.ds.sizes["samples"]
        targets = self._targets()
        step = n if self.params.kind == "paper" else max(1, _BATCH_BYTES // (40 * n_samples))
        made: list[tuple[Place, NDArray[np.uint8], NDArray[np.uint8] | None]] = []
        for a, b in ranges(n, step):
            marks = self._batch(range(a, b), targets[a:b])
            packed = packed_rows([mark.dosage for mark in marks])
            made += [(mark.place, packed[k], mark.on_second) for k, mark in enumerate(marks)]
        order = np.argsort([place.left for place, _, _ in made], kind="stable")
        roles = np.where(targets[order] == 0, "null", "signal").astype(object)
        return self._rows([made[k] for k in order]), roles

    def _targets(self) -> NDArray[np.float64]:
        """Return the statistics that are wanted, 0 of nulls; the paper's kind has its own.

        Nulls are first of all those of which neighbours tell too much for an association of their own.
        """
        p = self.params
        if p.kind == "paper":
            return np.full(p.n, np.nan)
        u = self.key.stream("watermark.target").uniforms(0, 2 * p.n)
        z = (p.z_min + (p.z_max - p.z_min) * u[: p.n]) * np.where(u[p.n :] < 0.5, -1, 1)
        beyond = np.maximum([self._told(row) for row in range(p.n)], self.most_told)
        z[np.argsort(-beyond, kind="stable")[: round(p.nulls * p.n)]] = 0
        return np.asarray(z)

    def _batch(self, rows: range, targets: NDArray[np.float64]) -> list[_Mark]:
        """Draw, associate and check watermarks; those that quality control could remove are drawn again."""
        marks: dict[int, _Mark] = {}
        todo = list(rows)
        for attempt in range(_MOST_ATTEMPTS):
            if self.params.kind == "paper":
                return self._paper(rows)
            wanted = targets[[row - rows.start for row in todo]]
            tried = [self._draw(row, attempt, z) for row, z in zip(todo, wanted.tolist(), strict=True)]
            dosages, reached = associate(
                [mark.drawn for mark in tried], wanted, self.trait, self.covariates, self.model
            )
            for mark, dosage in zip(tried, dosages, strict=True):
                mark.dosage = dosage
            good = self._are_good(tried) & ((wanted == 0) | (np.abs(reached) >= self.params.z_min - 0.1))
            for row, mark, is_good in zip(todo, tried, good, strict=True):
                if is_good:
                    marks[row] = mark
                else:
                    self.places.give_back(mark.place)
            todo = [row for row in rows if row not in marks]
            if not todo:
                return [marks[row] for row in rows]
        raise DataError(
            f"after {_MOST_ATTEMPTS} attempts {len(todo)} watermarks would fail quality control or do not "
            f"reach |z| = {self.params.z_min:g} with these samples; lower z_min and z_max, or raise nulls"
        )

    def _draw(self, row: int, attempt: int, target: float) -> _Mark:
        place = self.places.draw(row, attempt, self._within(row, target))
        address = row * _MOST_ATTEMPTS + attempt
        made = draw_genotypes(self._neighbours(place.near), place, self.panel, self.draws, address)
        n = len(made.dosage)
        drawn = Drawn(made.dosage, made.cell, self.noise.normals(2 * address, n))
        on_second = None
        if self.is_phased:
            second = self.noise.uniforms(2 * address + 1, n) >= made.first
            on_second = np.packbits(second, bitorder="little")
        return _Mark(place, drawn, on_second, made.dosage)

    def _within(self, row: int, target: float) -> tuple[float, float]:
        """Return between what limits the neighbours may explain a watermark's template."""
        if target:
            return -np.inf, self.most_told
        is_beyond = self._told(row) > self.most_told
        return (self.most_told, np.inf) if is_beyond else (-np.inf, self.most_told)

    def _told(self, row: int) -> float:
        """Return the share of a watermark's first template that the variants around tell."""
        return float(self.places.known.explained[self.places.template(row, 0)])

    def _neighbours(self, rows: NDArray[np.int64]) -> NDArray[np.int8]:
        """Return the genotypes of ascending variants: dosages, or calls if phased."""
        n = self.ds.sizes["samples"]
        if not len(rows):
            return np.empty((0, n), np.int8)
        if self.is_phased:
            return np.concatenate([self.source.read(row, row + 1, 0, n) for row in rows.tolist()])
        return unpack_dosages(read_rows(self.source, rows, 0, n), n)

    def _are_good(self, marks: list[_Mark]) -> NDArray[np.bool_]:
        """Tell which watermarks pass quality control, in all samples and in controls."""
        panel = self.panel
        good = np.ones(len(marks), bool)
        everybody = np.ones(len(panel.stratum), bool)
        in_controls = QC(**self.qc.model_dump() | {"maf": 0, "geno": 1})
        tests = [(everybody, self.qc)]
        tests += [(self.trait.values == 0, in_controls)] if self.trait.is_binary else []
        for some, limits in tests:
            stratum = panel.stratum[some]
            counts = [_counts(mark.dosage[some], stratum, panel.n_strata) for mark in marks]
            within, pooled = keeps(np.stack(counts), np.bincount(stratum, minlength=panel.n_strata), limits)
            good &= within & (pooled | (not panel.checks_pooled))
        return good

    def _paper(self, rows: range) -> list[_Mark]:
        """Return watermarks of the paper's kind at places of the same sort; unphased everywhere."""
        if not self.trait.is_binary or np.isnan(self.trait.values).any():
            raise DataError(
                f"trait {self.trait.name}: the paper's watermarks need a status, case or control, of every "
                "sample; choose the kind qc-proof"
            )
        params = Watermark(**self.params.model_dump() | {"n": len(rows), "kind": "paper"})
        case = (self.trait.values == 1).astype(np.int8)
        made = watermark(case, params, self.key)["watermark_genotype"].values
        places = [self.places.draw(row, 0) for row in rows]
        second = np.zeros(-(-len(case) // 8), np.uint8) if self.is_phased else None
        none = Drawn(made[0], np.zeros(0, np.int64), np.zeros(0))
        return [_Mark(place, none, second, g) for place, g in zip(places, made, strict=True)]

    def _rows(self, made: list[tuple[Place, NDArray[np.uint8], NDArray[np.uint8] | None]]) -> Rows:
        ds = self.ds
        places = [place for place, _, _ in made]
        left = np.array([place.left for place in places], np.int64)
        template = np.array([place.template for place in places], np.int64)
        position = np.array([place.position for place in places], ds["variant_position"].dtype)
        allele = ds["variant_allele"].values[template]
        ids, at = ds["variant_id"].values, ds["variant_position"].values
        names = []
        for k, place in enumerate(places):
            # a number near the neighbour's would be as telling as a place after the template's
            before, like = ((str(ids[row]), int(at[row])) for row in (place.left, place.template))
            alleles = str(allele[k, 0]), str(allele[k, 1])
            names.append(self.names.like(k, before, like, place.position, alleles))
        seconds = [second for _, _, second in made if second is not None]
        return Rows(
            left=left,
            packed=np.stack([packed for _, packed, _ in made]),
            on_second=np.stack(seconds) if seconds else None,
            contig=ds["variant_contig"].values[left],
            position=position,
            id=np.array(names, object),
            allele=allele,
            genetic_position=_between(ds, left, position),
        )


def _between(ds: xr.Dataset, left: NDArray[np.int64], position: NDArray[np.integer]) -> NDArray[np.float64]:
    """Interpolate genetic positions between neighbours; NaN where there are none."""
    if "variant_genetic_position" not in ds:
        return np.full(len(left), np.nan)
    cm, bp = ds["variant_genetic_position"].values, ds["variant_position"].values.astype(np.float64)
    share = (position - bp[left]) / (bp[left + 1] - bp[left])
    return np.asarray(cm[left] + share * (cm[left + 1] - cm[left]), np.float64)


def _counts(dosage: NDArray[np.int8], stratum: NDArray[np.int64], n_strata: int) -> NDArray[np.int64]:
    called = dosage >= 0
    flat = np.bincount(3 * stratum[called] + dosage[called], minlength=3 * n_strata)
    return flat.reshape(n_strata, 3)


def make_key(
    ds: xr.Dataset, sent: xr.Dataset, rows: Rows, roles: NDArray, trait: Trait,
    covariates: NDArray[np.float64], names: tuple[str, ...], model: str,
    program: str,
) -> Key:  # fmt: skip
    """Return the key of a cohort that is sent: results of the watermarks and of their neighbours."""
    at = places_of(rows.left)
    near, where = _neighbour_rows(at, sent.sizes["variants"])
    everything = np.union1d(at, near["row"])
    asked = table_of(sent, everything, trait, covariates, model)
    own = asked.iloc[np.searchsorted(everything, at)].reset_index(drop=True)
    beside = asked.iloc[np.searchsorted(everything, near["row"])].reset_index(drop=True)
    expected = {model: own[list(RESULTS)]}
    for other in cheaper_models(model, trait):
        expected[other] = table_of(sent, at, trait, covariates, other)[list(RESULTS)]
    expected |= _without(sent, at, trait, covariates, names, model)
    used = complete(trait.values, covariates)
    watermarks = pd.DataFrame(
        {
            "contig": ds["contig_id"].values[rows.contig], "position": rows.position, "id": rows.id,
            "ref": rows.allele[:, 0], "alt": rows.allele[:, 1], "role": roles, "called": own["called"],
            "frequency": own["frequency"],
        }
    )  # fmt: skip
    ids = sent["variant_id"].values[near["row"]]
    neighbours = pd.concat([near.drop(columns="row").assign(id=ids), beside.drop(columns="called")], axis=1)
    n_cases = int((trait.values[used] == 1).sum()) if trait.is_binary else 0
    return Key(
        trait.name, trait.is_binary, sent.sizes["samples"], int(used.sum()), n_cases, ds.sizes["variants"],
        tuple(names), model, watermarks, expected, neighbours[list(where)], program,
    )  # fmt: skip


def _neighbour_rows(at: NDArray[np.int64], n: int) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return watermark, offset and row of the variants up to three before and behind, and a key's columns."""
    offsets = [k for k in range(-_FARTHEST, _FARTHEST + 1) if k]
    found = [(w, k, row + k) for w, row in enumerate(at.tolist()) for k in offsets if 0 <= row + k < n]
    table = pd.DataFrame(found, columns=["watermark", "offset", "row"])
    return table, ("watermark", "offset", "id", "frequency", *RESULTS)


def _without(
    sent: xr.Dataset, at: NDArray[np.int64], trait: Trait, covariates: NDArray[np.float64],
    names: tuple[str, ...], model: str,
) -> dict[str, pd.DataFrame]:  # fmt: skip
    """Return what the asked model says without covariates: all of them, and each one."""
    if not names:
        return {}
    # a server that drops covariates may keep the samples that miss one; that cannot be foreseen
    found = {"no_covariates": table_of(sent, at, trait, covariates[:, :0], model)[list(RESULTS)]}
    # each mixed model reads and decomposes the kinship of the whole cohort
    several = len(names) > 1 and model != "mixed"
    for k, name in enumerate(names[:_MOST_WITHOUT] if several else ()):
        rest = np.delete(covariates, k, axis=1)
        found[f"without {name}"] = table_of(sent, at, trait, rest, model)[list(RESULTS)]
    return found

"""The setting of a simulated trait; the names are PhenotypeSimulator's where it has one."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_validator

from genoweave.errors import ConfigError
from genoweave.parameters import Field, Parameters


def _by_group(value: Any) -> Any:
    """``"EUR=0.5,AFR=0.3"`` -> a dictionary; anything else stays."""
    if not isinstance(value, str):
        return value
    pairs = [part.split("=") for part in value.strip(" {}").split(",") if part.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("write numbers by group as GROUP=NUMBER,GROUP=NUMBER")
    return {name.strip(): number.strip() for name, number in pairs}


def _covariates(value: Any) -> Any:
    """``"age=normal,sex=binomial"`` -> covariates of default parameters; anything else stays."""
    if not isinstance(value, str):
        return value
    pairs = [part.split("=") for part in value.strip(" ()[]").split(",") if part.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("write covariates as NAME=KIND,NAME=KIND; their parameters go in the configuration")
    return tuple({"name": name.strip(), "kind": kind.strip()} for name, kind in pairs)


def _by_trait(value: Any) -> Any:
    """``"0.1,0.5"`` -> a tuple; anything else stays."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.strip(" ()[]").split(",") if part.strip())


_NAME = r"^[A-Za-z][A-Za-z0-9_.-]{0,99}$"


def is_column_name(name: str) -> bool:
    """Whether a trait or a covariate may be called so: a word, and not an id's column in PLINK's files."""
    return re.match(_NAME, name) is not None and name not in ("FID", "IID", "SID")


Share = Annotated[float, Field(ge=0, le=1)]
ByGroup = Annotated[dict[str, Share], BeforeValidator(_by_group)]


Status = Literal["threshold", "logit", "none"]
Prevalence = Annotated[float, Field(gt=0, lt=1)]
PrevalenceByGroup = Annotated[dict[str, Prevalence], BeforeValidator(_by_group)]
StatusByTrait = Annotated[tuple[Status, ...], BeforeValidator(_by_trait)]
PrevalenceByTrait = Annotated[tuple[Prevalence, ...], BeforeValidator(_by_trait)]


class Covariate(Parameters):
    """A covariate that is drawn, or taken from the cohort, and acts on the traits."""

    name: str = Field(pattern=_NAME, description="its name")
    kind: Literal["normal", "uniform", "binomial", "categorical", "cohort"] = Field(
        "normal", description="distribution, or cohort for the cohort's own covariate of that name"
    )
    mean: float = Field(0.0, description="mean of normal and uniform covariates")
    sd: float = Field(
        1.0, gt=0, description="standard deviation if normal; half the width of the interval if uniform"
    )
    probability: float = Field(0.5, gt=0, lt=1, description="probability of 1 if binomial")
    categories: int = Field(3, ge=2, le=100, description="equally likely levels if categorical")
    effect: Literal["shared", "independent", "both"] = Field(
        "both", description="part of the covariates' variance to which it belongs, of several traits"
    )
    depends_on: Literal["nothing", "ancestry", "pcs"] = Field(
        "nothing", description="what confounds it: ancestry group, or principal components"
    )
    dependence: float = Field(
        0.5, ge=0, le=1, description="share of its latent variance that the groups or components explain"
    )

    @model_validator(mode="after")
    def _check_name(self) -> Covariate:
        if not is_column_name(self.name):
            raise ConfigError(
                f"[Covariate] name = {self.name!r} is an id's column in the files of covariates; take another"
            )
        return self


class Phenotype(Parameters):
    """The trait's setting; the defaults are the paper's."""

    traits: int = Field(1, ge=1, le=10_000, description="number of traits")
    causal_fraction: float = Field(0.1, gt=0, le=1, description="share of the variants that act on the trait")
    n_causal: int | None = Field(None, ge=1, description="number of causal variants, instead of their share")
    heritability: float = Field(
        0.9, ge=0, le=1, description="share of the liability's variance that is genetic (genVar)"
    )
    h2s: float = Field(
        1.0, ge=0, le=1, description="share of the genetic variance due to causal variants; the rest is "
        "infinitesimal"
    )  # fmt: skip
    theta: float = Field(0.8, ge=0, le=1, description="share of the variants' variance that traits share")
    eta: float = Field(0.8, ge=0, le=1, description="share of the infinitesimal variance that traits share")
    delta: float = Field(0.0, ge=0, le=1, description="share of the noise variance due to covariates")
    gamma: float = Field(0.8, ge=0, le=1, description="share of the covariates' variance that traits share")
    rho: float = Field(
        0.0, ge=0, le=1, description="share of the noise variance that is correlated between traits"
    )
    pcorr: float = Field(0.6, gt=-1, lt=1, description="correlation of neighbouring traits' correlated noise")
    alpha: float = Field(
        0.8, ge=0, le=1, description="share of the observational noise's variance that traits share"
    )
    stratification: float = Field(
        0.0, ge=0, le=1, description="share of the noise variance due to principal components"
    )
    stratification_components: int = Field(
        10, ge=1, le=200, description="leading components that stratify, or confound a covariate"
    )
    independent_fraction: float = Field(
        0.4, ge=0, le=1, description="share of the causal variants whose effects are independent by trait"
    )
    independent_traits: float = Field(
        1.0, gt=0, le=1, description="share of the traits that independent effects act on"
    )
    effect: Literal["normal", "t", "uniform", "fixed", "gamma"] = Field(
        "normal", description="distribution of the variants' effects, of variance 1"
    )
    effect_shape: float | None = Field(
        None, gt=0, description="degrees of freedom of t (default 5, above 2), shape of gamma (default 1)"
    )
    random_sign: bool = Field(True, description="signs of fixed and gamma effects at random")
    maf_alpha: float = Field(
        -1.0, ge=-3, le=3, description="a of the alpha model: variance of the effect per allele ~ [2p(1-p)]^a"
    )
    rescale_effects: bool = Field(
        True, description="rescale given effects to their share; otherwise all else is scaled to them"
    )
    dominance: float = Field(
        0.0, ge=0, le=1, description="share of the variants' variance due to deviation from additivity"
    )
    epistasis: float = Field(
        0.0, ge=0, le=1, description="share of the variants' variance due to pairs of variants"
    )
    n_pairs: int = Field(100, ge=1, le=100_000, description="pairs of variants that interact")
    interaction: float = Field(
        0.0, ge=0, le=1, description="share of the variants' variance due to variants x covariate"
    )
    interaction_covariate: str | None = Field(
        None, description="covariate that the variants interact with; the first by default"
    )
    covariates: Annotated[tuple[Covariate, ...], BeforeValidator(_covariates)] = Field(
        (), description="covariates, NAME=KIND,...: normal, uniform, binomial, categorical, cohort"
    )
    heritability_by_group: ByGroup = Field(
        {}, description="heritability within ancestry groups, GROUP=NUMBER,..."
    )
    effect_correlation: float = Field(
        1.0, ge=0, le=1, description="correlation of a variant's effects in two ancestry groups"
    )
    scaling: Literal["trait", "mean"] = Field(
        "trait",
        description="each trait meets the shares, or the mean of the traits does (PhenotypeSimulator)",
    )
    orthogonal_noise: bool = Field(
        True, description="noise is uncorrelated with all else in the sample, not in expectation only"
    )
    transform: Literal["none", "exp", "log", "poly", "sqrt"] = Field(
        "none", description="nonlinear transform of the liability"
    )
    transform_share: float = Field(
        1.0, ge=0, le=1, description="a of (1 - a) y + a f(y) (PhenotypeSimulator's proportionNonlinear)"
    )
    transform_base: float | None = Field(
        None, gt=0, description="base of exp (default e) or log (default 10), not 1"
    )
    transform_power: float = Field(2.0, gt=0, le=20, description="power of poly")
    transform_negative: Literal["abs", "set0"] = Field(
        "abs", description="negative values before a transform: their absolute value, or 0"
    )

    status: Status = Field(
        "threshold", description="case/control by liability, by a logit of it, or none (quantitative only)"
    )
    status_by_trait: StatusByTrait = Field((), description="status of each trait, instead, with commas")
    prevalence: float = Field(0.5, gt=0, lt=1, description="share of the samples that are cases")
    prevalence_by_trait: PrevalenceByTrait = Field(
        (), description="prevalence of each trait, instead, with commas"
    )
    prevalence_by_group: PrevalenceByGroup = Field(
        {},
        description="prevalence within ancestry groups, GROUP=NUMBER,...; the overall one elsewhere",
    )
    counts: Literal["exact", "expected"] = Field(
        "exact", description="the number of cases is met exactly, or in expectation"
    )
    logit_slope: float = Field(
        1.0, gt=0, le=1000, description="logit of the risk per unit of the liability, of a logit status"
    )
    n_cases: int | None = Field(None, ge=1, description="cases drawn for a study; all by default")
    n_controls: int | None = Field(None, ge=1, description="controls drawn; all by default")
    controls_per_case: float | None = Field(
        None, gt=0, le=1e6, description="controls drawn for each case, instead of their number"
    )
    ascertain_by_group: bool = Field(False, description="cases and controls drawn are those of each group")
    seed: int = Field(0, ge=0, description="public seed of causal variants, effects and noise")

    @model_validator(mode="after")
    def _check_shares(self) -> Phenotype:
        """Refuse shares that add up to more than 1, and shares of nothing."""
        _at_most_one(self, "noise variance", "delta", "rho", "stratification")
        _at_most_one(self, "variants' variance", "dominance", "epistasis", "interaction")
        names = [covariate.name for covariate in self.covariates]
        if len(set(names)) < len(names):
            raise ConfigError("[Phenotype] covariates: two of them have the same name; give each its own")
        for share in ("delta", "interaction"):
            if getattr(self, share) > 0 and not names:
                raise ConfigError(
                    f"[Phenotype] {share} = {getattr(self, share):g} is a share of variance due to "
                    "covariates, and there are none; add [[phenotype.covariates]] or set it to 0"
                )
        if self.interaction_covariate not in (None, *names):
            raise ConfigError(
                f"[Phenotype] interaction_covariate = {self.interaction_covariate!r} is none of the "
                f"covariates ({', '.join(names) or 'there are none'})"
            )
        return self

    @model_validator(mode="after")
    def _check_effects(self) -> Phenotype:
        """Refuse distributions and transforms that do not exist."""
        if self.effect == "t" and self.effect_shape is not None and self.effect_shape <= 2:
            raise ConfigError(
                f"[Phenotype] effect_shape = {self.effect_shape:g}: t with 2 degrees of freedom or fewer has "
                "no variance; take more than 2"
            )
        if self.transform_base == 1:
            raise ConfigError("[Phenotype] transform_base = 1 transforms nothing; take another base")
        return self

    @model_validator(mode="after")
    def _check_status(self) -> Phenotype:
        """Refuse a status of another number of traits, two numbers of controls, and a study without cases."""
        for name in ("status_by_trait", "prevalence_by_trait"):
            given = getattr(self, name)
            if given and len(given) != self.traits:
                raise ConfigError(
                    f"[Phenotype] {name} has {len(given)} entries for {self.traits} traits; give one a trait"
                )
        if self.n_controls is not None and self.controls_per_case is not None:
            raise ConfigError(
                "[Phenotype] n_controls and controls_per_case both say how many controls; give one of them"
            )
        if set(self.status_by_trait or (self.status,)) == {"none"}:
            for name in ("n_cases", "n_controls", "controls_per_case"):
                if getattr(self, name) is not None:
                    raise ConfigError(
                        f"[Phenotype] {name} draws a study of cases and controls, and no trait has a status; "
                        "drop it, or set status"
                    )
        return self


# The paper's is the default. The others are starting points: a rare disease of moderate heritability in a
# biobank, and a quantitative trait of few variants, as for a first look at an association study.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "traits": 1,
        "causal_fraction": 0.1,
        "heritability": 0.9,
        "h2s": 1.0,
        "status": "threshold",
        "prevalence": 0.5,
        "counts": "exact",
    },
    "rare-disease": {
        "causal_fraction": 0.01,
        "heritability": 0.5,
        "h2s": 0.5,
        "status": "threshold",
        "prevalence": 0.01,
    },
    "quantitative": {"causal_fraction": 0.01, "heritability": 0.5, "status": "none"},
}


def _at_most_one(params: Phenotype, what: str, *names: str) -> None:
    total = sum(getattr(params, name) for name in names)
    if total > 1 + 1e-12:
        raise ConfigError(
            f"[Phenotype] {', '.join(names)} are shares of the {what} and add up to {total:g}; lower one"
        )

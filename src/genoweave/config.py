"""One TOML file, a section per stage: read, checked, written with its comments."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, model_validator

from genoweave.errors import ConfigError
from genoweave.execution import memory_bytes
from genoweave.io.reading import Reading
from genoweave.methods.ancestry import Ancestry
from genoweave.methods.evaluation import Evaluation
from genoweave.methods.gwas.parameters import GWAS
from genoweave.methods.kinship import Kinship
from genoweave.methods.pca import PCA
from genoweave.methods.phenotype import Phenotype
from genoweave.methods.qc import QC
from genoweave.methods.relatives import Relatives
from genoweave.methods.synthesis import Synthesis
from genoweave.methods.synthesis.channel import MECHANISMS
from genoweave.methods.watermark import Watermark
from genoweave.parameters import Field, Parameters

Format = Literal["csv", "plink", "pgen", "vcf", "bcf", "bgen", "vcz"]


class Input(Reading):
    """The real cohort, how it is read, and its labels."""

    path: str = Field(
        "cohort", description="PLINK 1 or 2 prefix, .vcf.gz, .bcf, .bgen, or VCF Zarr (folder, .zip, URL)"
    )
    ancestry: str = Field(
        "ancestry.tsv",
        description="table with a header: sample id, then ancestry group (TSV or CSV)",
    )
    ancestry_column: str | None = Field(None, description="the group's column, if it is not the second")
    drop_unlabelled: bool = Field(False, description="leave out samples without a label, ignore unknown ones")
    convert: bool = Field(
        True, description="copy the genotypes to the run folder; false reads them where they are"
    )


class RunQC(QC):
    """Quality control of a run: donors must be unrelated."""

    king_cutoff: float | None = Field(
        0.0884,
        gt=0,
        lt=0.5,
        description="remove one of each pair with a KING kinship above this (PLINK 2 --king-cutoff)",
    )


class OptionalStage(Parameters):
    """A stage that can be left out."""

    enabled: bool = Field(True, description="run this stage")


class RunPhenotype(Phenotype, OptionalStage):
    """The trait of a run."""


class RunWatermark(Watermark, OptionalStage):
    """The watermarks of a run."""


class RunKinship(Kinship, OptionalStage):
    """The kinship table of a run."""


class CommandGWAS(GWAS):
    """Association tests: defaults of the command `genoweave gwas`; a run has no such stage."""


class Release(OptionalStage):
    """What is written for others."""

    name: str = Field(
        "genoweave",
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$",
        description="prefix of the released files",
    )
    formats: tuple[Format, ...] = Field(
        ("csv", "plink", "vcz"),
        description="csv (the five files), and the synthetic cohort as plink (PLINK 1), pgen (PLINK 2), vcf "
        "(.vcf.gz), bcf, bgen, vcz (VCF Zarr)",
    )
    csv: Literal["csv", "csv.gz", "csv.zst"] = Field(
        "csv", description="ending of the five files: plain text, gzip or zstd"
    )


class Storage(Parameters):
    """How the run's stores are cut. Results don't depend on it."""

    variant_chunk: int = Field(1024, ge=1, le=100_000, description="variants per chunk")
    sample_chunk: int = Field(8192, ge=1, le=1_000_000, description="samples per chunk")


class Cluster(Parameters):
    """Where the work runs. Results don't depend on it."""

    workers: int = Field(0, ge=0, description="local worker processes; 0 uses threads of one process")
    scheduler: str | None = Field(None, description="address of a Dask scheduler, tcp://host:port")
    memory_limit: str | None = Field(
        None, description="memory that the work may use, as 4GiB; the machine's by default"
    )


class RunConfig(Parameters):
    """Everything that a run depends on; one parameter object per stage."""

    seed: int = Field(0, ge=0, description="public seed of every stage that does not set its own")
    input: Input = Input()
    qc: RunQC = RunQC()
    pca: PCA = PCA()
    ancestry: Ancestry = Ancestry()
    synthesis: Synthesis = Synthesis()
    phenotype: RunPhenotype = RunPhenotype()
    watermark: RunWatermark = RunWatermark()
    relatives: Relatives = Relatives()
    kinship: RunKinship = RunKinship()
    gwas: CommandGWAS = CommandGWAS()
    evaluation: Evaluation = Evaluation()
    release: Release = Release()
    storage: Storage = Storage()
    cluster: Cluster = Cluster()

    @model_validator(mode="before")
    @classmethod
    def _hand_down_seed(cls, values: Any) -> Any:
        """Give the run's seed to every section that has one and does not set it."""
        seed = values.get("seed", 0)
        for name, field in cls.model_fields.items():
            given = values.get(name, {})
            if "seed" in getattr(type(field.default), "model_fields", {}) and isinstance(given, dict):
                values = values | {name: {"seed": seed} | given}
        return values

    @model_validator(mode="after")
    def _check_together(self) -> RunConfig:
        """Check what concerns several sections."""
        if self.synthesis.mechanism not in MECHANISMS:
            raise ValueError(
                f"[synthesis] mechanism {self.synthesis.mechanism!r} is not known; choose one of: "
                f"{', '.join(MECHANISMS)}"
            )
        if self.relatives.enabled and self.relatives.founders_per_group > self.synthesis.per_group:
            raise ValueError(
                f"[relatives] founders_per_group = {self.relatives.founders_per_group} is more than "
                f"[synthesis] per_group = {self.synthesis.per_group}; lower the first or raise the second"
            )
        if self.watermark.enabled and not self.phenotype.enabled:
            raise ValueError("[watermark] needs [phenotype]; set [watermark] enabled = false")
        if self.cluster.workers and self.cluster.scheduler:
            raise ValueError("[cluster] takes workers or scheduler, not both")
        if self.cluster.memory_limit is not None:
            memory_bytes(self.cluster.memory_limit)
        return self

    def require_runnable(self) -> None:
        """Refuse settings that a command takes and a run has no place for.

        Raises
        ------
        ConfigError
            If the phenotype is of several traits, quantitative or of a part of the samples: the files of a
            release hold one status of everybody. If watermarks are to be hidden in a cohort with relatives.
        """
        trait = self.phenotype
        ascertained = (trait.n_cases, trait.n_controls, trait.controls_per_case) != (None, None, None)
        quantitative = "none" in (trait.status_by_trait or (trait.status,))
        if trait.enabled and (trait.traits > 1 or quantitative or ascertained):
            raise ConfigError(
                "[phenotype] of a run makes one case/control trait of all samples; leave out traits, "
                'status = "none", n_cases, n_controls and controls_per_case, or use: genoweave phenotype'
            )
        if self.watermark.enabled and self.watermark.kind == "qc-proof" and self.relatives.enabled:
            raise ConfigError(
                '[watermark] kind = "qc-proof" hides watermarks among the SNPs; the relatives\' files would '
                'show which these are. Set [relatives] enabled = false, or kind = "paper"'
            )


SECTIONS: tuple[str, ...] = tuple(name for name in RunConfig.model_fields if name != "seed")

SMALL = {
    "pca": {"n_components": 20},
    "synthesis": {"per_group": 300},
    "relatives": {"founders_per_group": 160},
    "evaluation": {"tsne_samples": 150, "tsne_perplexity": 30},
}
PRESETS: dict[str, dict[str, dict[str, Any]]] = {"paper": {}, "small": SMALL}


def build(values: dict[str, Any], where: str = "configuration") -> RunConfig:
    """Check a nested dictionary and make a `RunConfig` of it.

    Raises
    ------
    ConfigError
        Naming the section and key, what was wanted and what was found.
    """
    unknown = set(values) - set(RunConfig.model_fields)
    if unknown:
        raise ConfigError(
            f"{where}: unknown section {', '.join(f'[{name}]' for name in sorted(unknown))}; "
            f"the sections are {', '.join(f'[{name}]' for name in SECTIONS)}"
        )
    seed = values.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ConfigError(f"{where}: seed is a whole number from 0, found {seed!r}")
    sections = {name: _section(name, values.get(name, {}), seed, where) for name in SECTIONS}
    try:
        return RunConfig(seed=seed, **sections)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _section(name: str, values: Any, seed: int, where: str) -> Parameters:
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: [{name}] is a section of keys, found {values!r}")
    cls = type(RunConfig.model_fields[name].default)
    unknown = set(values) - set(cls.model_fields)
    if unknown:
        raise ConfigError(
            f"{where}: [{name}] has no key {', '.join(repr(key) for key in sorted(unknown))}; "
            f"it has {', '.join(cls.model_fields)}"
        )
    given = {
        key: (None if value is False and _may_be_none(cls, key) else value) for key, value in values.items()
    }
    if "seed" in cls.model_fields:
        given.setdefault("seed", seed)
    try:
        return cls(**given)
    except ConfigError as error:
        raise ConfigError(f"{where}: {str(error).replace(f'[{cls.__name__}]', f'[{name}]')}") from None


def _may_be_none(cls: type[BaseModel], key: str) -> bool:
    """TOML has no null: ``key = false`` switches an optional number or text off."""
    arguments = get_args(cls.model_fields[key].annotation)
    return type(None) in arguments and bool not in arguments


def load(path: str | Path) -> RunConfig:
    """Read and check a TOML file; relative input paths are relative to the file.

    Raises
    ------
    ConfigError
        If the file is missing, is not TOML, or says something impossible.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"there is no configuration {path}; write one with: genoweave init {path}"
        ) from None
    except (OSError, ValueError, RecursionError) as error:  # of TOML, of UTF-8, of numbers too long, of depth
        raise ConfigError(f"{path} cannot be read as TOML: {error}") from None
    config = build(values, str(path))
    return with_paths(config, path.resolve().parent)


def with_paths(config: RunConfig, folder: Path) -> RunConfig:
    """Return the configuration with input paths made absolute, relative to `folder`."""
    given = config.input
    places = {
        key: value if "://" in value else str(folder / Path(value).expanduser())
        for key, value in ({"path": given.path, "ancestry": given.ancestry} | given.beside).items()
    }
    return config.model_copy(update={"input": given.model_copy(update=places)})


def replace(config: RunConfig, section: str, **changes: Any) -> RunConfig:
    """Return a configuration with some values of a section changed and checked again."""
    values = config.model_dump(exclude_unset=False)
    values[section] |= changes
    return build(values)


def to_toml(config: RunConfig, *, comments: bool = True) -> str:
    """Write a configuration as TOML, with the meaning of each key as a comment."""
    lines = []
    if comments:
        lines.append(f"# {RunConfig.model_fields['seed'].description}")
    lines.append(f"seed = {config.seed}")
    for name in SECTIONS:
        section = getattr(config, name)
        lines += ["", f"[{name}]"]
        if comments:
            lines.insert(-1, f"# {(type(section).__doc__ or '').splitlines()[0]}")
        for key, field in type(section).model_fields.items():
            if key == "seed" and getattr(section, key) == config.seed:
                continue
            if comments:
                lines.append(f"# {field.description}")
            lines.append(f"{key} = {_toml(getattr(section, key))}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if value is None:
        return "false"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_none=True)
    if isinstance(value, dict):
        pairs = (f"{_toml(str(key))} = {_toml(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML's escapes are JSON's

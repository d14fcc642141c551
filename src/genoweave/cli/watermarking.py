"""The command that makes watermark SNPs, and hides them among those of a cohort to send."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import xarray as xr

from genoweave import api
from genoweave.cli.options import Common, argument, arguments, option
from genoweave.cli.shared import ANCESTRY, COLUMN, KEY, beside, key_of, open_labelled
from genoweave.cli.traits import covariates_of, joined, names_of, traits_of
from genoweave.cohorts import FORMATS, export, open_cohort, save
from genoweave.errors import ConfigError, DataError, StoreError
from genoweave.io.files import make_folder, remove, write_atomic
from genoweave.io.phenotype_files import STYLES, write_covariates, write_phenotypes
from genoweave.io.release import write_tsv
from genoweave.io.tables import case_control, match_ids, read_phenotypes
from genoweave.io.tables.joining import Tables
from genoweave.methods.gwas import Trait
from genoweave.methods.watermark import (
    HiddenWatermark,
    Key,
    Watermark,
    detection_probability,
    watermarks_needed,
)
from genoweave.methods.watermark.models import MODELS, PROGRAMS

_ENDINGS = {".bed": "plink", ".pgen": "pgen", ".bcf": "bcf", ".vcf": "vcf", ".gz": "vcf", ".bgen": "bgen"}
# What may stand beside a cohort to send.
_WRITTEN = (
    ".bed", ".bim", ".fam", ".pgen", ".pvar", ".pvar.zst", ".psam", ".vcf", ".vcf.gz", ".vcf.gz.tbi",
    ".vcf.gz.csi", ".bcf", ".bcf.csi", ".bgen", ".sample", ".vcz", ".pheno", ".covar",
)  # fmt: skip
_SHARES = (0.01, 0.05, 0.1, 0.2)


@arguments(
    argument("cohort", metavar="COHORT", required=False),
    option("--out", type=click.Path(path_type=Path), help="what to write"),
    option("--pheno", type=click.Path(path_type=Path),
           help="table of phenotypes; those that the cohort was imported with, or a .fam's, by default"),
    option("--pheno-name", metavar="NAME", help="the trait; the first by default"),
    option("--covar", type=click.Path(path_type=Path),
           help="table of covariates; those that the cohort was imported with by default"),
    option("--covar-name", metavar="NAMES", help="covariates to use, with commas; all by default"),
    option("--key", "key_file", type=click.Path(path_type=Path),
           help="secret key file (JSON) to write; the watermarks are hidden in the cohort then"),
    option("--force", is_flag=True, help="replace the key file if there is one"),
    option("--to", type=click.Choice([name for name in FORMATS if name != "csv"]),
           help="format of OUT  [default: by its ending, else vcz]"),
    option("--tables", type=click.Choice(STYLES), default="plink2", show_default=True,
           help="who is to read OUT.pheno and OUT.covar"),
    option("--asked", type=click.Choice([*PROGRAMS, *MODELS]), default="plink2", show_default=True,
           help="what the server is asked to run: a program, or a model"),
    option("--distinguish", "try_to_tell", is_flag=True,
           help="report how well classifiers tell the watermarks from real SNPs"),
    option("--power", is_flag=True, help="print detection probabilities, and make nothing"),
    option("--variants", type=click.IntRange(1), help="power: real SNPs beside them  [default: many]"),
    option("--skipped", type=float, help="power: share of SNPs that a server skips"),
    option("--wanted", type=float, default=0.95, show_default=True, help="power: probability to detect it"),
    ANCESTRY, COLUMN, KEY,
    flags=(HiddenWatermark,),
)  # fmt: skip
def watermark(
    cohort: str | None, out: Path | None, key_file: Path | None, power: bool, common: Common, **given: Any
) -> None:  # fmt: skip
    """Hide watermark SNPs in COHORT: OUT, OUT.pheno, OUT.covar to send, and the key to keep.

    OUT is the cohort with the watermarks at their places; --key FILE (mode 600) names them and says what an
    honest server returns, for genoweave verify. Never send the key. Without --key the paper's watermarks are
    written alone, in a store of their own, with OUT.tests.tsv. --power prints how many are needed.
    """
    params = common.parameters(HiddenWatermark, "watermark")
    if power:
        _print_power(params.n, given["variants"], given["skipped"], given["wanted"], common)
        return
    if cohort is None or out is None:
        missing = "argument 'COHORT'" if cohort is None else "option '--out'"
        raise click.UsageError(f"Missing {missing}; only --power goes without")
    if key_file is not None:
        _hide(cohort, out, key_file, params, given, common)
        return
    if common.flags.get("kind") == "qc-proof":
        raise click.UsageError("--kind qc-proof needs --key FILE, which says where the watermarks are")
    if given["pheno"] is None:
        raise click.UsageError("Missing option '--pheno'")
    _write_alone(cohort, out, params, given, common)


def _print_power(
    n: int, n_variants: int | None, skipped: float | None, wanted: float, common: Common
) -> None:
    shares = _SHARES if skipped is None else (skipped,)
    among = "many SNPs" if n_variants is None else f"{n_variants} SNPs"
    common.say(f"{n} watermarks among {among}")
    for rho in shares:
        found = detection_probability(n, rho, n_variants)
        line = f"{rho:.2%} skipped: detected with probability {found:.4f}"
        if n_variants is not None:
            line += f" (approximately {detection_probability(n, rho):.4f})"
        common.say(f"{line}; {watermarks_needed(rho, wanted, n_variants)} watermarks for {wanted:g}")


def _write_alone(cohort: str, out: Path, params: Watermark, given: dict[str, Any], common: Common) -> None:
    """Write the paper's watermarks in a store of their own, and their tests."""
    ds = open_cohort(cohort)
    case = _read_status(given["pheno"], ds)
    params = Watermark(**params.model_dump() | {"kind": "paper"})
    marks, tests = api.watermark(ds, case, params, key=key_of(given["noise_key"]))
    save(marks.assign(sample_id=("samples", ds["sample_id"].values)), out)
    write_tsv(tests, beside(out, ".tests.tsv"))
    common.say(f"wrote {len(tests)} watermark SNPs to {out}; joint fit: {tests.attrs['joint_fit']}")


def _read_status(path: Path, ds: xr.Dataset) -> np.ndarray:
    """Return the status of each sample, 0 or 1, of the first phenotype of a table."""
    table = read_phenotypes(path)
    index, _ = match_ids(ds, table, path, "a status")
    values = table.drop(columns="FID", errors="ignore").iloc[:, 0].to_numpy()
    is_zero_one = values.dtype.kind == "f" and not (values == 2).any()
    status = np.where(index >= 0, case_control(values, zero_one=is_zero_one)[index], -1).astype(np.int8)
    wrong = np.flatnonzero(status < 0)
    if len(wrong):
        raise DataError(
            f"{path}: {len(wrong)} of {len(index)} samples have no status (first: sample number "
            f"{wrong[0] + 1} of the cohort); wanted 0 or 1, or 1 control and 2 case as in PLINK"
        )
    return status


def _hide(
    cohort: str, out: Path, key_file: Path, params: HiddenWatermark, given: dict[str, Any], common: Common
) -> None:
    """Write the cohort to send, its tables and the key."""
    given["to"] = given["to"] or _ENDINGS.get(out.suffix, "vcz")
    _check_files(cohort, key_file, out, given)
    ds = open_labelled(cohort, given["ancestry"], given["ancestry_column"])
    of_trait, of_covariates = names_of(given["pheno_name"]), names_of(given["covar_name"])
    tables = Tables(given["pheno"], given["covar"], phenotype_names=of_trait, covariate_names=of_covariates)
    ds = joined(ds, tables, common)
    trait, covariates = _trait(ds, of_trait), covariates_of(ds, of_covariates)
    values = np.column_stack(list(covariates.values())) if covariates else None
    with common.work("watermark"):
        sent, key = api.watermark_cohort(
            ds, trait, values, params, key=key_of(given["noise_key"]), asked=given["asked"],
            names=list(covariates),
        )  # fmt: skip
        _write(sent, key, trait, covariates, out, key_file, given)
        common.say(_said(key, out, key_file))
        if given["try_to_tell"]:
            common.say(_told(sent, key))


def _check_files(cohort: str, key_file: Path, out: Path, given: dict[str, Any]) -> None:
    """Refuse to lose a key, to send it, or to write over what is read."""
    if key_file.exists() and not given["force"]:
        raise StoreError(
            f"{key_file} exists; a key cannot be made again without its --noise-key. Choose another name, or "
            "replace it with --force"
        )
    prefix = _prefix(out, given["to"])
    is_sent = key_file.resolve().parent == prefix.resolve().parent and key_file.name in {
        prefix.name + ending for ending in _WRITTEN
    }
    if is_sent or key_file.resolve().is_relative_to(out.resolve()):
        raise ConfigError(f"{key_file} is inside {out}, which is sent away; keep the key elsewhere")
    written = {out.resolve(), prefix.resolve()}
    written |= {prefix.with_name(prefix.name + ending).resolve() for ending in _WRITTEN}
    for read in (cohort, given["pheno"], given["covar"], given["ancestry"]):
        if read is not None and Path(read).resolve() in written:
            raise ConfigError(f"--out {out} would write over {read}, which is read; choose another name")


def _trait(ds: xr.Dataset, names: list[str] | None) -> Trait:
    traits = traits_of(ds, names)
    if names is not None and len(traits) > 1:
        raise ConfigError("watermarks are made for one trait; name one with --pheno-name")
    return traits[0]


def _write(
    sent: xr.Dataset, key: Key, trait: Trait, covariates: dict[str, np.ndarray], out: Path, key_file: Path,
    given: dict[str, Any],
) -> None:  # fmt: skip
    """Write the key first: a cohort whose key is lost must not be sent.

    A former key waits beside it until all is written: a cohort that it belongs to may have been sent.
    """
    beside(out, "")
    make_folder(key_file.parent)
    former = key_file.with_name(key_file.name + ".former")
    # one that waits since a run was killed is the one that was in use
    if key_file.exists() and not former.exists():
        key_file.replace(former)
    try:
        write_atomic(key_file, key.to_json(), mode=0o600)
        export(sent, given["to"], out)
        _write_tables(sent, trait, covariates, _prefix(out, given["to"]), given["tables"])
    except BaseException:
        remove(key_file)
        if former.exists():
            former.replace(key_file)
        raise
    remove(former)


def _write_tables(
    sent: xr.Dataset, trait: Trait, covariates: dict[str, np.ndarray], prefix: Path, style: str
) -> None:
    status = {"sample_case": ("samples", np.nan_to_num(trait.values, nan=-1).astype(np.int8))}
    tables = sent.assign(status if trait.is_binary else {"watermark_trait": ("samples", trait.values)})
    tables = tables.assign({f"covar_{k}": ("samples", x) for k, x in enumerate(covariates.values())})
    column = {trait.name: "sample_case" if trait.is_binary else "watermark_trait"}
    write_phenotypes(tables, beside(prefix, ".pheno"), style, column)
    if covariates:
        names = {name: f"covar_{k}" for k, name in enumerate(covariates)}
        write_covariates(tables, beside(prefix, ".covar"), style, names)


def _prefix(out: Path, to: str) -> Path:
    endings = {"plink": ".bed", "pgen": ".pgen", "vcf": ".vcf.gz", "bcf": ".bcf", "bgen": ".bgen"}
    name = out.name.removesuffix(endings.get(to, ".vcz")).removesuffix(".vcf")
    return out.with_name(name or out.name)


def _said(key: Key, out: Path, key_file: Path) -> str:
    signals = int((key.watermarks["role"] == "signal").sum())
    strong = int((key.expected[key.asked]["log10_p"] < np.log10(5e-8)).sum())
    return (
        f"wrote {out} with {len(key.watermarks)} watermarks among {key.n_variants} variants: {signals} "
        f"associated with {key.trait} ({strong} genome-wide significant), {len(key.watermarks) - signals} "
        f"not; keep {key_file} secret"
    )


def _told(sent: xr.Dataset, key: Key) -> str:
    from genoweave.methods.watermark.distinguish import distinguish, rows_of

    found = distinguish(sent, rows_of(sent, key))
    alone, together = (
        ", ".join(f"{name} {value:.3f}" for name, value in auc.items())
        for auc in (found.auc, found.auc_together)
    )
    return (
        f"telling them from real SNPs, AUC: {alone}; with all 30 SNPs around together: {together} "
        f"(0.5 +- {found.band:.3f} if nothing can be told)"
    )

"""The rows that compare `genoweave gwas` with PLINK 2's --glm: whole commands on the same files.

PLINK 2 runs on one thread, with which it takes the least CPU: on two its BLAS turns round while it waits. Of
linear regression it is measured on the comparison's threads too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from lab import Entry, Lab, Row, Target, ratio
from measuring import Measured
from outputs import column, glm, same_numbers

_COVARIATES = 10
_TRAITS = 10
_MODIFIERS = ("hide-covar", "omit-ref")
_NOTE = "PLINK 2 on one thread, with which it takes the least CPU; it prints six digits"


def linear(lab: Lab) -> Row:
    """One quantitative trait, and ten, on every variant of E with ten covariates."""
    tables = Tables(lab, "E")
    one, ten = (tables.ours(lab, names, f"linear{k}") for k, names in enumerate(("q1", tables.all_ten)))
    on_all = lab.plink2("--bfile", tables.prefix, "--glm", *_MODIFIERS, *tables.options("q1"), "--out",
                        lab.out("plink2"))  # fmt: skip
    theirs = tables.plink2(lab, "q1")
    entries = [
        tables.entry("genoweave gwas", one),
        tables.entry("plink2 --glm, one thread", theirs),
        tables.entry("plink2 --glm", on_all),
        tables.entry("genoweave gwas, ten traits", ten, _TRAITS),
    ]
    row = Row("linear regression", entries)
    row.targets = [*_cpu(entries[0], entries[1], 5, 10), *_cpu(entries[0], entries[2], 15, 20)]
    row.targets += [Target("CPU of ten traits / one", ten.cpu / one.cpu, 2, at_least=False), _peak(one)]
    if theirs is not None:
        found = glm(lab.out("linear0.q1.glm.linear"))
        row.checks = [same_numbers("t statistics", found, glm(lab.out("plink2.q1.glm.linear")), 1e-3)]
        row.notes.append(_NOTE)
    return row


def logistic(lab: Lab) -> Row:
    """A case/control trait on every variant of E with ten covariates: score test, Wald where p < 1e-3."""
    tables = Tables(lab, "E")
    ours, theirs = tables.ours(lab, "case", "logistic"), tables.plink2(lab, "case")
    entries = [tables.entry("genoweave gwas", ours), tables.entry("plink2 --glm, one thread", theirs)]
    row = Row("logistic regression, score test", entries, [*_cpu(entries[0], entries[1], 20), _peak(ours)])
    if theirs is not None:
        found = glm(lab.out("logistic.case.glm.logistic.hybrid"))
        expected = glm(lab.out("plink2.case.glm.logistic.hybrid"))
        row.checks = [same_numbers("z statistics", found, expected, 1.0 if lab.toy else 0.05)]
        row.notes += [_NOTE, "score tests beside PLINK 2's Wald tests"]
    return row


def logistic_fits(lab: Lab) -> Row:
    """Wald and Firth fits of every variant of C with ten covariates."""
    tables = Tables(lab, "C")
    entries, checks = [], []
    for test, modifiers, ending in (("wald", (), "logistic.hybrid"), ("firth", ("firth",), "firth")):
        ours = tables.ours(lab, "case", test, "--test", test)
        theirs = tables.plink2(lab, "case", *modifiers)
        command = " ".join(["plink2 --glm", *modifiers])
        entries += [tables.entry(f"genoweave gwas --test {test}", ours),
                    tables.entry(f"{command}, one thread", theirs)]  # fmt: skip
        if theirs is not None:
            found, expected = (glm(lab.out(f"{name}.case.glm.{ending}")) for name in (test, "plink2"))
            checks.append(same_numbers(f"z statistics, {test}", found, expected, 0.1 if lab.toy else 5e-3))
    row = Row("logistic regression, fits", entries, checks=checks)
    for ours_, theirs_ in (entries[:2], entries[2:]):
        if not theirs_.absent:
            row.notes.append(f"{ours_.program}: {ratio(ours_, theirs_):.2f} of PLINK 2's CPU over ours")
    row.notes.append(
        "PLINK 2 fits in single precision, and at toy size its SE is up to 7 % too small where the samples "
        "with a call are no multiple of four"
    )
    return row


class Tables:
    """Traits and covariates of a shape in PLINK's form, and the two programs on them."""

    all_ten = ",".join(f"q{k + 1}" for k in range(_TRAITS))

    def __init__(self, lab: Lab, shape: str) -> None:
        self.prefix = lab.prefix(shape)
        self.shape = "toy" if lab.toy else shape
        self.work = float(lab.shape(shape).genotypes)
        self.paths = _write(lab, self.prefix)

    def options(self, names: str) -> list[str | Path]:
        """Return the options that both programs have."""
        return ["--pheno", self.paths[0], "--pheno-name", names, "--covar", self.paths[1]]

    def ours(self, lab: Lab, names: str, out: str, *options: str) -> Measured:
        """Measure genoweave."""
        return lab.ours("gwas", f"{self.prefix}.bed", *self.options(names), *options, "--out", lab.out(out))

    def plink2(self, lab: Lab, name: str, *modifiers: str) -> Measured | None:
        """Measure PLINK 2 on one thread."""
        return lab.peer(
            "plink2", "--bfile", self.prefix, "--glm", *_MODIFIERS, *modifiers, *self.options(name),
            "--threads", 1, "--out", lab.out("plink2"), variables={"OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip

    def entry(self, program: str, measured: Measured | None, traits: int = 1) -> Entry:
        """Return an entry; the work grows with the traits."""
        return Entry(program, self.shape, traits * self.work, measured)


def _write(lab: Lab, prefix: Path) -> tuple[Path, Path]:
    ids = column(Path(f"{prefix}.fam"), 1)
    rng = np.random.default_rng(1)
    covariates = rng.normal(size=(len(ids), _COVARIATES)).round(6)
    quantities = (rng.normal(size=(len(ids), _TRAITS)) + covariates[:, :1]).round(6)
    liability = 0.3 * covariates[:, 0] + rng.logistic(size=len(ids))
    traits = {"case": (liability > 0) + 1} | {f"q{k + 1}": quantities[:, k] for k in range(_TRAITS)}
    columns = {f"C{k + 1}": covariates[:, k] for k in range(_COVARIATES)}
    paths = lab.out("traits.tsv"), lab.out("covariates.tsv")
    for path, values in zip(paths, (traits, columns), strict=True):
        pd.DataFrame({"#IID": ids} | values).to_csv(path, sep="\t", index=False)
    return paths


def _cpu(ours: Entry, theirs: Entry, must: float, aim: float | None = None) -> list[Target]:
    if theirs.absent:
        return []
    return [Target(f"CPU of {theirs.program} / ours", ratio(ours, theirs), must, aim)]


def _peak(measured: Measured) -> Target:
    return Target("peak GiB", measured.peak_bytes / 2**30, 0.75, at_least=False)

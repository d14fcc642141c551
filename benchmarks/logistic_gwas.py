"""Association of a case/control and of a quantitative trait, beside PLINK 2: whole processes.

python benchmarks/logistic_gwas.py [--shape C] [--folder data]

Traits and ten covariates are drawn from a public seed. Printed are the CPU seconds of `genoweave gwas`, of
`plink2 --glm hide-covar omit-ref` with one thread on the same files, and their ratio. `genoweave gwas` alone
where plink2 is not installed. About 1.3 s of each command of genoweave are imports.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from shapes import SHAPES, genoweave, make

_COVARIATES = 10
_RUNS = (
    ("logistic, score", "case", ("--test", "score"), ()),
    ("logistic, Wald", "case", ("--test", "wald"), ()),
    ("logistic, Firth", "case", ("--test", "firth"), ("firth",)),
    ("linear", "quantity", (), ()),
)


def write_tables(prefix: Path) -> tuple[Path, Path]:
    """Write a case/control and a quantitative trait, and covariates, for the samples of a fileset."""
    ids = pd.read_csv(f"{prefix}.fam", sep=r"\s+", header=None, dtype=str)[1]
    rng = np.random.default_rng(1)
    covariates = rng.normal(size=(len(ids), _COVARIATES)).round(6)
    liability = 0.3 * covariates[:, 0] + rng.logistic(size=len(ids))
    traits = {"#IID": ids, "case": (liability > 0) + 1, "quantity": liability.round(6)}
    tables = Path(f"{prefix}.traits.tsv"), Path(f"{prefix}.covariates.tsv")
    pd.DataFrame(traits).to_csv(tables[0], sep="\t", index=False)
    columns = {f"C{k + 1}": covariates[:, k] for k in range(_COVARIATES)}
    pd.DataFrame({"#IID": ids} | columns).to_csv(tables[1], sep="\t", index=False)
    return tables


def cpu_seconds(command: list[str]) -> float:
    """Run a command and return its user and system seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(arguments: list[str] | None = None) -> int:
    """Make the data, run both programs, print a table."""
    parser = argparse.ArgumentParser(description="Time association beside PLINK 2.")
    parser.add_argument("--shape", choices=SHAPES, default="C", help="samples and variants (default: C)")
    parser.add_argument("--folder", type=Path, default=Path("data"), help="where (default: data)")
    given = parser.parse_args(arguments)
    prefix = make(SHAPES[given.shape], given.folder / given.shape)
    traits, covariates = write_tables(prefix)
    out = given.folder / "gwas"
    plink2 = shutil.which("plink2")
    sys.stdout.write("run\tgenoweave_cpu_s\tplink2_cpu_s\tratio\n")
    for name, trait, ours, theirs in _RUNS:
        tables = ["--pheno", str(traits), "--pheno-name", trait, "--covar", str(covariates)]
        command = [*genoweave(), "gwas", f"{prefix}.bed", *tables, *ours, "--out", str(out), "--quiet"]
        cpu_seconds(command)  # the first run may compile
        own = cpu_seconds(command)
        line = f"{name}\t{own:.2f}"
        if plink2:
            modifiers = ["--glm", "hide-covar", "omit-ref", *theirs]
            files = ["--bfile", str(prefix), "--threads", "1", "--out", f"{out}.plink2"]
            peer = cpu_seconds([plink2, *files, *tables, *modifiers])
            line += f"\t{peer:.2f}\t{own / peer:.3f}"
        sys.stdout.write(line + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

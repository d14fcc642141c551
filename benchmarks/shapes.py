"""Input data of the benchmarks: `python benchmarks/shapes.py A C --folder data`.

Each shape is a PLINK fileset that `genoweave simulate` makes from a public seed, so that it is the same
everywhere: six groups, Fst 0.1, 1 % missing calls, 200 samples with relatives. "paper" is the paper's input.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

_GROUPS = "EUR=0.35,AFR=0.2,AMR=0.15,EAS=0.12,SAS=0.1,WAS=0.08"
_RELATED = 200


@dataclass(frozen=True)
class Shape:
    """Samples x variants; `paper` has the paper's spectrum, faults and families."""

    samples: int
    variants: int
    paper: bool = False

    @property
    def genotypes(self) -> int:
        """Samples times variants."""
        return self.samples * self.variants

    def options(self) -> list[str]:
        """Return the options of `genoweave simulate`."""
        sizes = ["--samples", str(self.samples), "--variants", str(self.variants)]
        if self.paper:
            return ["--preset", "paper", *sizes]
        related = min(0.05, _RELATED / self.samples)
        return ["--model", "balding-nichols", *sizes, "--populations", _GROUPS, "--fst", "0.1",
                "--missing-rate", "0.01", "--related-share", f"{related:.6g}"]  # fmt: skip


PAPER = Shape(245_394, 202_959, paper=True)
SHAPES = {
    "toy": Shape(400, 600),
    "B": Shape(2_000, 10_000),
    "A": Shape(10_000, 50_000),
    "C": Shape(20_000, 7_180),
    "D": Shape(34_200, 7_180),
    "E": Shape(184_712, 7_180),
    "F": Shape(245_394, 20_000),
    "paper": PAPER,
}


def scaled(shape: Shape, samples: Fraction, variants: Fraction) -> Shape:
    """Return a shape with a share of the samples and of the variants."""
    return Shape(round(shape.samples * samples), round(shape.variants * variants), shape.paper)


def make(shape: Shape, prefix: Path) -> Path:
    """Make the fileset `prefix`.bed unless it is there; return the prefix.

    Raises
    ------
    subprocess.CalledProcessError
        If `genoweave simulate` fails.
    """
    bed = Path(f"{prefix}.bed")
    wanted = 3 + shape.variants * ((shape.samples + 3) // 4)
    if not (bed.exists() and bed.stat().st_size == wanted and Path(f"{prefix}.ancestry.tsv").exists()):
        subprocess.run([*genoweave(), "simulate", str(bed), *shape.options(), "--quiet"], check=True)
    return prefix


def genoweave() -> list[str]:
    """Return the command line program of the Python that runs this script."""
    return [sys.executable, "-c", "from genoweave.cli import program; program()"]


def main(arguments: list[str] | None = None) -> int:
    """Make the shapes that are named."""
    parser = argparse.ArgumentParser(description="Make the input data of the benchmarks.")
    parser.add_argument("shapes", nargs="+", choices=SHAPES, help="which")
    parser.add_argument("--folder", type=Path, default=Path("data"), help="where (default: data)")
    given = parser.parse_args(arguments)
    for name in given.shapes:
        sys.stdout.write(f"{make(SHAPES[name], given.folder / name)}.bed\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

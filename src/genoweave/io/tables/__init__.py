"""Tables that users bring: ancestry labels, phenotypes, covariates, pedigrees, genetic maps."""

from genoweave.io.tables.ancestry import add_ancestry, read_ancestry
from genoweave.io.tables.ids import Matching, match_ids
from genoweave.io.tables.maps import add_genetic_positions, interpolate_map, read_genetic_map
from genoweave.io.tables.pedigree import check_pedigree, read_pedigree
from genoweave.io.tables.phenotypes import case_control, is_case_control, read_covariates, read_phenotypes
from genoweave.io.tables.text import read_table

__all__ = [
    "Matching",
    "add_ancestry",
    "add_genetic_positions",
    "case_control",
    "check_pedigree",
    "interpolate_map",
    "is_case_control",
    "match_ids",
    "read_ancestry",
    "read_covariates",
    "read_genetic_map",
    "read_pedigree",
    "read_phenotypes",
    "read_table",
]

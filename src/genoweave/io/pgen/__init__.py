"""PLINK 2 filesets: tables and index (where records lie), reading (any block of calls), writing."""

from genoweave.io.pgen.reading import is_pgen, open_pgen, pgen_paths
from genoweave.io.pgen.writing import write_pgen

__all__ = ["is_pgen", "open_pgen", "pgen_paths", "write_pgen"]

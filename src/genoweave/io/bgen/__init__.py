"""BGEN 1.1 to 1.3: index (one pass over the headers), reading (any block of calls), writing."""

from genoweave.io.bgen.reading import BgenSource, count_uncertain, is_bgen, open_bgen
from genoweave.io.bgen.writing import write_bgen

__all__ = ["BgenSource", "count_uncertain", "is_bgen", "open_bgen", "write_bgen"]

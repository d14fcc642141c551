"""VCF, bgzip-compressed VCF and BCF.

Reading: bgzf (bytes by place) -> header -> scan (one pass makes the index) -> source (any block of calls).
Writing: formatting (a batch as bytes) -> writing (the file and its index).
"""

from genoweave.io.vcf.reading import is_vcf, open_vcf
from genoweave.io.vcf.writing import write_vcf

__all__ = ["is_vcf", "open_vcf", "write_vcf"]

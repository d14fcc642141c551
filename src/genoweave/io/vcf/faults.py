"""What is wrong with a record, in words."""

from __future__ import annotations

from genoweave.errors import DataError
from genoweave.kernels import vcf_text as k

_COLUMNS = ("CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT")
# Kinds that no kernel finds.
TOO_LONG, NOT_UTF8, CUT_OFF = 100, 101, 102


def fault_error(path: str, where: str, fault: int, detail: int, n_samples: int) -> DataError:
    """Return the error for a fault of a record.

    Parameters
    ----------
    path, where
        The file, and the line or record in it.
    fault, detail
        The kernel's code, and what it found: a sample, from 0, or a number of columns.
    """
    sample = f"sample number {detail + 1}"
    text = {
        k.FEW_COLUMNS: f"wanted {n_samples + 9} columns as in the header, found {detail + 9}: the line is "
        "cut off or columns are missing",
        k.MANY_COLUMNS: f"wanted {n_samples + 9} columns as in the header, found more",
        k.FEW_FIXED: f"wanted {n_samples + 9} columns separated by tabs, found {detail}",
        k.BAD_GT: f"GT of {sample} is not a genotype; wanted alleles as in 0/1, 1|0, ./. or 1",
        k.BEYOND: f"GT of {sample} has an allele beyond the record's ALT",
        k.PLOIDY: f"GT of {sample} has more than two alleles; genoweave works on diploid calls. Remove such "
        "records or samples",
        k.HALF: f"GT of {sample} is half missing and half_calls is 'error'; choose 'missing', 'reference', "
        "'haploid' or 'keep'",
        k.HAPLOID: f"GT of {sample} is haploid and haploid is 'refuse'; choose 'double' or 'missing'",
        k.BAD_POSITION: "POS is not a whole number from 0 to 2147483647",
        k.EMPTY_FIELD: f"{_COLUMNS[detail] if 0 < detail < 9 else 'CHROM or REF'} is empty",
        k.BAD_ALT: "an allele is empty or REF holds a comma",
        k.CONTROL: "CHROM, ID, REF or ALT holds control characters: the file is damaged",
        k.BROKEN: "its lengths contradict each other: the file is damaged, copy it again",
        k.SAMPLES: f"wanted {n_samples} samples as in the header: the file is damaged",
        TOO_LONG: "it is longer than a record of so many samples can be: the file is damaged",
        NOT_UTF8: "CHROM, ID, REF or ALT is not UTF-8 text; save the file as UTF-8",
        CUT_OFF: "the file ends within it: it was cut off, copy it again",
    }[fault]
    return DataError(f"{path}, {where}: {text}")

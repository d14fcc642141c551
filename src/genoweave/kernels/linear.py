"""Linear regression of traits on one variant at a time, from packed genotypes, by sums alone.

With covariates orthonormalised once (Q, intercept included) and the trait's residual y, a variant g needs
g'g, Q'g and g'y over all samples, and the products of Q and y at its few missing calls. The first
are integer sums: a float column becomes two int16 limbs (31 bits, fixed point), so that genotypes are
never turned into floats and the sums are exact, whatever the order and the processor.

Working forms (a block is 256 samples, 64 bytes of packed genotypes)

- codes: uint8 (variants, 64 blocks), 2 bits a sample as in a .bed, but holding the dosage 0, 1 or 2 itself;
  0 for missing calls and for samples that are left out.
- limbs: int16 (columns, blocks, 8, 2, 32); the sample 8 j + k of a block stands at [:, k, :, j],
  since that is where shifting 32 words of 16 bits by 2 k brings its code.
"""

from __future__ import annotations

import numpy as np

from genoweave.kernels._bits import popcount
from genoweave.kernels._compile import kernel
from genoweave.kernels.cholesky import forward
from genoweave.kernels.linear_tiles import (
    BLOCK,
    LIMB_BITS,
    TILE_COLUMNS,
    TILE_VARIANTS,
    add_outer,
    add_tile,
    expand_eight,
    lowest_bit,
    prefetch,
)

# The largest fixed-point value: its high limb fits into 16 bits, rounding included.
LARGEST = 2**30 - 2**LIMB_BITS

OK, CONSTANT, TOO_FEW, COLLINEAR, COVARIATES, PERFECT = range(6)

# Sums of 32-bit lanes cannot overflow within a span: 8,192 samples x 2 x 2^15 < 2^31. A span of three columns
# (96 KiB of limbs) stays in the L2 cache while all variants of a call pass.
_SPAN_BLOCKS = 32
# 4,096 samples' rows are 256 KiB with ten covariates and a trait.
_ROW_SPAN_WORDS = 128
# Relative to the samples: below this a covariate is a combination of others among a variant's calls.
_SINGULAR = 1e-9
# 1 - R^2 of trait on variant below this is rounding: t would be noise.
_NO_RESIDUAL = 1e-8


@kernel
def split_limbs(fixed, limbs):
    """Split the columns of int32 (samples, columns), at most `LARGEST`, into `limbs`, zero before."""
    half = 1 << (LIMB_BITS - 1)
    for s in range(fixed.shape[0]):
        block, place = s // BLOCK, s % BLOCK
        lane, k = place >> 3, place & 7
        for c in range(limbs.shape[0]):
            high = (fixed[s, c] + half) >> LIMB_BITS
            limbs[c, block, k, 0, lane] = high
            limbs[c, block, k, 1, lane] = fixed[s, c] - (high << LIMB_BITS)


@kernel
def _copy_bytes(source, target):
    """Copy a row and fill up with zeros; a loop of its own becomes memcpy."""
    n = source.shape[0]
    for b in range(n):
        target[b] = source[b]
    for b in range(n, target.shape[0]):
        target[b] = 0


@kernel
def _decode_row(words, left_out, flags, counts):
    """Decode the .bed codes of one variant in place; numba vectorises it over 1-D rows only (7x)."""
    low_bits = np.uint64(0x5555555555555555)
    one = np.uint64(1)
    n_missing = n_het = n_alt = np.int64(0)
    for w in range(words.shape[0]):
        x = words[w] | left_out[w]
        low = x & low_bits
        high = (x >> one) & low_bits
        absent = low & ~high
        het = high & ~low
        alt = ~(high | low) & low_bits
        flags[w] = absent
        words[w] = (alt << one) | het
        n_missing += popcount(absent)
        n_het += popcount(het)
        n_alt += popcount(alt)
    counts[0], counts[1], counts[2] = n_missing, n_het, n_alt


@kernel
def decode_dosages(packed, left_out, codes, flags, counts):
    """Turn packed genotypes into codes, flag missing calls and count genotypes.

    packed
        uint8 (variants, bytes), .bed codes.
    left_out
        uint64 (words,), both bits set where a sample is left out or is padding.
    codes
        uint64 (>= variants, words), see above; rows after the variants are set to 0.
    flags
        uint64 (>= variants, words): the low bit of a sample is set where its call is missing.
    counts
        int64 (>= variants, 3): missing, heterozygous, homozygous alternate, among samples not left out.
    """
    for v in range(packed.shape[0]):
        _copy_bytes(packed[v], codes[v].view(np.uint8))
        _decode_row(codes[v], left_out, flags[v], counts[v])
    codes[packed.shape[0] :] = 0


@kernel
def address(array):
    """Return where an array's first element stands."""
    return np.uint64(array.ctypes.data)


@kernel
def add_products(codes, limbs, out):
    """out[v, c] += sum over samples of dosage x fixed-point column; exact.

    `codes` uint8 (variants, 64 blocks), `limbs` int16 (columns, blocks, 8, 2, 32), `out` int64 (variants,
    columns). Variants are a multiple of `TILE_VARIANTS`. 22 limbs x samples / 32 instructions a variant with
    ten covariates and one trait.
    """
    n_columns, n_blocks = limbs.shape[0], limbs.shape[1]
    row, column = np.uint64(codes.shape[1]), np.uint64(4 * BLOCK * n_blocks)
    out_row = np.uint64(8 * n_columns)
    for b in range(0, n_blocks, _SPAN_BLOCKS):
        blocks = np.uint64(min(_SPAN_BLOCKS, n_blocks - b))
        whole = n_columns - n_columns % TILE_COLUMNS
        for c in range(0, whole, TILE_COLUMNS):
            for v in range(0, codes.shape[0], TILE_VARIANTS):
                add_tile(
                    address(codes[v, 64 * b :]), row, address(limbs[c, b:]), column, blocks,
                    address(out[v, c:]), out_row, TILE_VARIANTS, TILE_COLUMNS,
                )  # fmt: skip
        for c in range(whole, n_columns):
            for v in range(0, codes.shape[0], TILE_VARIANTS):
                add_tile(
                    address(codes[v, 64 * b :]), row, address(limbs[c, b:]), column, blocks,
                    address(out[v, c:]), out_row, TILE_VARIANTS, 1,
                )  # fmt: skip


@kernel
def list_missing(flags, listed):
    """Write the samples whose bit is set in `flags` uint64 (words, even) to `listed` int32; return how many.

    Two words at once, the second in the odd bits: the order within 64 samples is fixed but not ascending.
    The first sample is written always and counted if it is there: with 1 % missing a branch on it
    would be mispredicted at every other turn.
    """
    n = 0
    one = np.uint64(1)
    for w in range(0, flags.shape[0], 2):
        rest = flags[w] | (flags[w + 1] << one)
        bit = lowest_bit(rest)
        listed[n] = 32 * w + (bit >> 1) + 32 * (bit & 1)
        n += rest != 0
        rest &= rest - one
        while rest != 0:
            bit = lowest_bit(rest)
            listed[n] = 32 * w + (bit >> 1) + 32 * (bit & 1)
            n += 1
            rest &= rest - one
    return n


@kernel
def _list_and_fetch(flags, rows, listed):
    """List a variant's missing calls and ask for their rows while the variant before is worked on."""
    n_listed = list_missing(flags, listed)
    rows_at, step = address(rows), np.uint64(4 * rows.shape[1])
    for i in range(n_listed):
        start = rows_at + step * np.uint64(listed[i])
        for line in range(np.uint64(0), step, np.uint64(64)):
            prefetch(start + line)
    return n_listed


@kernel
def _expand_rows(rows, unit, listed, n_listed, out):
    """out[i] = rows[listed[i]] * unit; the scratch stays in the L1 cache, the rows do not.

    Bare addresses: with slices only few of the rows' cache misses are under way at a time (37 -> 24 ns a row
    at 184,712 samples).
    """
    rows_at, unit_at, out_at = address(rows), address(unit), address(out)
    size = np.uint64(rows.shape[1])
    eight = np.uint64(8)
    for i in range(n_listed):
        source = rows_at + np.uint64(4) * size * np.uint64(listed[i])
        target = out_at + eight * size * np.uint64(i)
        for c in range(np.uint64(0), size, eight):
            expand_eight(source + np.uint64(4) * c, unit_at + eight * c, target + eight * c)


@kernel
def _add_missing(values, n_values, n_left, out):
    """Add the products of the first rows of `values`, in tiles of 8 x 8 (or 4 x 8) sums in registers."""
    row, size = np.uint64(8 * values.shape[1]), values.shape[1]
    count, at = np.uint64(n_values), address(values)
    for p in range(0, n_left, 8):
        for q in range(p, size, 8):
            place = address(out[p, q:])
            if n_left - p > 4:
                add_outer(at, row, count, np.uint64(p), np.uint64(q), place, row, 8)
            else:
                add_outer(at, row, count, np.uint64(p), np.uint64(q), place, row, 4)


@kernel
def missing_products(flags, rows, unit, n_left, out):
    """out[v, i, j] += sum over missing calls of x[s, i] x[s, j], x = rows * unit, i < `n_left`, j >= i.

    `flags` uint64 (variants, words), `rows` int32 (samples, width), `unit` float64 (width,), `out` float64
    (variants, rows, width), width and rows multiples of 8 that hold `n_left`. Adds in a fixed order
    of the samples. Rows are fixed point to be half as large: a big cohort's come from memory, not from a
    cache. The next variant's are asked for ahead: 29 -> 20 ns a missing call (184,712 samples, ten
    covariates, one trait).
    """
    listed = np.empty((2, 32 * _ROW_SPAN_WORDS + 1), np.int32)
    values = np.empty((32 * _ROW_SPAN_WORDS, rows.shape[1]))
    n_variants = flags.shape[0]
    for w in range(0, flags.shape[1], _ROW_SPAN_WORDS):
        span = rows[32 * w :]
        n_next = _list_and_fetch(flags[0, w : w + _ROW_SPAN_WORDS], span, listed[0])
        for v in range(n_variants):
            n_listed = n_next
            if v + 1 < n_variants:
                n_next = _list_and_fetch(flags[v + 1, w : w + _ROW_SPAN_WORDS], span, listed[(v + 1) & 1])
            if n_listed:
                _expand_rows(span, unit, listed[v & 1], n_listed, values)
                _add_missing(values, n_listed, n_left, out[v])


@kernel
def _factor(n_samples, sums, n_called, lower):
    """Cholesky factor of n I - S, the covariates' products among the called; False if they are collinear."""
    for i in range(lower.shape[0]):
        for j in range(i + 1):
            total = (n_samples if i == j else 0.0) - sums[j, i]
            for k in range(j):
                total -= lower[i, k] * lower[j, k]
            if i > j:
                lower[i, j] = total / lower[j, j]
            elif total > _SINGULAR * n_called:
                lower[i, i] = np.sqrt(total)
            else:
                return False
    return True


@kernel
def _fit_trait(g, gg, gy, sums, t, n_traits, n_samples, lower, w, df):
    """Return beta, its standard error and a code of one standardised trait; `g` is projected already."""
    n = lower.shape[0]
    for i in range(n):
        w[i] = -sums[i, n + t]
    yy = n_samples - sums[0, n + n_traits + t] - forward(lower, n, w)
    for i in range(n):
        gy -= g[i] * w[i]
    rest = yy - gy * gy / gg
    if not rest > _NO_RESIDUAL * yy:
        return np.nan, np.nan, PERFECT
    return gy / gg, np.sqrt(rest / (df * gg)), OK


@kernel
def solve(n_samples, counts, products, unit, sums, n_covariates, max_vif, beta, se, code):
    """Fit one variant from its sums.

    n_samples
        Samples that are not left out.
    counts
        int64 (3,): missing, heterozygous, homozygous alternate.
    products
        int64 (columns,): dosage x covariates without the intercept, then traits, in units of `unit`
        (width,), whose first is the intercept's. Over all samples covariates are orthogonal with squared
        length n_samples; so is each trait, and orthogonal to them.
    sums
        float64 (rows, width): see `missing_products`; columns are the intercept, covariates, traits, squares
        of traits.
    n_covariates
        Covariates with the intercept.
    beta, se, code
        Results (traits,); NaN where the code is not `OK`.
    """
    n_traits = beta.shape[0]
    beta[:] = np.nan
    se[:] = np.nan
    called = n_samples - counts[0]
    total = counts[1] + 2 * counts[2]
    squares = counts[1] + 4 * counts[2]
    df = called - n_covariates - 1
    if df < 1:
        code[:] = TOO_FEW
        return
    spread = called * squares - total * total
    if spread == 0:
        code[:] = CONSTANT
        return
    lower = np.empty((n_covariates, n_covariates))
    if not _factor(n_samples, sums, called, lower):
        code[:] = COVARIATES
        return
    g = np.empty(n_covariates)
    g[0] = total
    for i in range(1, n_covariates):
        g[i] = products[i - 1] * unit[i]
    gg = squares - forward(lower, n_covariates, g)
    if not gg * max_vif * called >= spread:
        code[:] = COLLINEAR
        return
    w = np.empty(n_covariates)
    for t in range(n_traits):
        c = n_covariates + t
        gy = products[c - 1] * unit[c]
        beta[t], se[t], code[t] = _fit_trait(g, gg, gy, sums, t, n_traits, n_samples, lower, w, df)


@kernel
def solve_variants(n_samples, counts, products, flags, rows, unit, n_covariates, max_vif, beta, se, code):
    """Take the variants' missing calls into account and `solve` each; results are (variants, traits)."""
    sums = np.zeros((beta.shape[0], (n_covariates + 7) // 8 * 8, rows.shape[1]))
    missing_products(flags, rows, unit, n_covariates, sums)
    for v in range(beta.shape[0]):
        solve(
            n_samples, counts[v], products[v], unit, sums[v], n_covariates, max_vif, beta[v], se[v], code[v]
        )

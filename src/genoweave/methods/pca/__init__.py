"""Principal components of standardised genotypes, out of core.

x = (g - 2p) / sqrt(2p(1-p)), missing calls at 0, p the counted allele's frequency in the cohort. X has
a row per variant and a column per sample; X = U S V'. A sample's scores are X'U = V S, a variant's
loadings are U, and an eigenvalue is S**2 / m, with m the number of variants used: that of the
genetic relationship matrix X'X / m.

`fit` holds the parameters and the two public functions, `standardised` the products of X with blocks of
columns, `gram` the exact Gram matrices, `eigen` their leading eigenvectors, `lanczos` the block Lanczos
method, and `streaming` its use on a matrix that is only ever multiplied with.
"""

from genoweave.methods.pca.fit import PCA, pca, project

__all__ = ["PCA", "pca", "project"]

"""PhenotypeSimulator's construction in plain numpy, from draws that are given (Meyer & Birney 2018).

Matrices are samples x traits. Variances have divisor n - 1, as R's, and components are not centred.
"""

import numpy as np


def standardise(dosage):
    """Genotypes samples x variants; missing (negative) at the mean."""
    out = np.zeros(dosage.T.shape)
    for v, row in enumerate(dosage):
        called = row >= 0
        p = row[called].mean() / 2
        if 0 < p < 1:
            out[called, v] = (row[called] - 2 * p) / np.sqrt(2 * p * (1 - p))
    return out


def rescale(component, share):
    """The mean over traits of the variances becomes the share."""
    variances = [np.var(component[:, t], ddof=1) for t in range(component.shape[1])]
    return component * np.sqrt(share / np.mean(variances))


def shared(columns, effects, loadings):
    """Columns (variants, covariates) with the same effects in all traits, up to the traits' loadings."""
    return columns @ np.outer(effects, loadings)


def independent(columns, effects, acts):
    """Effects of each trait's own, on some traits."""
    effects = effects.copy()
    for t in range(effects.shape[1]):
        if not acts[t]:
            effects[:, t] = 0
    return columns @ effects


def background_shared(x, draws, loadings):
    """K^(1/2) B A' with A of rank 1; X / sqrt(variants) is a root of K."""
    a = np.zeros((len(loadings), len(loadings)))
    a[:, 0] = loadings
    b = np.zeros((x.shape[1], len(loadings)))
    b[:, 0] = draws
    return x / np.sqrt(x.shape[1]) @ (b @ a.T)


def background_independent(x, draws, scales):
    """K^(1/2) B A with A diagonal."""
    return x / np.sqrt(x.shape[1]) @ (draws @ np.diag(scales))


def correlation(n_traits, pcorr):
    """pcorr to the power of the distance of two traits."""
    return np.array([[pcorr ** abs(i - j) for j in range(n_traits)] for i in range(n_traits)])


def correlated(draws, matrix):
    """Multivariate normal noise."""
    return draws @ np.linalg.cholesky(matrix).T


def transform(y, method, a, base=None, power=2.0, negative="abs"):
    """(1 - a) y + a f(y), then mean 0 and variance 1."""
    x = y.copy()
    if negative == "abs":
        x = np.abs(x)
    else:
        x[x < 0] = 1e-5 if method == "log" else 0
    f = {
        "exp": lambda: np.exp(x) if base is None else base**x,
        "log": lambda: np.log(x) / np.log(base or 10),
        "poly": lambda: x**power,
        "sqrt": lambda: np.sqrt(x),
    }[method]()
    mixed = (1 - a) * y + a * f
    return (mixed - mixed.mean(axis=0)) / mixed.std(axis=0, ddof=1)

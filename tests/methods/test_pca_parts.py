"""The routes of the components: Gram matrices by strips, block Lanczos, streaming, the scratch copy."""

import logging
import os
import subprocess
import sys

import helpers
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from genoweave import execution
from genoweave.genotypes import source_of
from genoweave.methods.pca import PCA, eigen, gram, lanczos, pca, scratch, standardised
from genoweave.methods.pca.fit import _route
from genoweave.methods.pca.standardised import Standardised
from genoweave.rng import Root

STREAM = Root.from_seed(0).stream("test")


def matrix_of(ds):
    """The package's matrix, and the same dense."""
    called = np.ma.masked_less(helpers.dosage_of(ds).astype(float), 0)
    p = np.asarray(called.mean(axis=1)) / 2
    x = ((called - 2 * p[:, None]) / np.sqrt(2 * p * (1 - p))[:, None]).filled(0.0)
    return Standardised(source_of(ds), p), x


@pytest.fixture(scope="module")
def many_samples():
    """6,000 people: two blocks of samples, with missing calls up to 40 %."""
    rng = np.random.default_rng(5)
    ds = helpers.balding_nichols(3, 2000, 150, missing=0.03, monomorphic=0, seed=5)
    dosage = helpers.dosage_of(ds)
    dosage[::10] = helpers.with_missing(dosage[::10], 0.4, rng)
    return helpers.cohort(dosage)


def test_variants_gram__equals_the_dense_product(many_samples, monkeypatch):
    matrix, x = matrix_of(many_samples)
    found = gram.variants_gram(matrix, np.float64)
    np.testing.assert_allclose(found, x @ x.T, atol=1e-8)
    monkeypatch.setattr(gram, "_STRIP", 64)
    monkeypatch.setattr(gram, "_DOT_SAMPLES", 2048)
    monkeypatch.setattr(gram, "_SUM_SAMPLES", 1024)
    assert gram.variants_gram(matrix, np.float64).tobytes() == found.tobytes()
    single = gram.variants_gram(matrix, np.float32)
    np.testing.assert_allclose(single, found, atol=1e-6 * found.max())


def test_samples_gram__equals_the_dense_product(monkeypatch):
    matrix, x = matrix_of(helpers.balding_nichols(3, 50, 1100, monomorphic=0))
    monkeypatch.setattr(gram, "_STRIP", 64)
    monkeypatch.setattr(gram, "_SUM_SAMPLES", 32)
    np.testing.assert_allclose(gram.samples_gram(matrix), x.T @ x, atol=1e-8)


@pytest.mark.parametrize("columns", [1, 32, 45])
def test_products__equal_dense_products(many_samples, columns):
    matrix, x = matrix_of(many_samples)
    rng = np.random.default_rng(0)
    right, left = rng.standard_normal((6000, columns)), rng.standard_normal((150, columns))
    np.testing.assert_allclose(standardised.image(matrix, right, "a"), x @ right, atol=1e-3)
    np.testing.assert_allclose(standardised.scores(matrix, left, "b"), x.T @ left, atol=1e-4)
    np.testing.assert_allclose(standardised.block_image(matrix, right, "c"), x @ right, atol=1e-10)


def noise_bulk(size, n, spikes, seed=0):
    """A covariance matrix of noise with some large directions, and its eigenvalues."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((size, n))
    for i in range(spikes):
        z += np.outer(rng.standard_normal(size), rng.standard_normal(n)) / (i + 1)
    covariance = z @ z.T / n
    return covariance, scipy.linalg.eigvalsh(covariance)[::-1]


@pytest.mark.parametrize(("dtype", "accuracy"), [(np.float64, 1e-9), (np.float32, 3e-6)])
def test_top_eigen__lanczos_finds_eigenvalues_within_the_bulk(monkeypatch, dtype, accuracy):
    monkeypatch.setattr(eigen, "_LAPACK_SIZE", 100)
    covariance, exact = noise_bulk(500, 2500, 4)
    assert not eigen.by_lapack(500, 15)
    vectors, singular = eigen.top_eigen(covariance.astype(dtype), 15, STREAM)
    np.testing.assert_allclose(singular**2, exact[:15], rtol=accuracy)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(15), atol=1e-10)
    # the smallest of them lie a thousandth apart
    residual = covariance @ vectors - vectors * singular**2
    assert np.linalg.norm(residual, axis=0).max() < 0.01


def test_top_eigen__lapack_takes_over(monkeypatch, caplog):
    # all eigenvalues the same but for rounding: no Krylov space separates them
    monkeypatch.setattr(eigen, "_LAPACK_SIZE", 100)
    matrix = np.diag(1 + 1e-3 * np.linspace(-1, 1, 300) ** 3)
    monkeypatch.setitem(eigen._TOLERANCE, np.dtype(np.float64), 1e-15)
    with caplog.at_level(logging.INFO):
        _, singular = eigen.top_eigen(matrix, 10, STREAM)
    assert "LAPACK takes over" in caplog.text
    np.testing.assert_allclose(singular**2, np.diag(matrix)[::-1][:10], rtol=1e-12)


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_leading_eigenpairs__of_a_matrix_without_full_rank(rank):
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.standard_normal((50, max(rank, 1))))
    values = np.arange(rank, 0, -1.0) if rank else np.zeros(1)
    matrix = (q * values) @ q.T
    found = lanczos.leading_eigenpairs(
        lambda block, _: matrix @ block, rng.standard_normal((50, 4)), 5, tolerance=1e-9, max_products=50
    )
    np.testing.assert_allclose(found.values, np.append(values, np.zeros(5))[:5], atol=1e-12)
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(5), atol=1e-10)


@pytest.mark.parametrize("shape", [(900, 1500), (1500, 900)])
def test_pca__streaming_keeps_its_tolerance(shape):
    ds = helpers.balding_nichols(3, shape[1] // 3, shape[0], monomorphic=0, seed=8)
    _, x = matrix_of(ds)
    exact = np.linalg.svd(x, compute_uv=False)[:8] ** 2 / len(x)
    for tolerance in (1e-2, 1e-3, 1e-4):
        model = pca(ds, PCA(n_components=8, solver="randomized", ld_prune=False, tolerance=tolerance))
        error = 1 - model["pca_eigenvalue"].values / exact
        assert error.min() > -1e-5
        assert error.max() < tolerance


def test_pca__too_few_passes_are_told(caplog):
    ds = helpers.balding_nichols(3, 100, 800, monomorphic=0)
    pca(ds, PCA(n_components=5, solver="randomized", ld_prune=False, max_passes=3))
    assert "after max_passes = 3 passes" in caplog.text


def test_pca__routes():
    assert _route(50_000, 2000, "auto") == "samples"
    assert _route(7180, 184_712, "auto") == "variants"
    assert _route(8000, 5000, "auto") == "variants"
    assert _route(20_000, 245_394, "auto") == "streaming"
    assert _route(20_000, 245_394, "exact") == "variants"
    assert _route(100, 100, "randomized") == "streaming"


SMALL = helpers.balding_nichols(2, 40, 1100, seed=3)
FITS = {}


@settings(max_examples=8)  # dask's slicing is the cost of small chunks
@given(
    st.integers(200, 1100), st.integers(10, 80), st.integers(1, 4), st.sampled_from(["exact", "randomized"])
)
def test_pca__bits_do_not_depend_on_chunks_or_threads(variants, samples, slots, solver):
    params = PCA(n_components=3, solver=solver, ld_prune=False)
    if solver not in FITS:
        FITS[solver] = pca(SMALL, params)
    executor = execution.ThreadExecutor(slots)
    with execution.use(executor):
        model = pca(helpers.rechunked(SMALL, variants, samples), params)
    executor.close()
    for name, values in FITS[solver].data_vars.items():
        assert (values.values == model[name].values).all() or name == "variant_pca_frequency"


def test_scratch__a_copy_reads_as_its_source(many_samples, tmp_path):
    source = source_of(many_samples)
    with scratch.copied(source, np.zeros(150)) as copy:
        assert copy.path.stat().st_size == copy.size
        for block in ((0, 150, 0, 6000), (3, 70, 4096, 6000), (100, 101, 2048, 4096), (0, 9, 32, 5600)):
            expected = source.read(*block)
            assert (np.sort(copy.read(*block), axis=2) == np.sort(expected, axis=2)).all()
    assert not copy.path.exists()


def test_scratch__without_room_the_result_is_the_same(monkeypatch, caplog):
    params = PCA(n_components=3, ld_prune=False)
    expected = pca(SMALL, params)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scratch.os, "posix_fallocate", full, raising=False)
    model = pca(SMALL, params)
    assert "no room for a scratch copy" in caplog.text
    assert model["sample_pca_projection"].equals(expected["sample_pca_projection"])


_GENERIC = """
import sys; sys.path.insert(0, "tests")
import helpers, numpy as np
from genoweave.methods.pca import PCA, pca
ds = helpers.balding_nichols(2, 30, 50, seed=3, missing=0.05)
print(" ".join(f"{x:.6g}" for s in ("exact", "randomized")  # by variants, and streaming
      for x in pca(ds, PCA(n_components=3, solver=s, ld_prune=False))["pca_eigenvalue"].values))
"""


def test_pca__works_without_the_vector_instructions_of_this_machine(tmp_path):
    def run(**extra):
        done = subprocess.run(
            [sys.executable, "-c", _GENERIC],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | extra,
        )
        return done.stdout

    generic = run(NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="", NUMBA_CACHE_DIR=str(tmp_path))
    assert generic == run()

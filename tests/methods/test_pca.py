"""Principal components against numpy's dense SVD."""

import helpers
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from genoweave import execution
from genoweave.errors import DataError
from genoweave.genotypes import select
from genoweave.methods.pca import PCA, pca, project

SOLVERS = pytest.mark.parametrize("solver", ["exact", "randomized"])
NAMES = ("sample_pca_projection", "variant_pca_loading", "pca_eigenvalue", "variant_pca_frequency")


def fit(ds, k=5, solver="exact", **more):
    return pca(ds, PCA(n_components=k, solver=solver, **{"ld_prune": False} | more))


def dense(ds):
    """Standardised genotypes of the variants that vary, and their numbers."""
    called = np.ma.masked_less(helpers.dosage_of(ds).astype(float), 0)
    p = called.mean(axis=1, keepdims=True) / 2
    rows = np.flatnonzero((p > 0) & (p < 1))
    return ((called - 2 * p) / np.ma.sqrt(2 * p * (1 - p))).filled(0.0)[rows], rows


def signed(vectors):
    """Fixed signs: the largest entry of a column is positive."""
    return vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])])


@pytest.fixture(params=["more variants", "more samples"])
def either_side(request, small_cohort):
    if request.param == "more variants":
        return small_cohort
    return select(small_cohort, np.arange(0, 700, 8))


def test_pca__exact_equals_dense_svd(either_side):
    x, rows = dense(either_side)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    model = fit(either_side)
    np.testing.assert_allclose(model["pca_eigenvalue"], s[:5] ** 2 / len(rows), rtol=1e-10)
    loading = signed(u[:, :5])
    # neighbouring eigenvalues differ by a percent: vectors are right to 1e-13 / 0.01
    np.testing.assert_allclose(model["variant_pca_loading"].values[rows], loading, atol=1e-9)
    # scores are summed in single precision
    np.testing.assert_allclose(model["sample_pca_projection"], x.T @ loading, atol=2e-5)


def test_pca__randomized_finds_the_same_structure(either_side):
    x, rows = dense(either_side)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    model = fit(either_side, solver="randomized")
    found = model["pca_eigenvalue"].values
    exact = s[:5] ** 2 / len(rows)
    # three groups make two components, far above the rest
    np.testing.assert_allclose(found[:2], exact[:2], rtol=1e-5)
    overlap = np.linalg.svd(u[:, :2].T @ model["variant_pca_loading"].values[rows, :2], compute_uv=False)
    np.testing.assert_allclose(overlap, 1, atol=1e-5)
    # of the crowded rest, Rayleigh-Ritz never overshoots
    assert (found <= exact * (1 + 1e-5)).all()
    np.testing.assert_allclose(found, exact, rtol=1e-3)


@SOLVERS
def test_pca__scores_and_loadings_belong_together(either_side, solver):
    model = fit(either_side, solver=solver)
    loading, score = model["variant_pca_loading"].values, model["sample_pca_projection"].values
    tolerance = 1e-9 if solver == "exact" else 1e-5
    np.testing.assert_allclose(loading.T @ loading, np.eye(5), atol=tolerance)
    used = np.isfinite(model["variant_pca_frequency"].values).sum()
    np.testing.assert_allclose((score**2).sum(axis=0) / used, model["pca_eigenvalue"], rtol=1e-5)
    assert (loading.max(axis=0) >= -loading.min(axis=0)).all(), "the largest loading is positive"


def test_pca__variants_that_do_not_vary_have_no_part(small_cohort):
    model = fit(small_cohort)
    dosage = helpers.dosage_of(small_cohort)
    still = np.array([len(set(row[row >= 0])) == 1 for row in dosage])
    assert still.sum() == 10
    assert (model["variant_pca_loading"].values[still] == 0).all()
    assert (np.isnan(model["variant_pca_frequency"].values) == still).all()


@SOLVERS
def test_pca__a_missing_call_stands_at_the_mean(solver):
    # a person without any call lies at the origin
    ds = helpers.balding_nichols(2, 30, 400, missing=0.05, monomorphic=0, seed=3)
    ds["call_genotype"][:, 7] = -1
    model = fit(ds, 3, solver)
    np.testing.assert_allclose(model["sample_pca_projection"].values[7], 0, atol=1e-12)


@SOLVERS
def test_project__the_fits_own_people_land_on_their_scores(small_cohort, solver):
    model = fit(small_cohort, solver=solver)
    own = np.arange(5, 150, 11)
    found = project(select(small_cohort, samples=own), model)
    assert (found == model["sample_pca_projection"].values[own]).all()
    leading = project(small_cohort, model, n_components=2)
    assert (leading == model["sample_pca_projection"].values[:, :2]).all()


def test_project__uses_the_fits_centre_and_scale(small_cohort):
    model = fit(small_cohort)
    one = select(small_cohort, samples=np.array([4]))
    # alone, the person would be at its own mean everywhere
    assert np.abs(project(one, model)).max() > 0.1


def test_project__another_number_of_variants_is_refused(small_cohort):
    model = fit(small_cohort)
    with pytest.raises(DataError, match="the fit has 700 variants, the cohort 699"):
        project(select(small_cohort, np.arange(699)), model)


@pytest.mark.parametrize("k", [60, 100])
def test_pca__more_components_than_people(k):
    ds = helpers.balding_nichols(2, 30, 400)
    with pytest.raises(DataError, match=r"there are 60 samples.*n_components to at most 59"):
        fit(ds, k)
    assert fit(ds, 59).sizes["components"] == 59


def test_pca__more_components_than_variants():
    ds = helpers.balding_nichols(2, 30, 20, monomorphic=3, missing=0)
    with pytest.raises(DataError, match=r"there are 17 variants.*at most 17$"):
        fit(ds, 18)
    with pytest.raises(DataError, match="ld_prune = false"):
        fit(ds, 18, ld_prune=True)


def test_pca__components_beyond_the_rank_are_finite():
    # three people, each of them twice: rank 2 after centring
    three = helpers.balding_nichols(1, 3, 200, missing=0, monomorphic=0, seed=9)
    doubled = helpers.cohort(np.repeat(helpers.dosage_of(three), 2, axis=1))
    for solver in ("exact", "randomized"):
        model = fit(doubled, 4, solver)
        length = np.linalg.norm(model["variant_pca_loading"].values, axis=0)
        assert (length < 1 + 1e-6).all()
        np.testing.assert_allclose(model["sample_pca_projection"].values[:, 2:], 0, atol=1e-5)


def test_pca__ld_pruning_leaves_copies_out():
    ds = helpers.balding_nichols(3, 40, 300, monomorphic=0, seed=2)
    dosage = np.repeat(helpers.dosage_of(ds), 2, axis=0)
    doubled = helpers.cohort(dosage, position=1 + np.arange(600) * 10**6 // 2)
    model = fit(doubled, ld_prune=True, ld_r2=0.999, ld_window=10**6 // 2)
    assert (
        np.isfinite(model["variant_pca_frequency"].values).reshape(300, 2).tolist() == [[True, False]] * 300
    )
    np.testing.assert_allclose(model["pca_eigenvalue"], fit(ds)["pca_eigenvalue"], rtol=1e-10)


@pytest.fixture(scope="module")
def several_tiles():
    return helpers.balding_nichols(3, 25, 2600, seed=4)


def same_bits(one, other):
    return all(one[name].values.tobytes() == other[name].values.tobytes() for name in NAMES)


@SOLVERS
@pytest.mark.parametrize("chunks", [(2600, 75), (1024, 10), (1000, 75), (333, 33), (2600, 1)])
def test_pca__the_same_bits_for_any_chunks(several_tiles, solver, chunks):
    assert same_bits(
        fit(several_tiles, solver=solver), fit(helpers.rechunked(several_tiles, *chunks), solver=solver)
    )


@SOLVERS
@pytest.mark.parametrize("slots", [1, 5])
def test_pca__the_same_bits_for_any_number_of_workers(several_tiles, solver, slots):
    executor = execution.ThreadExecutor(slots)
    with execution.use(executor):
        one = fit(several_tiles, solver=solver)
    executor.close()
    assert same_bits(one, fit(several_tiles, solver=solver))


@SOLVERS
def test_pca__the_same_bits_for_any_number_of_blas_threads(solver):
    # large enough that BLAS would split a product or a QR between its threads
    ds = helpers.balding_nichols(3, 250, 1100, seed=6)
    with threadpool_limits(1):
        one = fit(ds, 40, solver)
    with threadpool_limits(2):
        two = fit(ds, 40, solver)
    assert same_bits(one, two)


def test_pca__the_seed_moves_the_randomized_solver_only(small_cohort):
    exact = [fit(small_cohort, seed=seed) for seed in (1, 2)]
    assert same_bits(*exact)
    random = [fit(small_cohort, solver="randomized", max_passes=2, seed=seed) for seed in (1, 2)]
    assert not same_bits(*random)

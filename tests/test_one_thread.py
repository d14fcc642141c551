"""A task keeps to one core: as many tasks run at a time as there are, and bits must not depend on it."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher
from numcodecs import blosc
from threadpoolctl import threadpool_info, threadpool_limits

import genoweave.io.calls
import genoweave.kernels
from genoweave import cluster
from genoweave.execution import ThreadExecutor, run_in_order, use
from genoweave.methods.pca import PCA, pca
from tests import helpers


def threads_within(n: int) -> dict[str, Any]:
    """Task: what BLAS and Blosc would do here."""
    square = np.full((300, 300), 1.0)
    importlib.import_module("scipy.linalg")
    importlib.import_module("genoweave.io.calls")
    return {
        "sum": float((square @ square)[n, n]),
        "blas": {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"},
        "blosc": importlib.import_module("numcodecs").blosc.use_threads,
    }


def check_one_thread_each() -> None:
    for found in run_in_order(threads_within, [(n,) for n in range(8)]):
        assert found == {"sum": 300.0, "blas": {1}, "blosc": False}


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_tasks_on_threads__use_one_thread_each(slots: int) -> None:
    executor = ThreadExecutor(slots)
    with threadpool_limits(4), use(executor):
        check_one_thread_each()
    executor.close()


@pytest.mark.distributed
def test_tasks_on_workers__use_one_thread_each() -> None:
    with cluster.executor(workers=1, memory_limit=1 << 30) as executor, use(executor):
        check_one_thread_each()


def test_blosc__has_no_threads_of_its_own() -> None:
    assert blosc.use_threads is False


def compiled() -> Iterator[tuple[str, Dispatcher]]:
    for module in pkgutil.walk_packages(genoweave.kernels.__path__, "genoweave.kernels."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, Dispatcher):
                yield f"{module.name}.{name}", value


def test_kernels__are_not_parallel_and_hold_no_lock() -> None:
    kernels = dict(compiled())
    assert len(kernels) > 30
    for name, kernel in kernels.items():
        assert not kernel.targetoptions.get("parallel"), name
        assert kernel.targetoptions.get("nogil"), name


@pytest.mark.parametrize("solver", ["exact", "randomized"])
def test_pca__does_not_depend_on_the_threads_that_blas_has(solver: str) -> None:
    """Matrices of a size at which BLAS would use a second thread."""
    ds = helpers.balding_nichols(per_group=400, n_variants=1300)
    params = PCA(n_components=60, solver=solver, max_passes=5, ld_prune=False)
    many = pca(ds, params)
    with threadpool_limits(1):
        one = pca(ds, params)
    for name in ("variant_pca_loading", "sample_pca_projection", "pca_eigenvalue"):
        np.testing.assert_array_equal(many[name].values, one[name].values)

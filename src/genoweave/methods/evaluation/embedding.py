"""Real and synthetic samples in one picture: principal components, and one t-SNE per group."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from genoweave.execution import run_in_order
from genoweave.methods.pca import project
from genoweave.parameters import Field, Parameters
from genoweave.rng import Root


class Evaluation(Parameters):
    """What the validation computes."""

    enabled: bool = Field(True, description="compare the synthetic cohort with the real one")
    tsne_samples: int = Field(
        500,
        ge=10,
        le=20_000,
        description="most real and most synthetic samples of a group in its t-SNE",
    )
    tsne_components: int = Field(25, ge=2, description="leading principal components that t-SNE sees")
    tsne_perplexity: float = Field(
        200, gt=1, description="perplexity of t-SNE; at most a third of the samples is used"
    )
    seed: int = Field(0, ge=0, description="public seed of the t-SNE's sample and start")


def embed(real: xr.Dataset, synthetic: xr.Dataset, model: xr.Dataset, params: Evaluation) -> pd.DataFrame:
    """Place real and synthetic samples in one embedding.

    Parameters
    ----------
    real, synthetic
        Cohorts over the variants of `model`, with ``sample_ancestry``.
    model
        The real cohort's `pca`; synthetic samples are projected on it.
    params
        Sample sizes and t-SNE's settings.

    Returns
    -------
    pandas.DataFrame
        group, kind ("real" or "synthetic"), pc1, pc2, tsne1, tsne2 (NaN for samples that the group's
        t-SNE did not take); no sample ids.
    """
    k = min(params.tsne_components, model.sizes["components"])
    scores = {
        "real": model["sample_pca_projection"].values[:, :k],
        "synthetic": project(synthetic, model, k),
    }
    labels = {
        "real": real["sample_ancestry"].values,
        "synthetic": synthetic["sample_ancestry"].values,
    }
    names = [str(name) for name in sorted(set(labels["synthetic"]))]
    chosen = [{kind: x[labels[kind] == name] for kind, x in scores.items()} for name in names]
    items = list(zip(names, chosen, strict=True))
    parts = run_in_order(_embed_group, ((*item, params) for item in items), label="t-SNE", total=len(items))
    return pd.concat(list(parts), ignore_index=True)


def _embed_group(name: str, scores: dict[str, NDArray[np.float64]], params: Evaluation) -> pd.DataFrame:
    """Task: the samples of one group."""
    stream = Root.from_seed(params.seed).stream(f"evaluation.tsne/{name}")
    taken = {
        kind: np.sort(stream.permutation(row, len(x))[: params.tsne_samples])
        for row, (kind, x) in enumerate(sorted(scores.items()))
    }
    joint = np.concatenate([scores[kind][taken[kind]] for kind in taken])
    points = iter(np.split(_tsne(joint, params), np.cumsum([len(t) for t in taken.values()])[:-1]))
    tables = []
    for kind in taken:
        tsne = np.full((len(scores[kind]), 2), np.nan)
        tsne[taken[kind]] = next(points)
        x = scores[kind]
        second = x[:, 1] if x.shape[1] > 1 else np.zeros(len(x))
        tables.append(
            pd.DataFrame(
                {
                    "group": name,
                    "kind": kind,
                    "pc1": x[:, 0],
                    "pc2": second,
                    "tsne1": tsne[:, 0],
                    "tsne2": tsne[:, 1],
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def _tsne(x: NDArray[np.float64], params: Evaluation) -> NDArray[np.float64]:
    """t-SNE from the leading components, with a perplexity that the sample can bear."""
    from sklearn.manifold import TSNE

    perplexity = min(params.tsne_perplexity, max(1.5, (len(x) - 1) / 3))
    spread = x.std(axis=0)
    x = x[:, spread > 0]
    if len(x) < 5 or x.shape[1] < 2:
        return np.full((len(x), 2), np.nan)
    with threadpool_limits(1):
        model = TSNE(perplexity=perplexity, init="pca", random_state=params.seed, n_jobs=1)
        return np.asarray(model.fit_transform(x), np.float64)

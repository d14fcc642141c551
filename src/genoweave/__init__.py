"""genoweave: a balanced synthetic genotype cohort from a real one, out of core.

The verbs of the pipeline, in its order, as functions on sgkit datasets; `run` is all of them.
Heavy libraries are imported when a name is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PLACES = {
    "open": ("cohorts", "open_cohort"),
    "save": ("cohorts", "save"),
    "Reading": ("io.reading", "Reading"),
    "import_cohort": ("cohorts", "import_cohort"),
    "export": ("cohorts", "export"),
    "Tables": ("io.tables.joining", "Tables"),
    "write_phenotypes": ("io.phenotype_files", "write_phenotypes"),
    "write_covariates": ("io.phenotype_files", "write_covariates"),
    "write_truth": ("io.phenotype_files", "write_truth"),
    "read_phenotypes": ("io.tables", "read_phenotypes"),
    "read_covariates": ("io.tables", "read_covariates"),
    "read_pedigree": ("io.tables", "read_pedigree"),
    "read_genetic_map": ("io.tables", "read_genetic_map"),
    "simulate": ("methods.simulate", "simulate"),
    "Simulation": ("methods.simulate", "Simulation"),
    "balding_nichols": ("methods.biobank", "balding_nichols"),
    "BaldingNichols": ("methods.biobank", "BaldingNichols"),
    "qc": ("methods.qc", "qc"),
    "QC": ("methods.qc", "QC"),
    "pca": ("methods.pca", "pca"),
    "project": ("methods.pca", "project"),
    "PCA": ("methods.pca", "PCA"),
    "ancestry": ("methods.ancestry", "ancestry"),
    "Ancestry": ("methods.ancestry", "Ancestry"),
    "synthesize": ("methods.synthesis", "synthesize"),
    "Synthesis": ("methods.synthesis", "Synthesis"),
    "phenotype": ("methods.phenotype", "phenotype"),
    "Phenotype": ("methods.phenotype", "Phenotype"),
    "Covariate": ("methods.phenotype", "Covariate"),
    "expected_association": ("methods.phenotype", "expected_association"),
    "watermark": ("api", "watermark"),
    "Watermark": ("methods.watermark", "Watermark"),
    "HiddenWatermark": ("methods.watermark", "HiddenWatermark"),
    "watermark_cohort": ("methods.watermark", "watermark_cohort"),
    "WatermarkKey": ("methods.watermark", "Key"),
    "verify": ("api", "verify"),
    "detection_probability": ("methods.watermark", "detection_probability"),
    "watermarks_needed": ("methods.watermark", "watermarks_needed"),
    "relatives": ("api", "relatives"),
    "Relatives": ("methods.relatives", "Relatives"),
    "king": ("methods.kinship", "king"),
    "king_listed": ("methods.kinship", "king_listed"),
    "Kinship": ("methods.kinship", "Kinship"),
    "gwas": ("methods.gwas", "gwas"),
    "gwas_by_group": ("methods.gwas", "gwas_by_group"),
    "meta_analysis": ("methods.gwas", "meta_analysis"),
    "clumps": ("methods.gwas", "clumps"),
    "lambda_gc": ("methods.gwas", "lambda_gc"),
    "GWAS": ("methods.gwas", "GWAS"),
    "Trait": ("methods.gwas", "Trait"),
    "evaluate": ("api", "evaluate"),
    "Evaluation": ("methods.evaluation", "Evaluation"),
    "release": ("api", "release"),
    "run": ("pipeline.run", "run"),
    "status": ("pipeline.run", "status"),
    "plan": ("pipeline.plan", "plan"),
    "RunConfig": ("config", "RunConfig"),
    "load_config": ("config", "load"),
    "Root": ("rng", "Root"),
    "GenoweaveError": ("errors", "GenoweaveError"),
    "ConfigError": ("errors", "ConfigError"),
    "DataError": ("errors", "DataError"),
    "StoreError": ("errors", "StoreError"),
    "MemoryBudgetError": ("errors", "MemoryBudgetError"),
    "StageError": ("errors", "StageError"),
}

__all__ = ["__version__", *_PLACES]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'genoweave' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    value = getattr(import_module(f"genoweave.{module}"), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

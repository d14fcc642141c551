"""How the synthetic cohort compares with the real one."""

from genoweave.methods.evaluation.embedding import Evaluation, embed
from genoweave.methods.evaluation.frequencies import compare_frequencies, group_fidelity

__all__ = ["Evaluation", "compare_frequencies", "embed", "group_fidelity"]

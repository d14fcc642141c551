"""Synthetic samples per ancestry group: draw donors, perturb, redraw what fails, until the target is met."""

from genoweave.methods.synthesis.channel import MECHANISMS, Mechanism, mechanism
from genoweave.methods.synthesis.generate import (
    Donors,
    Synthesis,
    apply_donors,
    choose_donors,
    synthesize,
)

__all__ = [
    "MECHANISMS",
    "Donors",
    "Mechanism",
    "Synthesis",
    "apply_donors",
    "choose_donors",
    "mechanism",
    "synthesize",
]

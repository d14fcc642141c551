"""Watermark SNPs, associated with a trait by construction."""

from genoweave.methods.watermark.hiding import watermark_cohort
from genoweave.methods.watermark.key import Key
from genoweave.methods.watermark.paper import watermark, watermark_tests
from genoweave.methods.watermark.parameters import HiddenWatermark, Watermark
from genoweave.methods.watermark.power import detection_probability, unnoticed_share, watermarks_needed

__all__ = [
    "HiddenWatermark",
    "Key",
    "Watermark",
    "detection_probability",
    "unnoticed_share",
    "watermark",
    "watermark_cohort",
    "watermark_tests",
    "watermarks_needed",
]

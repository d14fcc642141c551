"""Watermark SNPs, associated with a trait by construction."""

from genoweave.methods.watermark.paper import Watermark, watermark, watermark_tests

__all__ = ["Watermark", "watermark", "watermark_tests"]

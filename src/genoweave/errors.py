"""Errors that a user can act on: what was wanted, what was found, where, and what to do."""


class GenoweaveError(Exception):
    """Base of every error that genoweave raises on purpose."""


class ConfigError(GenoweaveError):
    """A parameter, a configuration file or a command line does not say something possible."""


class DataError(GenoweaveError):
    """The genotypes or a table beside them cannot be used as they are."""


class StoreError(GenoweaveError):
    """A file or folder cannot be read or written as asked."""


class MemoryBudgetError(GenoweaveError):
    """The work as planned needs more memory than it may have."""


class StageError(GenoweaveError):
    """A stage of the pipeline cannot reach what it was asked for."""

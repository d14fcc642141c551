"""The base of every parameter class: frozen, checked on creation, no unknown fields.

A stage's parameters live once, in a subclass beside its method. Default, unit, range and source of a
field are written there; the configuration file, the command line and the documentation are made
from them.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from genoweave.errors import ConfigError

__all__ = ["Field", "Parameters"]


class Parameters(BaseModel):
    """Frozen parameters of one stage.

    Raises
    ------
    ConfigError
        If a field is unknown, of the wrong type or out of its range; the message names it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(_explain(type(self), error)) from None


def _explain(cls: type[BaseModel], error: ValidationError) -> str:
    """One line per field: where, what was wanted, what was found, what to do."""
    return "\n".join(_explain_one(cls, detail) for detail in error.errors())


def _explain_one(cls: type[BaseModel], detail: Any) -> str:
    path = ".".join(str(part) for part in detail["loc"])
    if not path:  # a check of several fields together speaks for itself
        return str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        known = ", ".join(sorted(cls.model_fields))
        return f"[{cls.__name__}] has no parameter '{path}'; it has: {known}"
    field = cls.model_fields.get(path)
    meaning = f" ({field.description})" if field is not None and field.description else ""
    found = repr(detail["input"])
    found = found if len(found) < 80 else found[:77] + "..."
    return f"[{cls.__name__}] {path}{meaning}: {detail['msg']}, found {found}"

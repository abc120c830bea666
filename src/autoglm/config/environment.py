"""The environment as templates see it: the variables that the settings allow, and no others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def allowed_environment(allowed: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of ``environ`` that ``allowed`` names, for ``{{ env.NAME }}``.

    An allowed variable that is not set is left out: whether that is an error is up to the template that reads it.
    """
    return {name: environ[name] for name in sorted(set(allowed)) if name in environ}

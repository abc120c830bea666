"""The model of payment risk, loaded once a run; skops loads data, and no code."""

from pathlib import Path

import autoglm

ROOT = Path(__file__).resolve().parent.parent


@autoglm.service
def risk_model():
    import skops.io

    file = ROOT / "models" / "risk.skops"
    strange = skops.io.get_untrusted_types(file=file)
    if strange:
        raise autoglm.TaskError(
            f"{file.name} holds {strange}, which are not trusted", code="model-untrusted", retryable=False
        )
    return skops.io.load(file)


def score(features: dict, risk_model) -> dict:
    """Return how likely it is that an order will not be paid."""
    [[_, probability]] = risk_model.predict_proba([list(features.values())])
    return {"risk": round(float(probability), 4)}

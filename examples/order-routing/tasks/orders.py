"""What is to be known of an order before anything is done for it."""

import json
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@cache
def _catalogue() -> dict:
    return json.loads((ROOT / "data" / "catalogue.json").read_text())


def validate(order: dict) -> dict:
    """Say what is wrong with an order, and what it amounts to."""
    catalogue, problems = _catalogue(), []
    for line in order["lines"]:
        if line["sku"] not in catalogue:
            problems.append(f"there is no {line['sku']}")
        elif line["price"] != catalogue[line["sku"]]["price"]:
            problems.append(f"the price of {line['sku']} is not {line['price']}")
        if line["quantity"] < 1:
            problems.append(f"{line['quantity']} of {line['sku']} cannot be ordered")
    if not order["address"]["street"].strip():
        problems.append("it has no street to go to")
    amount = sum(line["quantity"] * line["price"] for line in order["lines"])
    return {"valid": not problems, "problems": problems, "amount": amount}


def assess(order: dict, amount: float) -> dict:
    """Return what the model of risk looks at, in the order in which it was trained (scripts/train_model.py)."""
    customer = order["customer"]
    features = {
        "age_days": customer["age_days"],
        "chargebacks": customer["chargebacks"],
        "amount": amount,
        "foreign": float(customer["foreign"]),
        "night": float(order["hour"] < 6),
    }
    return {"features": list(features.values()), "names": list(features)}


def stock(order: dict) -> dict:
    """Look up whether everything is there."""
    catalogue = _catalogue()
    missing = [line["sku"] for line in order["lines"] if catalogue[line["sku"]]["stock"] < line["quantity"]]
    return {"in_stock": not missing, "missing": missing}


def settle(order: dict, outcome: str) -> dict:
    """Close an order's file."""
    return {"order": order["id"], "outcome": outcome}

"""Make up orders, the same ones for the same seed, and write them as JSONL: one a line."""

import json
import os
import random
from pathlib import Path

given = json.loads(Path(os.environ["AUTOGLM_INPUT"]).read_text())
catalogue = json.loads(Path("data/catalogue.json").read_text())
chance = random.Random(given["seed"])


def order(number: int) -> dict:
    """Return one order; one in twenty-five is wrong in some way, one in forty is large."""
    lines = [
        {"sku": sku, "quantity": chance.randint(1, 3), "price": catalogue[sku]["price"]}
        for sku in chance.sample(sorted(catalogue), chance.randint(1, 3))
    ]
    made = {
        "id": f"order-{number:04}",
        "priority": chance.randint(1, 10),
        "hour": chance.randint(0, 23),
        "customer": {
            "id": f"customer-{chance.randint(1, 200):03}",
            "age_days": int(chance.expovariate(1 / 400)),
            "chargebacks": 0 if chance.random() < 0.93 else chance.randint(1, 4),
            "foreign": chance.random() < 0.15,
        },
        "address": {"street": f"{chance.randint(1, 99)} Main Street", "city": chance.choice(["Ulm", "Bern", "Graz"])},
        "lines": lines,
    }
    luck = chance.random()
    if luck < 0.04:
        match chance.randint(1, 3):
            case 1:
                lines[0]["quantity"] = 0
            case 2:
                lines[0]["sku"] = "unicorn"
            case _:
                made["address"]["street"] = ""
    elif luck < 0.065:
        lines[0]["quantity"] = 6000 // lines[0]["price"] + 1
    return made


target = Path("out/orders.jsonl")
target.parent.mkdir(exist_ok=True)
part = target.with_suffix(".part")
part.write_text("".join(json.dumps(order(number)) + "\n" for number in range(1, given["count"] + 1)))
part.replace(target)  # at once: nobody ever sees half of it
Path(os.environ["AUTOGLM_OUTPUT"]).write_text(json.dumps({"file": str(target), "orders": given["count"]}))

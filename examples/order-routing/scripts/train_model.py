"""Train the model of payment risk on made-up history, and save it with skops: a file that runs no code when loaded."""

import json
import os
from pathlib import Path

import numpy as np
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

given = json.loads(Path(os.environ["AUTOGLM_INPUT"]).read_text())
chance = np.random.default_rng(given["seed"])

# What `assess` in tasks/orders.py gives of an order, in this order.
FEATURES = ["age_days", "chargebacks", "amount", "foreign", "night"]
HISTORY = 4000

history = np.column_stack(
    [
        chance.exponential(400, HISTORY),
        chance.poisson(0.15, HISTORY),
        chance.exponential(400, HISTORY),
        chance.random(HISTORY) < 0.15,
        chance.random(HISTORY) < 0.25,
    ]
).astype(float)
danger = history @ np.array([-0.004, 2.2, 0.0006, 0.9, 0.7]) - 1.8
ends = np.where(chance.random(HISTORY) < 1 / (1 + np.exp(-danger)), "unpaid", "paid")

seen, unseen, known, hidden = train_test_split(history, ends, random_state=given["seed"])
model = make_pipeline(StandardScaler(), LogisticRegression(random_state=given["seed"])).fit(seen, known)

target = Path("models/risk.skops")
target.parent.mkdir(exist_ok=True)
part = target.with_suffix(".part")
skops.io.dump(model, part)
part.replace(target)
answer = {"file": str(target), "features": FEATURES, "accuracy": round(float(model.score(unseen, hidden)), 3)}
Path(os.environ["AUTOGLM_OUTPUT"]).write_text(json.dumps(answer))

"""PROJECT: which run its store holds, and the items whose result is recorded in it."""

import sys
from pathlib import Path

from autoglm.stores.sqlite import SqliteStore
from bench.programs.engine import answer

(path,) = (Path(sys.argv[1]) / ".autoglm").glob("*.db")
store = SqliteStore(path)
(run,) = store.list_runs()
items, after = [], 0
while page := store.list_tasks(run.run_id, statuses=["succeeded"], after=after, limit=10_000):
    items += [int(row.task[row.task.index("[") + 1 : -1]) for row in page if row.task.endswith("]")]
    after = page[-1].number
store.close()
answer(run_id=run.run_id, items=items)

"""PROJECT: which run its store holds, and the items whose result its journal has, read without the engine's state."""

import sys
from pathlib import Path

from autoglm.engine.codec import decode_record
from autoglm.engine.messages import AttemptSucceeded
from autoglm.stores.sqlite import SqliteStore
from bench.programs.engine import answer

(path,) = (Path(sys.argv[1]) / ".autoglm").glob("*.db")
store = SqliteStore(path)
(run,) = store.list_runs()
events = (event for stored in store.read(run.run_id) for event in decode_record(stored.payload).events)
names = [event.task for event in events if isinstance(event, AttemptSucceeded)]
store.close()
answer(run_id=run.run_id, items=[int(name[name.index("[") + 1 : -1]) for name in names if name.endswith("]")])

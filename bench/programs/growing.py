"""FILE STEPS: run the steps in FILE, and look all the while what the store weighs on the disk."""

import sys
import threading
from pathlib import Path

from bench.measure import size_of
from bench.programs.engine import Timed, answer

file = Path(sys.argv[1])
store = file.parent / ".autoglm"
largest = 0
ended = threading.Event()


def watch() -> None:
    global largest
    while not ended.wait(0.002):
        largest = max(largest, size_of(store))


watcher = threading.Thread(target=watch)
watcher.start()
try:
    seconds = Timed(file).run()
finally:
    ended.set()
    watcher.join()
final = size_of(store)
answer(tasks=int(sys.argv[2]), seconds=seconds, final_bytes=final, largest_bytes=max(largest, final))

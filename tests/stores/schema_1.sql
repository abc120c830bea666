-- The tables of a store of version 1, as they were made then. Never edited.
CREATE TABLE runs (
  run_no INTEGER PRIMARY KEY AUTOINCREMENT,
  run_id TEXT NOT NULL UNIQUE,
  workflow TEXT NOT NULL,
  namespace TEXT NOT NULL,
  status TEXT NOT NULL,
  file TEXT NOT NULL,
  created_at REAL NOT NULL,
  updated_at REAL NOT NULL,
  ended_at REAL,
  labels TEXT NOT NULL,
  counts TEXT NOT NULL,
  error TEXT,
  last_seq INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  owner TEXT,
  lease_until REAL
);
CREATE INDEX runs_created ON runs (created_at, run_id);

CREATE TABLE journal (
  id INTEGER PRIMARY KEY,
  run_no INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  crc INTEGER NOT NULL,   -- of run id, number and plain payload
  size INTEGER,           -- of the plain payload when it is kept compressed
  payload BLOB NOT NULL
);
CREATE UNIQUE INDEX journal_seq ON journal (run_no, seq);

CREATE TABLE tasks (
  id INTEGER PRIMARY KEY,
  run_no INTEGER NOT NULL,
  task TEXT NOT NULL,
  node TEXT NOT NULL,
  status TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  started_at REAL,
  ended_at REAL,
  error TEXT,
  error_code TEXT,
  record INTEGER NOT NULL
);
CREATE INDEX tasks_task ON tasks (run_no, task);
CREATE INDEX tasks_node ON tasks (run_no, node);
CREATE INDEX tasks_unusual ON tasks (run_no, status) WHERE status <> 'succeeded';

CREATE TABLE logs (
  id INTEGER PRIMARY KEY,
  at REAL NOT NULL,
  task TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  stream TEXT NOT NULL,
  text TEXT NOT NULL,
  level TEXT NOT NULL
);

CREATE TABLE signals (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  data TEXT NOT NULL,
  at REAL NOT NULL
);

CREATE TABLE blobs (
  id INTEGER PRIMARY KEY,
  digest TEXT NOT NULL UNIQUE,
  size INTEGER,           -- of the plain bytes when they are kept compressed
  data BLOB NOT NULL
);
CREATE TABLE run_blobs (
  run_no INTEGER NOT NULL,
  blob_id INTEGER NOT NULL,
  PRIMARY KEY (run_no, blob_id)
) WITHOUT ROWID;
CREATE INDEX run_blobs_blob ON run_blobs (blob_id);

CREATE TABLE doomed (run_no INTEGER PRIMARY KEY, run_id TEXT NOT NULL);

-- Every statement of the SQLite store. A line `-- name: NAME` begins one; the comment below it says what it is for.

-- name: schema
-- Made once, in an empty file. Rows are kept by rowid: journals, tasks, logs and signals by their run's number (upper 32
-- bits) and their own number in the run (lower 32), so that a run's rows lie together, are found by range and need no
-- second index. Run numbers are never used again, also after a prune.
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
  lease_until REAL,
  usage TEXT              -- what it has used of models, as JSON
);
CREATE INDEX runs_created ON runs (created_at, run_id);

CREATE TABLE journal (
  id INTEGER PRIMARY KEY,
  crc INTEGER NOT NULL,   -- of run id, number and plain payload
  size INTEGER,           -- of the plain payload when it is kept compressed
  payload BLOB NOT NULL
);

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
-- Outside loops a task is called as its node is, and found by that.
CREATE INDEX tasks_node ON tasks (run_no, node) WHERE node <> task;
-- Nearly every task of a large run has succeeded; a page of those needs no index.
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

-- Runs that are gone for every reader, but whose rows are still being deleted.
CREATE TABLE doomed (run_no INTEGER PRIMARY KEY, run_id TEXT NOT NULL);

-- What runs share: limits, budgets, cached answers.
CREATE TABLE entries (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE,
  version INTEGER NOT NULL,
  expires_at REAL,
  size INTEGER,           -- of the plain data when it is kept compressed
  data BLOB NOT NULL
);
CREATE INDEX entries_expiry ON entries (expires_at) WHERE expires_at IS NOT NULL;

-- name: schema-2
-- From version 1 to 2: what runs share.
CREATE TABLE entries (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE,
  version INTEGER NOT NULL,
  expires_at REAL,
  size INTEGER,
  data BLOB NOT NULL
);
CREATE INDEX entries_expiry ON entries (expires_at) WHERE expires_at IS NOT NULL;

-- name: schema-3
-- From version 2 to 3: what a run has used of models.
ALTER TABLE runs ADD COLUMN usage TEXT;

-- name: schema-4
-- From version 3 to 4: records by run and number instead of by arrival, and no index where a task is called as its node.
ALTER TABLE journal RENAME TO journal_by_arrival;
CREATE TABLE journal (
  id INTEGER PRIMARY KEY,
  crc INTEGER NOT NULL,
  size INTEGER,
  payload BLOB NOT NULL
);
INSERT INTO journal SELECT run_no << 32 | seq, crc, size, payload FROM journal_by_arrival ORDER BY run_no, seq;
DROP TABLE journal_by_arrival;
DROP INDEX tasks_node;
CREATE INDEX tasks_node ON tasks (run_no, node) WHERE node <> task;

-- name: append-procedure
-- What one append does, as a trigger of the writing connection: one statement, so that the interpreter lock is given
-- up and taken back once a commit instead of once a table. When the guard does not hold, nothing at all is changed.
CREATE TEMP VIEW appends AS SELECT
  NULL AS run_no, NULL AS run_id, NULL AS epoch, NULL AS seq, NULL AS crc, NULL AS size, NULL AS payload,
  NULL AS status, NULL AS updated_at, NULL AS ended_at, NULL AS counts, NULL AS error, NULL AS usage, NULL AS tasks,
  NULL AS logs;
CREATE TEMP TRIGGER append_one INSTEAD OF INSERT ON appends
WHEN EXISTS (
  SELECT 1 FROM runs
  WHERE run_no = NEW.run_no AND run_id = NEW.run_id AND epoch = NEW.epoch
    AND (NEW.seq IS NULL OR last_seq = NEW.seq - 1)
)
BEGIN
  UPDATE runs SET
    last_seq = coalesce(NEW.seq, last_seq),
    status = coalesce(NEW.status, status),
    updated_at = coalesce(NEW.updated_at, updated_at),
    ended_at = CASE WHEN NEW.status IS NULL THEN ended_at ELSE NEW.ended_at END,
    counts = coalesce(NEW.counts, counts),
    error = CASE WHEN NEW.status IS NULL THEN error ELSE NEW.error END,
    usage = coalesce(NEW.usage, usage)
  WHERE run_no = NEW.run_no;

  INSERT INTO journal (id, crc, size, payload)
  SELECT NEW.run_no << 32 | NEW.seq, NEW.crc, NEW.size, NEW.payload WHERE NEW.seq IS NOT NULL;

  INSERT INTO tasks
  SELECT
    NEW.run_no << 32 | (j.value ->> 0), NEW.run_no, j.value ->> 1, coalesce(j.value ->> 2, j.value ->> 1),
    alike.status, alike.attempts, alike.started_at, alike.ended_at, alike.error, alike.error_code, alike.record
  FROM (
    SELECT
      value ->> 0 AS status, value ->> 1 AS attempts, value ->> 2 AS started_at, value ->> 3 AS ended_at,
      value ->> 4 AS error, value ->> 5 AS error_code, value ->> 6 AS record, jsonb_extract(value, '$[7]') AS tasks
    FROM jsonb_each(NEW.tasks)
    LIMIT -1 -- keeps what the tasks share from being read out of the JSON again for each of them
  ) AS alike, jsonb_each(alike.tasks) AS j
  WHERE true -- or the parser takes what follows for a join's condition
  ON CONFLICT (id) DO UPDATE SET
    status = excluded.status, attempts = excluded.attempts, started_at = excluded.started_at,
    ended_at = excluded.ended_at, error = excluded.error, error_code = excluded.error_code, record = excluded.record;

  INSERT INTO logs
  SELECT
    coalesce(
      (SELECT max(id) FROM logs WHERE id BETWEEN NEW.run_no << 32 AND NEW.run_no << 32 | 0xffffffff),
      NEW.run_no << 32
    ) + j.key + 1,
    j.value ->> 0, j.value ->> 1, j.value ->> 2, j.value ->> 3, j.value ->> 4, j.value ->> 5
  FROM jsonb_each(NEW.logs) AS j;
END;

-- name: append
-- Take one append; total_changes() tells whether the guard held.
INSERT INTO appends VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: drop-tasks
-- Rows of a run whose task ids are in ?2, or begin with one of the texts there that end in `.`, `[` or `]`; but for
-- those whose numbers are in ?3.
DELETE FROM tasks WHERE id IN (
  SELECT t.id FROM json_each(?2) AS j, runs AS r, tasks AS t
  WHERE r.run_id = ?1 AND t.run_no = r.run_no AND t.task >= j.value
    AND t.task < CASE WHEN substr(j.value, -1) IN ('.', '[', ']')
      THEN substr(j.value, 1, length(j.value) - 1) || char(unicode(substr(j.value, -1)) + 1)
      ELSE j.value || char(1) END
    AND t.id & 0xffffffff NOT IN (SELECT value FROM json_each(?3))
);

-- name: add-blob
-- Keep a blob once, whoever brings it.
INSERT INTO blobs (digest, size, data) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- name: link-blob
-- Note that a run uses a blob, so that the blob lives as long as the last run that does.
INSERT INTO run_blobs
SELECT r.run_no, b.id FROM runs AS r, blobs AS b WHERE r.run_id = ? AND b.digest = ?
ON CONFLICT DO NOTHING;

-- name: get-blob
-- One blob, as kept.
SELECT size, data FROM blobs WHERE digest = ?;

-- name: get-guard
-- What appends and leases of a run are checked against.
SELECT run_no, epoch, last_seq, owner, lease_until FROM runs WHERE run_id = ?;

-- name: add-run
-- A run without records.
INSERT INTO runs (
  run_id, workflow, namespace, status, file, created_at, updated_at, ended_at, labels, counts, error, last_seq, epoch,
  owner, lease_until, usage
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?);

-- name: get-run
-- One run, in the order of RunRow.
SELECT
  run_id, workflow, namespace, status, file, created_at, updated_at, ended_at, labels, counts, error, last_seq, epoch,
  owner, lease_until, usage
FROM runs WHERE run_id = ?;

-- name: list-runs
-- A page of runs, newest first: status or NULL, workflow or NULL, last row of the page before, limit.
SELECT
  run_id, workflow, namespace, status, file, created_at, updated_at, ended_at, labels, counts, error, last_seq, epoch,
  owner, lease_until, usage
FROM runs
WHERE (?1 IS NULL OR status = ?1) AND (?2 IS NULL OR workflow = ?2) AND (created_at, run_id) < (?3, ?4)
ORDER BY created_at DESC, run_id DESC LIMIT ?5;

-- name: find-runs
-- Ids from a first to before a last.
SELECT run_id FROM runs WHERE run_id >= ? AND run_id < ? ORDER BY run_id LIMIT ?;

-- name: read-records
-- Records with ids in (?1, ?2], as kept.
SELECT id & 0xffffffff, crc, size, payload FROM journal WHERE id > ?1 AND id <= ?2 ORDER BY id;

-- name: get-record
-- One record, as kept.
SELECT id & 0xffffffff, crc, size, payload FROM journal WHERE id = ?;

-- name: list-tasks
-- Rows with ids in (?1, ?2], of a status or NULL; ?3 is not used.
SELECT id & 0xffffffff, task, node, status, attempts, started_at, ended_at, error, error_code, record FROM tasks
WHERE id > ?1 AND id <= ?2 AND ?3 IS NULL AND (?4 IS NULL OR status = ?4)
ORDER BY id LIMIT ?5;

-- name: list-node-tasks
-- The same of the node ?3: what is called otherwise than it, and what is called as it.
SELECT id & 0xffffffff, task, node, status, attempts, started_at, ended_at, error, error_code, record FROM (
  SELECT * FROM tasks INDEXED BY tasks_node
  WHERE run_no = ?1 >> 32 AND node = ?3 AND node <> task AND id > ?1 AND id <= ?2 AND (?4 IS NULL OR status = ?4)
  UNION ALL
  SELECT * FROM tasks INDEXED BY tasks_task
  WHERE run_no = ?1 >> 32 AND task = ?3 AND node = ?3 AND id > ?1 AND id <= ?2 AND (?4 IS NULL OR status = ?4)
  ORDER BY id LIMIT ?5
);

-- name: list-unusual-tasks
-- The same of a status other than succeeded, found at once among any number of others.
SELECT id & 0xffffffff, task, node, status, attempts, started_at, ended_at, error, error_code, record
FROM tasks INDEXED BY tasks_unusual
WHERE run_no = ?1 >> 32 AND status <> 'succeeded' AND status = ?4 AND id > ?1 AND id <= ?2
  AND (?3 IS NULL OR node = ?3)
ORDER BY id LIMIT ?5;

-- name: get-task
-- One row by the task's id; the newest where a number was reused for it.
SELECT id & 0xffffffff, task, node, status, attempts, started_at, ended_at, error, error_code, record FROM tasks
WHERE run_no = ? AND task = ? ORDER BY id DESC LIMIT 1;

-- name: list-logs
-- Lines with ids in (?1, ?2], of a task and what lies below it, or NULL.
SELECT id & 0xffffffff, at, task, attempt, stream, text, level FROM logs
WHERE id > ?1 AND id <= ?2
  AND (?3 IS NULL OR task = ?3 OR substr(task, 1, length(?3) + 1) IN (?3 || '.', ?3 || '['))
ORDER BY id LIMIT ?4;

-- name: take-lease
-- Hand the run to an owner under a new epoch.
UPDATE runs SET epoch = ?, owner = ?, lease_until = ? WHERE run_id = ?;

-- name: renew-lease
-- Prolong a lease that is still held.
UPDATE runs SET lease_until = ? WHERE run_id = ? AND epoch = ? AND owner = ?;

-- name: release-lease
-- Give a lease back that is still held.
UPDATE runs SET owner = NULL, lease_until = NULL WHERE run_id = ? AND epoch = ? AND owner = ?;

-- name: add-signal
-- The next message of a run.
INSERT INTO signals
SELECT
  coalesce((SELECT max(id) FROM signals WHERE id BETWEEN ?1 << 32 AND ?1 << 32 | 0xffffffff), ?1 << 32) + 1, ?2, ?3, ?4
RETURNING id & 0xffffffff;

-- name: list-signals
-- Messages with ids in (?1, ?2].
SELECT id & 0xffffffff, kind, data, at FROM signals WHERE id > ?1 AND id <= ?2 ORDER BY id;

-- name: list-prunable
-- Ended runs created before ?1, of statuses ?2 (JSON), of a workflow or NULL, that nobody has reopened since.
SELECT run_no, run_id FROM runs
WHERE created_at < ?1 AND status IN (SELECT value FROM json_each(?2)) AND (?3 IS NULL OR workflow = ?3)
  AND (owner IS NULL OR lease_until < ?1)
ORDER BY created_at, run_id;

-- name: doom-run
-- Note a run whose rows are to be deleted.
INSERT INTO doomed (run_no, run_id) VALUES (?, ?);

-- name: delete-run
-- From here on nobody sees it.
DELETE FROM runs WHERE run_no = ?;

-- name: list-doomed
-- Runs whose rows are still to be deleted, also by a prune that was interrupted.
SELECT run_no FROM doomed ORDER BY run_no;

-- name: is-doomed
-- Whether a run was pruned, for the watermark.
SELECT 1 FROM doomed WHERE run_id = ?;

-- name: delete-records
-- A bounded part of a run's records.
DELETE FROM journal WHERE id IN (SELECT id FROM journal WHERE id BETWEEN ?1 << 32 AND ?1 << 32 | 0xffffffff LIMIT ?2);

-- name: delete-tasks
-- A bounded part of a run's tasks.
DELETE FROM tasks WHERE id IN (SELECT id FROM tasks WHERE id BETWEEN ?1 << 32 AND ?1 << 32 | 0xffffffff LIMIT ?2);

-- name: delete-logs
-- A bounded part of a run's log lines.
DELETE FROM logs WHERE id IN (SELECT id FROM logs WHERE id BETWEEN ?1 << 32 AND ?1 << 32 | 0xffffffff LIMIT ?2);

-- name: delete-signals
-- A bounded part of a run's signals.
DELETE FROM signals WHERE id IN (SELECT id FROM signals WHERE id BETWEEN ?1 << 32 AND ?1 << 32 | 0xffffffff LIMIT ?2);

-- name: delete-blobs
-- A bounded part of the blobs that no other run uses.
DELETE FROM blobs WHERE id IN (
  SELECT blob_id FROM run_blobs AS mine WHERE run_no = ?1
    AND NOT EXISTS (SELECT 1 FROM run_blobs WHERE blob_id = mine.blob_id AND run_no <> ?1)
    AND EXISTS (SELECT 1 FROM blobs WHERE id = mine.blob_id)
  LIMIT ?2
);

-- name: unlink-blobs
-- A bounded part of a run's uses of blobs; after delete-blobs has nothing left to do.
DELETE FROM run_blobs WHERE run_no = ?1 AND blob_id IN (SELECT blob_id FROM run_blobs WHERE run_no = ?1 LIMIT ?2);

-- name: forget-doomed
-- Nothing of it is left.
DELETE FROM doomed WHERE run_no = ?;

-- name: get-entry
-- One entry that has not expired: key, now.
SELECT version, expires_at, size, data FROM entries WHERE key = ?1 AND (expires_at IS NULL OR expires_at > ?2);

-- name: put-entry
-- Write an entry if it has the version ?2 (0: if there is none; NULL: in any case): key, version, expiry, size, data.
INSERT INTO entries (key, version, expires_at, size, data)
SELECT ?1, 1, ?3, ?4, ?5
WHERE ?2 IS NULL OR ?2 = coalesce((SELECT version FROM entries WHERE key = ?1), 0)
ON CONFLICT (key) DO UPDATE SET
  version = version + 1, expires_at = excluded.expires_at, size = excluded.size, data = excluded.data;

-- name: forget-entry
-- Delete an entry if it has the version ?2, or in any case.
DELETE FROM entries WHERE key = ?1 AND (?2 IS NULL OR version = ?2);

-- name: forget-expired
-- A bounded part of what expired before ?1.
DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE expires_at <= ?1 LIMIT ?2);

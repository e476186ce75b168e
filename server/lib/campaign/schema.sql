-- One campaign. What a statement of the code writes together stands in one transaction with its entry in `audit`.
CREATE TABLE settings (value TEXT NOT NULL);

CREATE TABLE images (
  id TEXT PRIMARY KEY,
  path TEXT NOT NULL,
  patient TEXT NOT NULL,
  validation INTEGER NOT NULL,
  readers INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;

-- A lease that has run out stays until somebody else gets the image: whoever comes back in time keeps it.
CREATE TABLE leases (
  id TEXT PRIMARY KEY,
  image TEXT NOT NULL REFERENCES images,
  annotator TEXT NOT NULL,
  given REAL NOT NULL,
  expires REAL NOT NULL,
  UNIQUE (image, annotator)
) WITHOUT ROWID;
CREATE INDEX leases_by_annotator ON leases (annotator);

CREATE TABLE skips (
  image TEXT NOT NULL REFERENCES images,
  annotator TEXT NOT NULL,
  PRIMARY KEY (image, annotator)
) WITHOUT ROWID;

-- Every submission ever taken; `labels` holds the one that counts for each reader of an image.
CREATE TABLE submissions (
  id TEXT PRIMARY KEY,
  image TEXT NOT NULL REFERENCES images,
  annotator TEXT NOT NULL,
  file TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  seconds REAL,
  at REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE labels (
  image TEXT NOT NULL REFERENCES images,
  annotator TEXT NOT NULL,
  submission TEXT NOT NULL REFERENCES submissions,
  PRIMARY KEY (image, annotator)
) WITHOUT ROWID;

-- All readers have drawn. `file`: the mask that counts (the consensus, until a reviewer says otherwise); `chosen`: by
-- whom it is, NULL while the readers' disagreement waits for a reviewer.
CREATE TABLE outcomes (
  image TEXT PRIMARY KEY REFERENCES images,
  file TEXT NOT NULL,
  chosen TEXT,
  reviewer TEXT,
  mean_dice REAL,
  pairs TEXT NOT NULL DEFAULT '[]'
) WITHOUT ROWID;

CREATE TABLE models (
  version TEXT PRIMARY KEY,
  labels INTEGER NOT NULL,
  accepted INTEGER NOT NULL,
  dice TEXT NOT NULL,
  at REAL NOT NULL
);

CREATE TABLE audit (
  n INTEGER PRIMARY KEY,
  at TEXT NOT NULL,
  who TEXT NOT NULL,
  what TEXT NOT NULL,
  detail TEXT NOT NULL,
  before TEXT NOT NULL,
  hash TEXT NOT NULL
);
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append only'); END;
CREATE TRIGGER audit_is_not_shortened BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append only'); END;

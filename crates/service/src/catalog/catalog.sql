CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    job TEXT NOT NULL,
    what TEXT NOT NULL,
    trigger TEXT NOT NULL,
    start INTEGER NOT NULL,
    end INTEGER,
    result TEXT,
    exit INTEGER,
    error TEXT
);
CREATE INDEX runs_by_job ON runs (job, start);
CREATE INDEX runs_by_start ON runs (start);
CREATE TABLE results (
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    source TEXT NOT NULL,
    repository TEXT NOT NULL,
    at INTEGER NOT NULL,
    result TEXT NOT NULL,
    snapshot TEXT,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    added_bytes INTEGER NOT NULL,
    uploaded_bytes INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    seconds REAL NOT NULL,
    code INTEGER NOT NULL,
    error TEXT,
    PRIMARY KEY (run, source, repository)
);
CREATE INDEX results_by_pair ON results (source, repository, at);
CREATE TABLE totals (
    source TEXT NOT NULL,
    repository TEXT NOT NULL,
    added_bytes INTEGER NOT NULL,
    uploaded_bytes INTEGER NOT NULL,
    runs INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    PRIMARY KEY (source, repository)
);
CREATE TABLE errors (code INTEGER PRIMARY KEY, count INTEGER NOT NULL);
CREATE TABLE copies (
    source TEXT NOT NULL,
    repository TEXT NOT NULL,
    snapshot TEXT NOT NULL,
    time INTEGER NOT NULL,
    made INTEGER NOT NULL,
    good INTEGER NOT NULL,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    verified INTEGER,
    drilled INTEGER,
    gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (source, repository, snapshot)
);
CREATE INDEX copies_by_time ON copies (source, repository, time);
CREATE TABLE verifications (
    id INTEGER PRIMARY KEY,
    repository TEXT NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    ratio REAL NOT NULL,
    bytes INTEGER NOT NULL,
    damaged INTEGER NOT NULL,
    error TEXT
);
CREATE INDEX verifications_by_repository ON verifications (repository, at);
CREATE TABLE drills (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    source TEXT NOT NULL,
    repository TEXT NOT NULL,
    snapshot TEXT,
    at INTEGER NOT NULL,
    seconds REAL NOT NULL,
    result TEXT NOT NULL,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    rto_seconds REAL,
    detail TEXT NOT NULL
);
CREATE INDEX drills_by_source ON drills (source, repository, at);
CREATE TABLE places (repository TEXT PRIMARY KEY, at INTEGER NOT NULL, facts TEXT NOT NULL);
CREATE TABLE duties (
    duty TEXT NOT NULL,
    subject TEXT NOT NULL,
    first_due INTEGER NOT NULL,
    attempted INTEGER,
    succeeded INTEGER,
    failures INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    PRIMARY KEY (duty, subject)
);
CREATE TABLE alarms (
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    since INTEGER NOT NULL,
    text TEXT NOT NULL,
    fix TEXT NOT NULL,
    told INTEGER,
    recovered INTEGER,
    silenced_until INTEGER,
    sent TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (kind, subject)
);
CREATE TABLE notifiers (
    name TEXT PRIMARY KEY,
    succeeded INTEGER,
    failed INTEGER,
    failures INTEGER NOT NULL DEFAULT 0,
    error TEXT
);
CREATE TABLE signals (
    source TEXT NOT NULL,
    snapshot TEXT NOT NULL,
    at INTEGER NOT NULL,
    text TEXT NOT NULL,
    acknowledged INTEGER,
    PRIMARY KEY (source, snapshot)
);

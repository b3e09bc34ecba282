CREATE TABLE lanes (
    id INTEGER PRIMARY KEY,
    family BLOB NOT NULL,
    what BLOB NOT NULL,
    root BLOB,
    level INTEGER,
    next INTEGER NOT NULL DEFAULT 0,
    UNIQUE (family, what)
);
CREATE TABLE points (
    lane INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    snapshot BLOB NOT NULL,
    PRIMARY KEY (lane, ordinal)
) WITHOUT ROWID;
CREATE TABLE folders (id INTEGER PRIMARY KEY, prefix BLOB NOT NULL UNIQUE);
CREATE TABLE names (id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE);
CREATE VIRTUAL TABLE trigrams USING fts5 (
    name, content = '', tokenize = 'trigram', detail = 'none', columnsize = 0
);
CREATE TABLE classes (
    id INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    gid INTEGER NOT NULL,
    user BLOB NOT NULL,
    grp BLOB NOT NULL,
    UNIQUE (kind, mode, uid, gid, user, grp)
);
CREATE TABLE entries (
    name INTEGER NOT NULL,
    folder INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    class INTEGER NOT NULL,
    size INTEGER NOT NULL,
    mtime INTEGER NOT NULL,
    mtime_nanos INTEGER NOT NULL,
    ctime INTEGER NOT NULL,
    ctime_nanos INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    target BLOB,
    PRIMARY KEY (name, folder, lane, first)
) WITHOUT ROWID;

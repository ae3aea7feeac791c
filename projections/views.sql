-- What the reader views keeps. state is the fold of the thing's stream; columns beside it are there to be
-- asked for. What ETags are made of is json, not jsonb, which would write 1e2 as 100 and "\u0041" as "A".
--
-- A primary key is made after a table's other indexes. As long as Postgres knows nothing of a table that is new, it
-- takes the one made last of those which seem alike to it; with another, all rows of the org are read for one of them.
-- So are they, until then, for who asks without an order by another index: unpark alone does.

CREATE TABLE presets (
  org        text NOT NULL,
  id         text NOT NULL,
  scope      text NOT NULL,
  owner      text NOT NULL,
  slug       text NOT NULL,
  tags       text[] NOT NULL,
  language   text NOT NULL,
  status     text NOT NULL,
  labels     text[] NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  state      json NOT NULL,
  revision   bigint NOT NULL,
  pos        bigint NOT NULL
);
CREATE INDEX ON presets (org, created_at, id);
ALTER TABLE presets ADD PRIMARY KEY (org, id);

CREATE TABLE preset_versions (
  org     text NOT NULL,
  preset  text NOT NULL,
  version int NOT NULL,
  hash    text NOT NULL,
  note    text NOT NULL,
  content json NOT NULL,
  by      text NOT NULL,
  at      timestamptz NOT NULL,
  PRIMARY KEY (org, preset, version)
);

CREATE TABLE preset_labels (
  org      text NOT NULL,
  preset   text NOT NULL,
  label    text NOT NULL,
  version  int NOT NULL,
  note     text NOT NULL,
  moved_by text NOT NULL,
  moved_at timestamptz NOT NULL,
  PRIMARY KEY (org, preset, label)
);

CREATE TABLE sessions (
  org        text NOT NULL,
  id         text NOT NULL,
  owner      text NOT NULL,
  status     text NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  state      jsonb NOT NULL,
  revision   bigint NOT NULL,
  pos        bigint NOT NULL
);
CREATE INDEX ON sessions (org, owner, created_at, id);
ALTER TABLE sessions ADD PRIMARY KEY (org, id);

-- Messages and replies, those of stateless completions too (session is empty then). Texts stay sealed.
CREATE TABLE messages (
  org      text NOT NULL,
  id       text NOT NULL,
  session  text NOT NULL,
  seq      bigint NOT NULL,      -- the revision of its first event
  role     text NOT NULL,        -- user or assistant
  owner    text NOT NULL,        -- who may read it
  status   text NOT NULL,        -- of a reply: running, completed, failed, cancelled; of a message: posted
  key_id   text NOT NULL,
  sealed   bytea,
  about    jsonb NOT NULL,       -- all but the text
  instance text NOT NULL,        -- who makes the reply
  boot     bigint NOT NULL,
  until    timestamptz
);
CREATE INDEX ON messages (org, session, seq);
CREATE INDEX ON messages (instance, boot) WHERE status = 'running';
ALTER TABLE messages ADD PRIMARY KEY (org, id);

CREATE TABLE audit (
  org      text NOT NULL,
  pos      bigint NOT NULL,
  id       text NOT NULL,
  kind     text NOT NULL,
  object   text NOT NULL,
  revision bigint NOT NULL,
  at       timestamptz NOT NULL,
  user_id  text NOT NULL,
  key_id   text NOT NULL,
  job      text NOT NULL,
  rule     text NOT NULL,
  command  text NOT NULL,
  fields   text[] NOT NULL,
  data     jsonb NOT NULL
);
CREATE INDEX ON audit (org, object, pos);
ALTER TABLE audit ADD PRIMARY KEY (org, pos);

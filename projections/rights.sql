-- What the reader rights keeps: who belongs to an org, and with which keys.

CREATE TABLE orgs (
  org        text PRIMARY KEY,
  slug       text NOT NULL,
  name       text NOT NULL,
  founded_at timestamptz NOT NULL
);

-- Handle and name stay under the person's key.
CREATE TABLE users (
  org       text NOT NULL,
  id        text NOT NULL,
  role      text NOT NULL,
  state     jsonb NOT NULL,
  joined_at timestamptz NOT NULL,
  pos       bigint NOT NULL,
  PRIMARY KEY (org, id)
);

-- Outside the wall between orgs: a key is looked up before its org is known.
CREATE TABLE api_keys (
  id         text PRIMARY KEY,
  org        text NOT NULL,
  user_id    text NOT NULL,
  name       text NOT NULL,
  hash       bytea NOT NULL,
  created_at timestamptz NOT NULL,
  expires_at timestamptz,
  revoked_at timestamptz,
  pos        bigint NOT NULL
);
CREATE INDEX ON api_keys (org, user_id, pos);

-- +goose Up

-- Roles belong to the whole server: another database of it may be making them at this moment.
-- prelude_login reads nothing by itself; it takes one of the inner roles within each statement's transaction.
-- +goose StatementBegin
DO $$
DECLARE r text;
BEGIN
  FOREACH r IN ARRAY ARRAY['prelude_owner', 'prelude_app', 'prelude_proj', 'prelude_vault', 'prelude_login'] LOOP
    BEGIN
      IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN NOINHERIT', r);
      END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END;
  END LOOP;
  LOOP
    BEGIN
      EXECUTE format('GRANT prelude_owner, prelude_login TO %I', current_user);
      GRANT prelude_app, prelude_proj, prelude_vault TO prelude_login;
      EXIT;
    EXCEPTION WHEN OTHERS THEN
      IF SQLERRM NOT LIKE '%concurrently updated%' AND SQLSTATE <> '23505' THEN RAISE; END IF;
    END;
  END LOOP;
END $$;
-- +goose StatementEnd

CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public;
CREATE EXTENSION IF NOT EXISTS unaccent SCHEMA public;
CREATE EXTENSION IF NOT EXISTS btree_gin SCHEMA public;

-- +goose StatementBegin
DO $$
BEGIN
  EXECUTE format('GRANT CREATE, TEMPORARY ON DATABASE %I TO prelude_owner', current_database());
END $$;
-- +goose StatementEnd

CREATE SCHEMA prelude AUTHORIZATION prelude_owner;
CREATE SCHEMA vault AUTHORIZATION prelude_owner;
-- The login role may name what is in a schema, for statements are prepared before they take a role; it may read nothing.
GRANT USAGE ON SCHEMA prelude TO prelude_app, prelude_proj, prelude_login;
GRANT USAGE ON SCHEMA vault TO prelude_vault, prelude_login;

SET ROLE prelude_owner;

-- Which log this database belongs to.
CREATE TABLE prelude.log (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  id  text NOT NULL
);

-- How far each reader, in each version of its tables, has applied the log.
CREATE TABLE prelude.checkpoints (
  reader     text   NOT NULL,
  version    int    NOT NULL,
  pos        bigint NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (reader, version)
);

-- Streams that a reader could not apply, and why; their later events wait here too.
CREATE TABLE prelude.parked (
  reader    text   NOT NULL,
  version   int    NOT NULL,
  stream    text   NOT NULL,
  pos       bigint NOT NULL,
  error     text   NOT NULL,
  parked_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (reader, version, stream)
);

-- What the analytics consumer keeps: counts by day; no texts.
CREATE TABLE prelude.usage_daily (
  org           text   NOT NULL,
  day           date   NOT NULL,
  preset        text   NOT NULL,
  version       int    NOT NULL,
  model         text   NOT NULL,
  messages      bigint NOT NULL DEFAULT 0,
  input_tokens  bigint NOT NULL DEFAULT 0,
  output_tokens bigint NOT NULL DEFAULT 0,
  failures      bigint NOT NULL DEFAULT 0,
  cost_micros   bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (org, day, preset, version, model)
);
ALTER TABLE prelude.usage_daily ENABLE ROW LEVEL SECURITY;
ALTER TABLE prelude.usage_daily FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON prelude.usage_daily TO prelude_app USING (org = current_setting('app.org_id', true));
CREATE POLICY proj ON prelude.usage_daily TO prelude_proj USING (true) WITH CHECK (true);

-- How far each consumer of the bus has come.
CREATE TABLE prelude.consumers (
  name text   PRIMARY KEY,
  pos  bigint NOT NULL
);

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA prelude TO prelude_proj;
GRANT SELECT ON prelude.usage_daily TO prelude_app;

-- Keys, each wrapped by another or by the master key. A destroyed one keeps its row, so that it is not made again.
CREATE TABLE vault.keys (
  id           text PRIMARY KEY,
  wrapped      bytea,
  created_at   timestamptz NOT NULL DEFAULT now(),
  destroyed_at timestamptz
);

-- By what a master key is known to be the right one.
CREATE TABLE vault.master (
  one   boolean PRIMARY KEY DEFAULT true CHECK (one),
  proof bytea NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA vault TO prelude_vault;

RESET ROLE;

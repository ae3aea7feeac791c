-- +goose Up
SET ROLE prelude_owner;

-- Folds of long streams, so that commands need not fold them from their first event. They are a help only, and may be
-- dropped at any time. Texts in them are sealed.
CREATE TABLE prelude.snapshots (
  stream   text   PRIMARY KEY,
  schema   int    NOT NULL,
  revision bigint NOT NULL,
  pos      bigint NOT NULL,
  fold     bytea  NOT NULL,
  at       timestamptz NOT NULL DEFAULT now()
);

GRANT SELECT, INSERT, UPDATE, DELETE ON prelude.snapshots TO prelude_proj;

RESET ROLE;

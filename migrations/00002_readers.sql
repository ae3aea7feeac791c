-- +goose Up
SET ROLE prelude_owner;

-- Which instances of the program there are: when each was last heard, since when it runs, from which data folder,
-- and where others reach it. One that has stopped was last heard at no time at all.
CREATE TABLE prelude.instances (
  instance  text PRIMARY KEY,
  boot      bigint NOT NULL,
  home      text NOT NULL,
  advertise text NOT NULL,
  at        timestamptz NOT NULL
);

-- Which instance feeds a reader. It only saves double work: what fences is the checkpoint.
CREATE TABLE prelude.leases (
  reader  text NOT NULL,
  version int  NOT NULL,
  owner   text NOT NULL,
  expires timestamptz NOT NULL,
  PRIMARY KEY (reader, version)
);

-- Why a reader stopped, if it has; how many events of names that it does not know it went past; and how often a
-- stream's revisions did not follow each other.
ALTER TABLE prelude.checkpoints
  ADD COLUMN error     text,
  ADD COLUMN failed_at timestamptz,
  ADD COLUMN skipped   bigint NOT NULL DEFAULT 0,
  ADD COLUMN gaps      bigint NOT NULL DEFAULT 0;

-- What consumers of the bus have taken of streams that were parked: it came after what is newer.
CREATE TABLE prelude.consumed_late (
  name text   NOT NULL,
  pos  bigint NOT NULL,
  PRIMARY KEY (name, pos)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON prelude.instances, prelude.leases, prelude.consumed_late TO prelude_proj;

RESET ROLE;

-- +goose Up
SET ROLE prelude_owner;

-- The key of HMACs that name things, wrapped by the master key: a rotation of that does not change it. NULL: the
-- master key of before the first start of a program that knows of this.
ALTER TABLE vault.master ADD COLUMN mac bytea;

-- Ids are compared byte by byte, so that all keys of a kind and an org, or of a session, lie together.
ALTER TABLE vault.keys ALTER COLUMN id TYPE text COLLATE "C";

-- What one person wrote, in whichever session.
CREATE INDEX keys_author ON vault.keys (split_part(id, '.', 4)) WHERE id >= 'a.' AND id < 'a/';

-- How far erasures that the log tells of were applied here.
CREATE TABLE vault.applied (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  log text   NOT NULL,
  pos bigint NOT NULL
);

GRANT SELECT, INSERT, UPDATE ON vault.applied TO prelude_vault;

RESET ROLE;

-- +goose Up
SET ROLE prelude_owner;

-- A program of before may be running: what it would write between the mending and the checks would fail them.
LOCK TABLE prelude.checkpoints, prelude.parked, prelude.consumers, prelude.consumed_late, prelude.snapshots,
  vault.applied IN ACCESS EXCLUSIVE MODE;

-- How many events of other applications in the same store a reader went past.
ALTER TABLE prelude.checkpoints ADD COLUMN foreign_events bigint NOT NULL DEFAULT 0;

-- A store names 2^64-1 as the position before the first event, which a program of before kept as -1. Nothing was applied
-- up to there, and no reader can begin at it: it means the log's beginning.
UPDATE prelude.checkpoints SET pos = 0, witness = NULL, error = NULL, failed_at = NULL WHERE pos < 0;
UPDATE prelude.parked SET pos = 0 WHERE pos < 0;
UPDATE prelude.consumers SET pos = 0 WHERE pos < 0;
DELETE FROM prelude.consumed_late WHERE pos < 0;
DELETE FROM prelude.snapshots WHERE pos < 0;
UPDATE vault.applied SET pos = 0 WHERE pos < 0;

-- A program of before took streams of other applications for its own: it parked them, and knew the log again by their
-- events. Whose a stream is, its whole name says (eventlog.ParseStream); of claims nothing is parked.
-- +goose StatementBegin
DO $$
DECLARE
  id   text := '[0-7][0-9a-hjkmnp-tv-z]{25}';
  ours text := format('^(org-%1$s|(user|apikey|preset|session|completion)-%1$s_%1$s)$', id);
BEGIN
  DELETE FROM prelude.parked WHERE stream !~ ours;
  UPDATE prelude.checkpoints SET witness = NULL
    WHERE witness IS NOT NULL AND witness->>'stream' !~ ours AND witness->>'stream' !~ '^(claim|log)-';
END $$;
-- +goose StatementEnd

ALTER TABLE prelude.checkpoints   ADD CONSTRAINT checkpoints_pos   CHECK (pos >= 0);
ALTER TABLE prelude.parked        ADD CONSTRAINT parked_pos        CHECK (pos >= 0);
ALTER TABLE prelude.consumers     ADD CONSTRAINT consumers_pos     CHECK (pos >= 0);
ALTER TABLE prelude.consumed_late ADD CONSTRAINT consumed_late_pos CHECK (pos >= 0);
ALTER TABLE prelude.snapshots     ADD CONSTRAINT snapshots_pos     CHECK (pos >= 0);
ALTER TABLE vault.applied         ADD CONSTRAINT applied_pos       CHECK (pos >= 0);

RESET ROLE;

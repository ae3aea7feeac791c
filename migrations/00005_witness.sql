-- +goose Up
SET ROLE prelude_owner;

-- An event that the log had at or before the checkpoint: its id, its stream and its revision. A log that has another one
-- there, or none, is not the one that was applied, however long it is. Null: of a program before this column.
ALTER TABLE prelude.checkpoints ADD COLUMN witness jsonb;

RESET ROLE;

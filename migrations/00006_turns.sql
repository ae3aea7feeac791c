-- +goose Up
SET ROLE prelude_owner;

-- How often a program had all of the database. Who was cut off meanwhile, and comes back, finds that it has changed.
CREATE TABLE prelude.turns (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  n   bigint NOT NULL
);

INSERT INTO prelude.turns (n) VALUES (0);

RESET ROLE;

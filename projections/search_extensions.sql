-- What the search in Postgres needs. Made once, in schema public, before the views.
create extension if not exists pg_trgm schema public;
create extension if not exists unaccent schema public;
create extension if not exists btree_gin schema public;

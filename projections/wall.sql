-- The wall between orgs, around every table of the schema but those outside: prelude_app sees the rows of the org
-- that its statement set, and none without; prelude_proj writes all.
DO $$
DECLARE t text;
BEGIN
  FOR t IN SELECT c.relname FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
  LOOP
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO prelude_proj', t);
    CONTINUE WHEN t = 'preset_search';
    EXECUTE format('GRANT SELECT ON %I TO prelude_app', t);
    CONTINUE WHEN t = 'api_keys';
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY app ON %I TO prelude_app USING (org = current_setting(''app.org_id'', true))', t);
    EXECUTE format('CREATE POLICY proj ON %I TO prelude_proj USING (true) WITH CHECK (true)', t);
  END LOOP;
END $$;

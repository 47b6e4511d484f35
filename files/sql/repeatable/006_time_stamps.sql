-- What stamps the rows of the tables that people and connectors change.

SET LOCAL search_path = pg_catalog, pg_temp;

CREATE OR REPLACE FUNCTION our_schema.set_updated_at() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION our_schema.set_updated_at() IS
    'Trigger function: stamps updated_at. The triggers call it only for an UPDATE that changes something.';

-- Days and months in reports are cut in a time zone that can be set; everything is stored in UTC.
-- PARALLEL SAFE, because a query that calls anything else is never run by several processes.

SET LOCAL search_path = pg_catalog, pg_temp;

CREATE OR REPLACE FUNCTION our_schema.reporting_time_zone() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(nullif(current_setting('mission_control.reporting_time_zone', true), ''), 'UTC');
COMMENT ON FUNCTION our_schema.reporting_time_zone() IS
    'Time zone in which reports cut days and months: the setting mission_control.reporting_time_zone, else UTC.';

CREATE OR REPLACE FUNCTION our_schema.reporting_day_start(p_days_ago bigint) RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (date_trunc('day', now() AT TIME ZONE our_schema.reporting_time_zone()) - p_days_ago * interval '1 day')
        AT TIME ZONE our_schema.reporting_time_zone();
COMMENT ON FUNCTION our_schema.reporting_day_start(bigint) IS
    'When the day began that lies so many days before today (0), in the reporting time zone; right across a change of daylight saving.';

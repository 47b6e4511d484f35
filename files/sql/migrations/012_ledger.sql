-- What the ledger needs to fill itself: prices of audio, images, faster and cheaper modes, sums by day that stay fast, budgets, and how far
-- an import has read.
--
-- token_usage is read once, for the new CHECKs, while nobody writes to it: some seconds for ten million rows. Nothing is computed here from
-- what it holds: the sums by day are made when the functions have been replaced, while others write on.
-- squawk-ignore-file adding-not-nullable-field, ban-drop-constraint, constraint-missing-not-valid

SET LOCAL search_path = pg_catalog, pg_temp;

ALTER TABLE our_schema.provider_pricing
    ADD COLUMN audio_input_usd_per_mtok numeric(12, 6),
    ADD COLUMN audio_cache_read_usd_per_mtok numeric(12, 6),
    ADD COLUMN audio_output_usd_per_mtok numeric(12, 6),
    ADD COLUMN image_input_usd_per_mtok numeric(12, 6),
    ADD COLUMN image_cache_read_usd_per_mtok numeric(12, 6),
    ADD COLUMN image_output_usd_per_mtok numeric(12, 6),
    ADD COLUMN dated boolean,
    ALTER COLUMN dated SET DEFAULT false,
    DROP CONSTRAINT ck_provider_pricing_billing_mode,
    ADD CONSTRAINT ck_provider_pricing_billing_mode CHECK (
        billing_mode IN ('standard', 'batch', 'flex', 'priority', 'fast', 'free')
    ),
    DROP CONSTRAINT ck_provider_pricing_prices,
    ADD CONSTRAINT ck_provider_pricing_prices CHECK (
        least(
            input_usd_per_mtok, output_usd_per_mtok, cache_read_usd_per_mtok, cache_write_5m_usd_per_mtok,
            cache_write_1h_usd_per_mtok, reasoning_usd_per_mtok, audio_input_usd_per_mtok, audio_cache_read_usd_per_mtok,
            audio_output_usd_per_mtok, image_input_usd_per_mtok, image_cache_read_usd_per_mtok, image_output_usd_per_mtok
        ) >= 0
        -- Keeps out NaN, which numeric sorts above every number.
        AND greatest(
            input_usd_per_mtok, output_usd_per_mtok, cache_read_usd_per_mtok, cache_write_5m_usd_per_mtok,
            cache_write_1h_usd_per_mtok, reasoning_usd_per_mtok, audio_input_usd_per_mtok, audio_cache_read_usd_per_mtok,
            audio_output_usd_per_mtok, image_input_usd_per_mtok, image_cache_read_usd_per_mtok, image_output_usd_per_mtok
        ) < 1000000
    ),
    DROP CONSTRAINT ck_provider_pricing_free,
    ADD CONSTRAINT ck_provider_pricing_free CHECK (
        NOT (is_local OR billing_mode = 'free') OR greatest(
            input_usd_per_mtok, output_usd_per_mtok, cache_read_usd_per_mtok, cache_write_5m_usd_per_mtok,
            cache_write_1h_usd_per_mtok, reasoning_usd_per_mtok, audio_input_usd_per_mtok, audio_cache_read_usd_per_mtok,
            audio_output_usd_per_mtok, image_input_usd_per_mtok, image_cache_read_usd_per_mtok, image_output_usd_per_mtok
        ) = 0
    );
-- In steps: since the minor releases of November 2026 the server refuses a new column with a default where a function in SQL takes a row
-- of the table, as token_cost_usd() does. Nothing of a price changes.
ALTER TABLE our_schema.provider_pricing DISABLE TRIGGER tr_provider_pricing_not_edited;
UPDATE our_schema.provider_pricing SET dated = false;
ALTER TABLE our_schema.provider_pricing ENABLE TRIGGER tr_provider_pricing_not_edited;
ALTER TABLE our_schema.provider_pricing ALTER COLUMN dated SET NOT NULL;
COMMENT ON COLUMN our_schema.provider_pricing.billing_mode IS
    'standard, batch and flex (cheaper and later), priority and fast (dearer and sooner) or free (a free tier).';
COMMENT ON COLUMN our_schema.provider_pricing.audio_input_usd_per_mtok IS 'USD per 1,000,000 input tokens of audio; NULL: as input.';
COMMENT ON COLUMN our_schema.provider_pricing.audio_cache_read_usd_per_mtok IS
    'USD per 1,000,000 input tokens of audio read from a cache; NULL: as cache read.';
COMMENT ON COLUMN our_schema.provider_pricing.audio_output_usd_per_mtok IS 'USD per 1,000,000 output tokens of audio; NULL: as output.';
COMMENT ON COLUMN our_schema.provider_pricing.image_input_usd_per_mtok IS 'USD per 1,000,000 input tokens of images; NULL: as input.';
COMMENT ON COLUMN our_schema.provider_pricing.image_cache_read_usd_per_mtok IS
    'USD per 1,000,000 input tokens of images read from a cache; NULL: as cache read.';
COMMENT ON COLUMN our_schema.provider_pricing.image_output_usd_per_mtok IS 'USD per 1,000,000 output tokens of images; NULL: as output.';
COMMENT ON COLUMN our_schema.provider_pricing.dated IS
    'True where the price is also that of the model''s names with a date at their end: -YYYYMMDD, -YYYY-MM-DD or @YYYYMMDD.';

ALTER TABLE our_schema.token_usage
    ADD COLUMN audio_input_tokens bigint NOT NULL DEFAULT 0,
    ADD COLUMN audio_cache_read_tokens bigint NOT NULL DEFAULT 0,
    ADD COLUMN audio_output_tokens bigint NOT NULL DEFAULT 0,
    ADD COLUMN image_input_tokens bigint NOT NULL DEFAULT 0,
    ADD COLUMN image_cache_read_tokens bigint NOT NULL DEFAULT 0,
    ADD COLUMN image_output_tokens bigint NOT NULL DEFAULT 0,
    DROP CONSTRAINT ck_token_usage_billing_mode,
    ADD CONSTRAINT ck_token_usage_billing_mode CHECK (
        billing_mode IN ('standard', 'batch', 'flex', 'priority', 'fast', 'free')
    ),
    DROP CONSTRAINT ck_token_usage_tokens,
    ADD CONSTRAINT ck_token_usage_tokens CHECK (
        least(
            input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens,
            audio_input_tokens, audio_cache_read_tokens, audio_output_tokens, image_input_tokens, image_cache_read_tokens,
            image_output_tokens
        ) >= 0
    ),
    -- Never validated: a row from before may stand outside, and is then in no sum by day.
    ADD CONSTRAINT ck_token_usage_occurred_at CHECK (
        occurred_at >= '1970-01-01T00:00:00Z' AND occurred_at < '9999-01-01T00:00:00Z'
    ) NOT VALID;
COMMENT ON COLUMN our_schema.token_usage.billing_mode IS
    'standard, batch and flex (cheaper and later), priority and fast (dearer and sooner) or free (a free tier).';
COMMENT ON COLUMN our_schema.token_usage.audio_input_tokens IS 'Input tokens of audio that were not read from a cache.';
COMMENT ON COLUMN our_schema.token_usage.audio_cache_read_tokens IS 'Input tokens of audio read from a cache.';
COMMENT ON COLUMN our_schema.token_usage.audio_output_tokens IS 'Output tokens of audio.';
COMMENT ON COLUMN our_schema.token_usage.image_input_tokens IS 'Input tokens of images that were not read from a cache.';
COMMENT ON COLUMN our_schema.token_usage.image_cache_read_tokens IS 'Input tokens of images read from a cache.';
COMMENT ON COLUMN our_schema.token_usage.image_output_tokens IS 'Output tokens of images.';
COMMENT ON COLUMN our_schema.token_usage.input_tokens IS 'Input tokens of text that were neither read from nor written to a cache.';
COMMENT ON COLUMN our_schema.token_usage.output_tokens IS 'Output tokens of text without the reasoning tokens.';
COMMENT ON COLUMN our_schema.token_usage.cache_read_tokens IS 'Input tokens of text read from a cache.';

CREATE TABLE our_schema.price_lists (
    origin text NOT NULL,
    source text NOT NULL,
    read_on date NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_price_lists PRIMARY KEY (origin),
    CONSTRAINT ck_price_lists_origin CHECK (origin IN ('seed', 'user')),
    CONSTRAINT ck_price_lists_source CHECK (btrim(source) <> '')
);
COMMENT ON TABLE our_schema.price_lists IS 'Which list of prices is in force: that of the bundle, and that of the user.';
COMMENT ON COLUMN our_schema.price_lists.origin IS 'seed: shipped with the bundle; user: given by the user.';
COMMENT ON COLUMN our_schema.price_lists.source IS 'Where the prices were read, with its version.';
COMMENT ON COLUMN our_schema.price_lists.read_on IS 'Day on which they were read there.';
COMMENT ON COLUMN our_schema.price_lists.applied_at IS 'When this list was applied first.';

-- Sums by day. They are numeric where the counts are bigint: a sum of those may be larger, and no writer may fail for that.
CREATE TABLE our_schema.token_usage_rollup (
    id boolean NOT NULL DEFAULT true,
    time_zone text,
    CONSTRAINT pk_token_usage_rollup PRIMARY KEY (id),
    CONSTRAINT ck_token_usage_rollup_id CHECK (id)
);
COMMENT ON TABLE our_schema.token_usage_rollup IS 'One row: how token_usage_days is cut. Whoever moves something there locks it.';
COMMENT ON COLUMN our_schema.token_usage_rollup.id IS 'True: there is one row.';
COMMENT ON COLUMN our_schema.token_usage_rollup.time_zone IS 'Time zone of the days; NULL before they were summed up for the first time.';
INSERT INTO our_schema.token_usage_rollup DEFAULT VALUES;

CREATE TABLE our_schema.token_usage_days (
    day date NOT NULL,
    digest bytea NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    project text,
    agent text,
    cost_source text NOT NULL,
    calls bigint NOT NULL,
    input_tokens numeric NOT NULL,
    output_tokens numeric NOT NULL,
    cache_read_tokens numeric NOT NULL,
    cache_write_5m_tokens numeric NOT NULL,
    cache_write_1h_tokens numeric NOT NULL,
    reasoning_tokens numeric NOT NULL,
    audio_input_tokens numeric NOT NULL,
    audio_cache_read_tokens numeric NOT NULL,
    audio_output_tokens numeric NOT NULL,
    image_input_tokens numeric NOT NULL,
    image_cache_read_tokens numeric NOT NULL,
    image_output_tokens numeric NOT NULL,
    cost_usd numeric NOT NULL,
    subscription_value_usd numeric NOT NULL,
    valued_calls bigint NOT NULL,
    last_used_at timestamptz NOT NULL,
    CONSTRAINT pk_token_usage_days PRIMARY KEY (day, digest)
) WITH (fillfactor = 70);
COMMENT ON TABLE our_schema.token_usage_days IS
    'Sums of token_usage by day; together with token_usage_changes they are exact. To be read through daily_token_usage.';
COMMENT ON COLUMN our_schema.token_usage_days.day IS 'Day in the time zone of token_usage_rollup.';
COMMENT ON COLUMN our_schema.token_usage_days.digest IS
    'SHA-256 of provider, model, project, agent and cost source: those may be longer than an entry of an index.';
COMMENT ON COLUMN our_schema.token_usage_days.provider IS 'Provider of the calls.';
COMMENT ON COLUMN our_schema.token_usage_days.project IS 'Label of the calls; NULL for those without.';
COMMENT ON COLUMN our_schema.token_usage_days.agent IS 'Label of the calls; NULL for those without.';
COMMENT ON COLUMN our_schema.token_usage_days.cost_source IS 'As in token_usage.';
COMMENT ON COLUMN our_schema.token_usage_days.calls IS 'Number of rows of token_usage.';
COMMENT ON COLUMN our_schema.token_usage_days.cost_usd IS 'Sum of the known costs, in USD.';
COMMENT ON COLUMN our_schema.token_usage_days.subscription_value_usd IS 'Sum of the known values under a subscription, in USD.';
COMMENT ON COLUMN our_schema.token_usage_days.valued_calls IS 'Number of calls whose value under a subscription is known.';
COMMENT ON COLUMN our_schema.token_usage_days.last_used_at IS
    'Time of the newest call that was counted here; not set back when a call gets other labels or is removed.';

CREATE TABLE our_schema.token_usage_changes (
    period timestamptz NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    project text,
    agent text,
    cost_source text NOT NULL,
    calls bigint NOT NULL,
    input_tokens numeric NOT NULL,
    output_tokens numeric NOT NULL,
    cache_read_tokens numeric NOT NULL,
    cache_write_5m_tokens numeric NOT NULL,
    cache_write_1h_tokens numeric NOT NULL,
    reasoning_tokens numeric NOT NULL,
    audio_input_tokens numeric NOT NULL,
    audio_cache_read_tokens numeric NOT NULL,
    audio_output_tokens numeric NOT NULL,
    image_input_tokens numeric NOT NULL,
    image_cache_read_tokens numeric NOT NULL,
    image_output_tokens numeric NOT NULL,
    cost_usd numeric NOT NULL,
    subscription_value_usd numeric NOT NULL,
    valued_calls bigint NOT NULL,
    last_used_at timestamptz NOT NULL
);
COMMENT ON TABLE our_schema.token_usage_changes IS
    'What changed in token_usage and is not in token_usage_days yet: rows that are new with their sums, rows that are gone with the negative ones. A row becomes visible with what it tells of, so nothing is missed or counted twice.';
COMMENT ON COLUMN our_schema.token_usage_changes.period IS
    'Start of the quarter of an hour of the calls: days of every time zone are made of those.';
COMMENT ON COLUMN our_schema.token_usage_changes.provider IS 'Provider of the calls.';
COMMENT ON COLUMN our_schema.token_usage_changes.project IS 'Label of the calls; NULL for those without.';
COMMENT ON COLUMN our_schema.token_usage_changes.agent IS 'Label of the calls; NULL for those without.';
COMMENT ON COLUMN our_schema.token_usage_changes.cost_source IS 'As in token_usage.';
COMMENT ON COLUMN our_schema.token_usage_changes.calls IS 'Number of rows of token_usage; negative for those that are gone.';
COMMENT ON COLUMN our_schema.token_usage_changes.cost_usd IS 'Sum of the known costs, in USD.';
COMMENT ON COLUMN our_schema.token_usage_changes.subscription_value_usd IS 'Sum of the known values under a subscription, in USD.';
COMMENT ON COLUMN our_schema.token_usage_changes.valued_calls IS 'Number of calls whose value under a subscription is known.';
COMMENT ON COLUMN our_schema.token_usage_changes.last_used_at IS 'Time of the newest of the calls.';
DO $comments$
DECLARE
    bucket record;
BEGIN
    FOR bucket IN
        SELECT a.attrelid::regclass AS relation, a.attname
        FROM pg_attribute AS a
        WHERE a.attrelid IN ('our_schema.token_usage_days'::regclass, 'our_schema.token_usage_changes'::regclass)
            AND a.attname LIKE '%\_tokens'
    LOOP
        EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', bucket.relation, bucket.attname, 'Sum of the tokens of this bucket.');
    END LOOP;
END
$comments$;

CREATE TABLE our_schema.llm_budgets (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    amount_usd numeric(14, 6) NOT NULL,
    provider text,
    model text,
    project text,
    agent text,
    origin text NOT NULL DEFAULT 'user',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_llm_budgets PRIMARY KEY (id),
    CONSTRAINT uq_llm_budgets_name UNIQUE (name),
    CONSTRAINT ck_llm_budgets_name CHECK (btrim(name) <> ''),
    -- The upper bound keeps out NaN, which numeric sorts above every number.
    CONSTRAINT ck_llm_budgets_amount_usd CHECK (amount_usd > 0 AND amount_usd < 100000000),
    CONSTRAINT ck_llm_budgets_provider CHECK (provider ~ '^[a-z0-9][a-z0-9._-]*$'),
    CONSTRAINT ck_llm_budgets_model CHECK (btrim(model) <> ''),
    CONSTRAINT ck_llm_budgets_project CHECK (btrim(project) <> ''),
    CONSTRAINT ck_llm_budgets_agent CHECK (btrim(agent) <> ''),
    CONSTRAINT ck_llm_budgets_origin CHECK (origin IN ('role', 'user'))
);
COMMENT ON TABLE our_schema.llm_budgets IS 'What language models may cost in a month. A budget warns and stops nobody; see llm_budget_status.';
COMMENT ON COLUMN our_schema.llm_budgets.amount_usd IS 'USD for each month of the reporting time zone.';
COMMENT ON COLUMN our_schema.llm_budgets.provider IS 'Counts only calls of this provider; NULL: of any.';
COMMENT ON COLUMN our_schema.llm_budgets.model IS 'Counts only calls of this model, exactly as usage names it; NULL: of any.';
COMMENT ON COLUMN our_schema.llm_budgets.project IS 'Counts only calls with this label; NULL: with any, or without.';
COMMENT ON COLUMN our_schema.llm_budgets.agent IS 'Counts only calls with this label; NULL: with any, or without.';
COMMENT ON COLUMN our_schema.llm_budgets.origin IS
    'role: given to the role that provisions the database, and changed only there; user: made by a program or a person.';

CREATE TABLE our_schema.usage_import_files (
    source text NOT NULL,
    host text NOT NULL,
    path text NOT NULL,
    fingerprint text NOT NULL,
    position bigint NOT NULL DEFAULT 0,
    state jsonb NOT NULL DEFAULT '{}',
    calls bigint NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_usage_import_files PRIMARY KEY (source, host, path),
    -- Together with a path of 2,048 bytes they are shorter than an entry of an index.
    CONSTRAINT ck_usage_import_files_source CHECK (btrim(source) <> '' AND octet_length(source) <= 255),
    CONSTRAINT ck_usage_import_files_host CHECK (btrim(host) <> '' AND octet_length(host) <= 255),
    CONSTRAINT ck_usage_import_files_path CHECK (path <> ''),
    CONSTRAINT ck_usage_import_files_position CHECK (position >= 0),
    CONSTRAINT ck_usage_import_files_state CHECK (jsonb_typeof(state) = 'object'),
    CONSTRAINT ck_usage_import_files_calls CHECK (calls >= 0)
) WITH (fillfactor = 85);
COMMENT ON TABLE our_schema.usage_import_files IS 'How far an import of usage has read a file, so that the next one goes on there.';
COMMENT ON COLUMN our_schema.usage_import_files.source IS 'As in the column source of the usage that it writes.';
COMMENT ON COLUMN our_schema.usage_import_files.host IS 'Name of the machine that holds the file.';
COMMENT ON COLUMN our_schema.usage_import_files.path IS 'Path of the file there.';
COMMENT ON COLUMN our_schema.usage_import_files.fingerprint IS 'What tells this file from another that takes its name later.';
COMMENT ON COLUMN our_schema.usage_import_files.position IS 'Number of bytes that were read and need not be read again.';
COMMENT ON COLUMN our_schema.usage_import_files.state IS 'JSON object: what the importer has to know of the part that it has read.';
COMMENT ON COLUMN our_schema.usage_import_files.calls IS 'Number of calls that were recorded from it.';

CREATE TRIGGER tr_llm_budgets_updated_at BEFORE UPDATE ON our_schema.llm_budgets
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION our_schema.set_updated_at();
CREATE TRIGGER tr_usage_import_files_updated_at BEFORE UPDATE ON our_schema.usage_import_files
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION our_schema.set_updated_at();

CREATE FUNCTION our_schema.guard_llm_budgets() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF 'role' IN (OLD.origin, NEW.origin)
        AND NOT pg_has_role(current_user, (SELECT c.relowner FROM pg_class AS c WHERE c.oid = TG_RELID), 'USAGE')
    THEN
        RAISE EXCEPTION 'the budget % is given to the role that provisions the database: change it there, in mission_control_schema_budgets',
            coalesce(OLD.name, NEW.name)
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN coalesce(NEW, OLD);
END
$$;
COMMENT ON FUNCTION our_schema.guard_llm_budgets() IS 'Trigger function: leaves the budgets of origin role to the owner of the table.';

CREATE TRIGGER tr_llm_budgets_of_role BEFORE INSERT OR UPDATE OR DELETE ON our_schema.llm_budgets
    FOR EACH ROW EXECUTE FUNCTION our_schema.guard_llm_budgets();

CREATE FUNCTION our_schema.queue_token_usage_changes() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        TRUNCATE our_schema.token_usage_days, our_schema.token_usage_changes;
        RETURN NULL;
    END IF;
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
        INSERT INTO our_schema.token_usage_changes (
            period, provider, model, project, agent, cost_source, calls, input_tokens, output_tokens, cache_read_tokens,
            cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens, audio_input_tokens, audio_cache_read_tokens,
            audio_output_tokens, image_input_tokens, image_cache_read_tokens, image_output_tokens, cost_usd, subscription_value_usd,
            valued_calls, last_used_at
        )
        SELECT date_bin('15 minutes', r.occurred_at, '2000-01-01T00:00:00Z'), r.provider, r.model, r.project, r.agent, r.cost_source,
            -count(*), -sum(r.input_tokens), -sum(r.output_tokens), -sum(r.cache_read_tokens), -sum(r.cache_write_5m_tokens),
            -sum(r.cache_write_1h_tokens), -sum(r.reasoning_tokens), -sum(r.audio_input_tokens), -sum(r.audio_cache_read_tokens),
            -sum(r.audio_output_tokens), -sum(r.image_input_tokens), -sum(r.image_cache_read_tokens), -sum(r.image_output_tokens),
            -coalesce(sum(r.estimated_cost_usd), 0), -coalesce(sum(r.subscription_value_usd), 0), -count(r.subscription_value_usd),
            max(r.occurred_at)
        FROM removed AS r
        -- What the CHECK does not let in any more was never counted.
        WHERE r.occurred_at >= '1970-01-01T00:00:00Z' AND r.occurred_at < '9999-01-01T00:00:00Z'
        GROUP BY 1, 2, 3, 4, 5, 6;
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        INSERT INTO our_schema.token_usage_changes (
            period, provider, model, project, agent, cost_source, calls, input_tokens, output_tokens, cache_read_tokens,
            cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens, audio_input_tokens, audio_cache_read_tokens,
            audio_output_tokens, image_input_tokens, image_cache_read_tokens, image_output_tokens, cost_usd, subscription_value_usd,
            valued_calls, last_used_at
        )
        SELECT date_bin('15 minutes', a.occurred_at, '2000-01-01T00:00:00Z'), a.provider, a.model, a.project, a.agent, a.cost_source,
            count(*), sum(a.input_tokens), sum(a.output_tokens), sum(a.cache_read_tokens), sum(a.cache_write_5m_tokens),
            sum(a.cache_write_1h_tokens), sum(a.reasoning_tokens), sum(a.audio_input_tokens), sum(a.audio_cache_read_tokens),
            sum(a.audio_output_tokens), sum(a.image_input_tokens), sum(a.image_cache_read_tokens), sum(a.image_output_tokens),
            coalesce(sum(a.estimated_cost_usd), 0), coalesce(sum(a.subscription_value_usd), 0), count(a.subscription_value_usd),
            max(a.occurred_at)
        FROM added AS a
        -- What the CHECK does not let in any more was never counted.
        WHERE a.occurred_at >= '1970-01-01T00:00:00Z' AND a.occurred_at < '9999-01-01T00:00:00Z'
        GROUP BY 1, 2, 3, 4, 5, 6;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION our_schema.queue_token_usage_changes() IS
    'Trigger function: notes what a statement adds to the sums of token_usage by day and takes from them.';

CREATE TRIGGER tr_token_usage_added AFTER INSERT ON our_schema.token_usage
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION our_schema.queue_token_usage_changes();
CREATE TRIGGER tr_token_usage_changed AFTER UPDATE ON our_schema.token_usage
    REFERENCING OLD TABLE AS removed NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION our_schema.queue_token_usage_changes();
CREATE TRIGGER tr_token_usage_removed AFTER DELETE ON our_schema.token_usage
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION our_schema.queue_token_usage_changes();
CREATE TRIGGER tr_token_usage_emptied AFTER TRUNCATE ON our_schema.token_usage
    FOR EACH STATEMENT EXECUTE FUNCTION our_schema.queue_token_usage_changes();

-- Prices and what usage costs by them: the functions behind the triggers of 003, price lists, and costs whose price became known later.

SET LOCAL search_path = pg_catalog, pg_temp;

-- PL/pgSQL keeps the plan of its query for the session; a function in SQL would be planned anew for every row of token_usage.
CREATE OR REPLACE FUNCTION our_schema.provider_price_at(
    p_provider text, p_model text, p_billing_mode text, p_total_input_tokens bigint, p_at timestamptz
) RETURNS SETOF our_schema.provider_pricing
    LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 1
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- The model's own name, that without a date, and any.
    names CONSTANT text[] := ARRAY[p_model, regexp_replace(p_model, '(-[0-9]{8}|-[0-9]{4}-[0-9]{2}-[0-9]{2}|@[0-9]{8})$', ''), '*'];
    name text;
    own boolean := false;
BEGIN
    -- A homelab's price of a model and its dated names goes before those that the collection has of each such name.
    IF names[2] <> p_model THEN
        own := EXISTS (
            SELECT FROM our_schema.provider_pricing AS p
            WHERE p.provider = p_provider
                AND p.model = names[2]
                AND p.dated
                AND p.origin = 'user'
                AND p.billing_mode = p_billing_mode
                AND p.valid_from <= p_at
                AND (p.valid_to IS NULL OR p.valid_to > p_at)
        );
    END IF;
    -- One search of the index after the other, and mostly the first finds it. With all names in one statement the server takes its plan for
    -- too dear to keep, and plans anew for each row, which takes ten times as long.
    FOR n IN 1..3 LOOP
        name := names[n];
        CONTINUE WHEN n = 2 AND name = p_model;
        RETURN QUERY
        SELECT p.*
        FROM our_schema.provider_pricing AS p
        WHERE p.provider = p_provider
            AND p.model = name
            AND (p.dated OR n <> 2)
            AND (p.origin = 'user' OR n <> 1 OR NOT own)
            AND p.billing_mode = p_billing_mode
            -- A tier applies above its bound; the base (0) also to a request without a single input token.
            AND p.above_input_tokens < greatest(p_total_input_tokens, 1)
            AND p.valid_from <= p_at
            AND (p.valid_to IS NULL OR p.valid_to > p_at)
        ORDER BY p.above_input_tokens DESC
        LIMIT 1;
        EXIT WHEN FOUND;
    END LOOP;
END
$$;
COMMENT ON FUNCTION our_schema.provider_price_at(text, text, text, bigint, timestamptz) IS
    'The price of a request at a time, at most one row: the model''s own, else that of its name without a date, else the provider''s "*"; a user''s of the name without a date goes before the seed''s of the name with it; the highest tier that its input tokens exceed.';

CREATE OR REPLACE FUNCTION our_schema.token_cost_usd(
    p_price our_schema.provider_pricing, p_input bigint, p_output bigint, p_cache_read bigint, p_cache_write_5m bigint,
    p_cache_write_1h bigint, p_reasoning bigint
) RETURNS numeric
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    -- Multiplied, not divided: the product of two numerics is exact, a quotient is rounded.
    RETURN 0.000001 * (
        p_input * p_price.input_usd_per_mtok
        + p_output * p_price.output_usd_per_mtok
        + p_cache_read * coalesce(p_price.cache_read_usd_per_mtok, p_price.input_usd_per_mtok)
        + p_cache_write_5m * coalesce(p_price.cache_write_5m_usd_per_mtok, p_price.input_usd_per_mtok)
        + p_cache_write_1h * coalesce(
            p_price.cache_write_1h_usd_per_mtok, p_price.cache_write_5m_usd_per_mtok, p_price.input_usd_per_mtok
        )
        + p_reasoning * coalesce(p_price.reasoning_usd_per_mtok, p_price.output_usd_per_mtok)
    );
COMMENT ON FUNCTION our_schema.token_cost_usd(our_schema.provider_pricing, bigint, bigint, bigint, bigint, bigint, bigint) IS
    'Cost in USD of disjoint token buckets (input, output, cache read, cache write 5 min, cache write 1 h, reasoning) at a price; exact.';

CREATE OR REPLACE FUNCTION our_schema.token_cost_usd(
    p_price our_schema.provider_pricing, p_input bigint, p_output bigint, p_cache_read bigint, p_cache_write_5m bigint,
    p_cache_write_1h bigint, p_reasoning bigint, p_audio_input bigint, p_audio_cache_read bigint, p_audio_output bigint,
    p_image_input bigint, p_image_cache_read bigint, p_image_output bigint
) RETURNS numeric
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN our_schema.token_cost_usd(
        p_price, p_input::bigint, p_output::bigint, p_cache_read::bigint, p_cache_write_5m::bigint, p_cache_write_1h::bigint,
        p_reasoning::bigint
    ) + CASE
        WHEN greatest(p_audio_input, p_audio_cache_read, p_audio_output, p_image_input, p_image_cache_read, p_image_output) > 0
            THEN 0.000001 * (
                p_audio_input * coalesce(p_price.audio_input_usd_per_mtok, p_price.input_usd_per_mtok)
                + p_audio_cache_read * coalesce(
                    p_price.audio_cache_read_usd_per_mtok, p_price.cache_read_usd_per_mtok, p_price.input_usd_per_mtok
                )
                + p_audio_output * coalesce(p_price.audio_output_usd_per_mtok, p_price.output_usd_per_mtok)
                + p_image_input * coalesce(p_price.image_input_usd_per_mtok, p_price.input_usd_per_mtok)
                + p_image_cache_read * coalesce(
                    p_price.image_cache_read_usd_per_mtok, p_price.cache_read_usd_per_mtok, p_price.input_usd_per_mtok
                )
                + p_image_output * coalesce(p_price.image_output_usd_per_mtok, p_price.output_usd_per_mtok)
            )
        ELSE 0
    END;
COMMENT ON FUNCTION our_schema.token_cost_usd(
    our_schema.provider_pricing, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint
) IS
    'Cost in USD of all twelve disjoint token buckets at a price, in the order of token_usage: those of text, of audio (input, cache read, output), of images; exact.';

CREATE OR REPLACE FUNCTION our_schema.price_token_usage() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    price our_schema.provider_pricing;
    cost numeric;
BEGIN
    IF NEW.cost_source = 'provider' THEN
        RETURN NEW;
    END IF;
    IF num_nonnulls(NEW.estimated_cost_usd, NEW.price_id, NEW.subscription_value_usd) > 0 THEN
        RAISE EXCEPTION 'the server computes the cost of token usage: give one only with cost_source ''provider'''
            USING ERRCODE = 'check_violation';
    END IF;
    SELECT * INTO price
    FROM our_schema.provider_price_at(
        NEW.provider, NEW.model, NEW.billing_mode,
        NEW.input_tokens + NEW.cache_read_tokens + NEW.cache_write_5m_tokens + NEW.cache_write_1h_tokens + NEW.audio_input_tokens
            + NEW.audio_cache_read_tokens + NEW.image_input_tokens + NEW.image_cache_read_tokens,
        NEW.occurred_at
    );
    IF FOUND THEN
        NEW.price_id := price.id;
        cost := our_schema.token_cost_usd(
            price, NEW.input_tokens, NEW.output_tokens, NEW.cache_read_tokens, NEW.cache_write_5m_tokens,
            NEW.cache_write_1h_tokens, NEW.reasoning_tokens, NEW.audio_input_tokens, NEW.audio_cache_read_tokens, NEW.audio_output_tokens,
            NEW.image_input_tokens, NEW.image_cache_read_tokens, NEW.image_output_tokens
        );
    END IF;
    IF NEW.cost_source = 'subscription' THEN
        NEW.estimated_cost_usd := 0;
        NEW.subscription_value_usd := cost;
    ELSIF NEW.cost_source = 'local' THEN
        -- The writer says that it ran on own hardware: a price that others would pay for the model is beside the point.
        NEW.estimated_cost_usd := 0;
        NEW.price_id := CASE WHEN price.is_local THEN price.id END;
    ELSIF NEW.cost_source IN ('computed', 'unpriced') THEN
        NEW.estimated_cost_usd := cost;
        NEW.cost_source := CASE
            WHEN cost IS NULL THEN 'unpriced'
            WHEN price.is_local THEN 'local'
            ELSE 'computed'
        END;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION our_schema.price_token_usage() IS
    'Trigger function: freezes the cost of a usage row, with the price valid at occurred_at, when the row is written.';

CREATE OR REPLACE FUNCTION our_schema.guard_token_usage() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    changed our_schema.token_usage := NEW;
BEGIN
    -- What may change: labels, and once, from unpriced to priced, the columns of the cost.
    changed.project := OLD.project;
    changed.agent := OLD.agent;
    IF OLD.cost_source = 'unpriced' AND NEW.cost_source IN ('computed', 'local') THEN
        changed.estimated_cost_usd := OLD.estimated_cost_usd;
        changed.cost_source := OLD.cost_source;
        changed.price_id := OLD.price_id;
    END IF;
    IF changed IS DISTINCT FROM OLD THEN
        RAISE EXCEPTION 'token usage % is frozen: only its labels, or a cost that was unpriced, may change', OLD.id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION our_schema.guard_token_usage() IS 'Trigger function: keeps usage and cost as they were recorded.';

CREATE OR REPLACE FUNCTION our_schema.guard_provider_pricing() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.valid_to := OLD.valid_to;
    IF OLD IS DISTINCT FROM NEW THEN
        RAISE EXCEPTION 'the price of % % from % is not edited: close its period with valid_to and insert the next one',
            OLD.provider, OLD.model, OLD.valid_from
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION our_schema.guard_provider_pricing() IS
    'Trigger function: of a price only valid_to may change, so that the row a cost was computed from still says how.';

CREATE OR REPLACE FUNCTION our_schema.price_list_number(p_entry jsonb, p_key text) RETURNS numeric
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    given CONSTANT text := p_entry ->> p_key;
    amount numeric;
BEGIN
    IF given IS NULL THEN
        RETURN NULL;
    END IF;
    -- Looked at before it is cast: a list has thousands, and catching an error costs a subtransaction for each.
    IF given ~ '^\s*[-+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-9]{1,2})?\s*$' AND octet_length(given) < 1000 THEN
        amount := given::numeric;
    END IF;
    IF amount IS NULL OR amount < 0 OR amount >= 1000000 OR scale(trim_scale(amount)) > 6 THEN
        RAISE EXCEPTION 'price of % %: % must be USD per 1,000,000 tokens, from 0 to below 1,000,000 with at most 6 decimals, not %',
            p_entry ->> 'provider', p_entry ->> 'model', p_key, p_entry -> p_key
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN amount;
END
$$;
COMMENT ON FUNCTION our_schema.price_list_number(jsonb, text) IS 'A price of an entry of a price list; NULL if it is not given, an error if it would be rounded.';

CREATE OR REPLACE FUNCTION our_schema.price_list_rows(p_prices jsonb, p_origin text) RETURNS SETOF our_schema.provider_pricing
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    -- A time without a zone is UTC, whatever the session says.
    SET timezone = 'UTC'
    SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    entry jsonb;
    price our_schema.provider_pricing;
    label text;
    strange text;
BEGIN
    IF jsonb_typeof(p_prices) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'a price list must be a list' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR entry IN SELECT e.value FROM jsonb_array_elements(p_prices) AS e LOOP
        IF jsonb_typeof(entry) <> 'object' THEN
            RAISE EXCEPTION 'an entry of a price list must be a mapping, not %', entry USING ERRCODE = 'invalid_parameter_value';
        END IF;
        label := format('price of %s %s', entry ->> 'provider', entry ->> 'model');
        SELECT string_agg(k.key, ', ' ORDER BY k.key) INTO strange
        FROM jsonb_object_keys(entry) AS k (key)
        WHERE k.key <> ALL (ARRAY[
            'provider', 'model', 'aliases', 'billing_mode', 'above_input_tokens', 'input', 'output', 'cache_read',
            'cache_write_5m', 'cache_write_1h', 'reasoning', 'audio_input', 'audio_cache_read', 'audio_output', 'image_input',
            'image_cache_read', 'image_output', 'valid_from', 'valid_to', 'local', 'dated', 'source'
        ]);
        IF strange IS NOT NULL THEN
            RAISE EXCEPTION '%: unknown key %', label, strange USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF num_nulls(entry ->> 'provider', entry ->> 'model', entry ->> 'input', entry ->> 'output') > 0 THEN
            RAISE EXCEPTION '%: provider, model, input and output are needed', label USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF jsonb_typeof(coalesce(entry -> 'aliases', '[]')) <> 'array' THEN
            RAISE EXCEPTION '%: aliases must be a list of model names', label USING ERRCODE = 'invalid_parameter_value';
        END IF;
        BEGIN
            price.provider := entry ->> 'provider';
            price.billing_mode := coalesce(entry ->> 'billing_mode', 'standard');
            price.above_input_tokens := coalesce((entry ->> 'above_input_tokens')::bigint, 0);
            price.is_local := coalesce((entry ->> 'local')::boolean, false);
            price.dated := coalesce((entry ->> 'dated')::boolean, false);
            price.valid_from := coalesce((entry ->> 'valid_from')::timestamptz, '1970-01-01T00:00:00Z');
            price.valid_to := (entry ->> 'valid_to')::timestamptz;
        EXCEPTION
            WHEN data_exception THEN
                RAISE EXCEPTION '%: %', label, SQLERRM USING ERRCODE = 'invalid_parameter_value';
        END;
        IF price.valid_to <= price.valid_from THEN
            RAISE EXCEPTION '%: valid_to must be later than valid_from', label USING ERRCODE = 'invalid_parameter_value';
        END IF;
        price.input_usd_per_mtok := our_schema.price_list_number(entry, 'input'::text);
        price.output_usd_per_mtok := our_schema.price_list_number(entry, 'output'::text);
        price.cache_read_usd_per_mtok := our_schema.price_list_number(entry, 'cache_read'::text);
        price.cache_write_5m_usd_per_mtok := our_schema.price_list_number(entry, 'cache_write_5m'::text);
        price.cache_write_1h_usd_per_mtok := our_schema.price_list_number(entry, 'cache_write_1h'::text);
        price.reasoning_usd_per_mtok := our_schema.price_list_number(entry, 'reasoning'::text);
        price.audio_input_usd_per_mtok := our_schema.price_list_number(entry, 'audio_input'::text);
        price.audio_cache_read_usd_per_mtok := our_schema.price_list_number(entry, 'audio_cache_read'::text);
        price.audio_output_usd_per_mtok := our_schema.price_list_number(entry, 'audio_output'::text);
        price.image_input_usd_per_mtok := our_schema.price_list_number(entry, 'image_input'::text);
        price.image_cache_read_usd_per_mtok := our_schema.price_list_number(entry, 'image_cache_read'::text);
        price.image_output_usd_per_mtok := our_schema.price_list_number(entry, 'image_output'::text);
        price.origin := p_origin;
        price.source := coalesce(entry ->> 'source', p_origin);
        FOR price.model IN
            SELECT entry ->> 'model'
            UNION
            SELECT a.value FROM jsonb_array_elements_text(coalesce(entry -> 'aliases', '[]')) AS a
        LOOP
            RETURN NEXT price;
        END LOOP;
    END LOOP;
END
$$;
COMMENT ON FUNCTION our_schema.price_list_rows(jsonb, text) IS
    'The entries of a price list as rows of provider_pricing without id, one for the model and one for each of its aliases; an error names a bad entry.';

CREATE OR REPLACE FUNCTION our_schema.same_price(p_one our_schema.provider_pricing, p_other our_schema.provider_pricing) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN p_one.above_input_tokens = p_other.above_input_tokens
        AND p_one.is_local = p_other.is_local
        AND p_one.dated = p_other.dated
        AND p_one.input_usd_per_mtok IS NOT DISTINCT FROM p_other.input_usd_per_mtok
        AND p_one.output_usd_per_mtok IS NOT DISTINCT FROM p_other.output_usd_per_mtok
        AND p_one.cache_read_usd_per_mtok IS NOT DISTINCT FROM p_other.cache_read_usd_per_mtok
        AND p_one.cache_write_5m_usd_per_mtok IS NOT DISTINCT FROM p_other.cache_write_5m_usd_per_mtok
        AND p_one.cache_write_1h_usd_per_mtok IS NOT DISTINCT FROM p_other.cache_write_1h_usd_per_mtok
        AND p_one.reasoning_usd_per_mtok IS NOT DISTINCT FROM p_other.reasoning_usd_per_mtok
        AND p_one.audio_input_usd_per_mtok IS NOT DISTINCT FROM p_other.audio_input_usd_per_mtok
        AND p_one.audio_cache_read_usd_per_mtok IS NOT DISTINCT FROM p_other.audio_cache_read_usd_per_mtok
        AND p_one.audio_output_usd_per_mtok IS NOT DISTINCT FROM p_other.audio_output_usd_per_mtok
        AND p_one.image_input_usd_per_mtok IS NOT DISTINCT FROM p_other.image_input_usd_per_mtok
        AND p_one.image_cache_read_usd_per_mtok IS NOT DISTINCT FROM p_other.image_cache_read_usd_per_mtok
        AND p_one.image_output_usd_per_mtok IS NOT DISTINCT FROM p_other.image_output_usd_per_mtok;
COMMENT ON FUNCTION our_schema.same_price(our_schema.provider_pricing, our_schema.provider_pricing) IS 'Whether two prices of one model are the same tier and the same amounts.';

-- A list speaks for the models that it names, each in a billing mode with all its tiers:
--   what is past stays as it was; from now on the list counts
--   a price of the same origin that the list does not confirm ends now, or is removed if it has not begun; one that a cost was computed
--   from all the same, as where the clock was set back since, stays for its first microsecond, so that the cost can still refer to it
--   a user's price replaces the seed's for the time it declares; the seed keeps out of the time in which the user has prices
--   a declared period is filled in where nothing else stands; in the past only where the model had no price at all, not even
--   another tier, so that usage which is imported late costs what it would have cost then
-- Models that the list does not name keep their prices. The same list again changes nothing.
CREATE OR REPLACE FUNCTION our_schema.apply_provider_prices(prices jsonb, origin text) RETURNS integer
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    p_origin CONSTANT text := apply_provider_prices.origin;
    past CONSTANT tstzmultirange := tstzmultirange(tstzrange(NULL, now()));
    future CONSTANT tstzmultirange := tstzmultirange(tstzrange(now(), NULL));
    wanted our_schema.provider_pricing[];
    row our_schema.provider_pricing;
    other our_schema.provider_pricing;
    span tstzmultirange;
    removed tstzmultirange;
    item record;
    piece tstzrange;
    changed integer := 0;
BEGIN
    IF p_origin IS NULL OR p_origin NOT IN ('seed', 'user') THEN
        RAISE EXCEPTION 'the origin of a price list is seed or user, not %', p_origin USING ERRCODE = 'invalid_parameter_value';
    END IF;
    LOCK TABLE our_schema.provider_pricing IN SHARE ROW EXCLUSIVE MODE;
    wanted := ARRAY(SELECT w FROM our_schema.price_list_rows(apply_provider_prices.prices, p_origin) AS w);

    SELECT w.* INTO row
    FROM unnest(wanted) WITH ORDINALITY AS w
    JOIN unnest(wanted) WITH ORDINALITY AS v
        ON (v.provider, v.model, v.billing_mode, v.above_input_tokens) = (w.provider, w.model, w.billing_mode, w.above_input_tokens)
        AND v.ordinality < w.ordinality
        AND tstzrange(v.valid_from, v.valid_to) && tstzrange(w.valid_from, w.valid_to)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'price of % %: two entries of the list overlap in time', row.provider, row.model
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    FOR item IN
        SELECT p AS price,
            CASE WHEN p.origin = p_origin THEN d.span * future - d.declared ELSE d.span * future * d.declared END AS removed
        FROM (
            SELECT p.id, tstzmultirange(tstzrange(p.valid_from, p.valid_to)) AS span,
                coalesce(
                    range_agg(tstzrange(w.valid_from, w.valid_to)) FILTER (
                        WHERE p.origin <> p_origin OR (
                            w.above_input_tokens = p.above_input_tokens AND our_schema.same_price(p, w::our_schema.provider_pricing)
                        )
                    ),
                    '{}'
                ) AS declared
            FROM our_schema.provider_pricing AS p
            JOIN unnest(wanted) AS w ON (w.provider, w.model, w.billing_mode) = (p.provider, p.model, p.billing_mode)
            WHERE (p_origin = 'user' OR p.origin = 'seed') AND (p.valid_to IS NULL OR p.valid_to > now())
            GROUP BY p.id
        ) AS d
        JOIN our_schema.provider_pricing AS p ON p.id = d.id
    LOOP
        removed := item.removed;
        CONTINUE WHEN isempty(removed);
        row := item.price;
        span := tstzmultirange(tstzrange(row.valid_from, row.valid_to));
        IF removed @> row.valid_from AND EXISTS (SELECT FROM our_schema.token_usage AS u WHERE u.price_id = row.id) THEN
            removed := removed - tstzmultirange(tstzrange(row.valid_from, row.valid_from + interval '1 microsecond'));
        END IF;
        CONTINUE WHEN isempty(removed);
        changed := changed + 1;
        span := span - removed;
        IF lower(span) = row.valid_from THEN
            UPDATE our_schema.provider_pricing SET valid_to = upper(p.piece)
            FROM unnest(span) AS p (piece)
            WHERE id = row.id AND lower(p.piece) = row.valid_from;
            span := span - (SELECT tstzmultirange(p.piece) FROM unnest(span) AS p (piece) WHERE lower(p.piece) = row.valid_from);
        ELSE
            DELETE FROM our_schema.provider_pricing WHERE id = row.id;
        END IF;
        FOR piece IN SELECT p.piece FROM unnest(span) AS p (piece) LOOP
            other := row;
            other.id := gen_random_uuid();
            other.valid_from := lower(piece);
            other.valid_to := upper(piece);
            other.created_at := now();
            INSERT INTO our_schema.provider_pricing SELECT other.*;
        END LOOP;
    END LOOP;

    -- Both sides as they were before the first of these rows is inserted.
    FOR item IN
        SELECT t.number, g.gap
        FROM (
            SELECT w.ordinality AS number, tstzmultirange(tstzrange(w.valid_from, w.valid_to)) AS declared,
                coalesce(range_agg(tstzrange(p.valid_from, p.valid_to)) FILTER (WHERE p.id IS NOT NULL), '{}') * past
                + coalesce(
                    range_agg(tstzrange(p.valid_from, p.valid_to)) FILTER (
                        WHERE p.above_input_tokens = w.above_input_tokens OR (p_origin = 'seed' AND p.origin = 'user')
                    ),
                    '{}'
                ) AS taken
            FROM unnest(wanted) WITH ORDINALITY AS w
            LEFT JOIN our_schema.provider_pricing AS p
                ON (p.provider, p.model, p.billing_mode) = (w.provider, w.model, w.billing_mode)
            GROUP BY w.ordinality, w.valid_from, w.valid_to
        ) AS t
        CROSS JOIN LATERAL unnest(t.declared - t.taken) AS g (gap)
        ORDER BY t.number
    LOOP
        row := wanted[item.number];
        row.id := gen_random_uuid();
        row.created_at := now();
        row.valid_from := lower(item.gap);
        row.valid_to := upper(item.gap);
        INSERT INTO our_schema.provider_pricing SELECT row.*;
        changed := changed + 1;
    END LOOP;
    RETURN changed;
END
$$;
COMMENT ON FUNCTION our_schema.apply_provider_prices(jsonb, text) IS
    'Apply a price list of origin seed or user; returns how many rows it changed, 0 for a list that is in force already. See the file for the rules.';

CREATE OR REPLACE FUNCTION our_schema.fill_unpriced_token_usage() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    filled bigint;
BEGIN
    WITH priced AS (
        SELECT u.id, p.id AS price_id, p.is_local,
            our_schema.token_cost_usd(
                p, u.input_tokens, u.output_tokens, u.cache_read_tokens, u.cache_write_5m_tokens,
                u.cache_write_1h_tokens, u.reasoning_tokens, u.audio_input_tokens, u.audio_cache_read_tokens, u.audio_output_tokens,
                u.image_input_tokens, u.image_cache_read_tokens, u.image_output_tokens
            ) AS cost
        FROM our_schema.token_usage AS u
        CROSS JOIN LATERAL our_schema.provider_price_at(
            u.provider, u.model, u.billing_mode,
            u.input_tokens + u.cache_read_tokens + u.cache_write_5m_tokens + u.cache_write_1h_tokens + u.audio_input_tokens
                + u.audio_cache_read_tokens + u.image_input_tokens + u.image_cache_read_tokens,
            u.occurred_at
        ) AS p
        WHERE u.cost_source = 'unpriced'
    )
    UPDATE our_schema.token_usage AS u
    SET estimated_cost_usd = priced.cost,
        price_id = priced.price_id,
        cost_source = CASE WHEN priced.is_local THEN 'local' ELSE 'computed' END
    FROM priced
    -- Asked again, for a row that another call has filled in the meantime.
    WHERE u.id = priced.id AND u.cost_source = 'unpriced';
    GET DIAGNOSTICS filled = ROW_COUNT;
    RETURN filled;
END
$$;
COMMENT ON FUNCTION our_schema.fill_unpriced_token_usage() IS
    'Compute the cost of usage that had no price when it was written and has one now, valid at its time; returns how many rows. Touches no other row.';

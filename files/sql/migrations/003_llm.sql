-- Prices, requests to language models, their responses, and what they used and cost.
--
-- A price of NULL for a bucket means that the provider has no price of its own for it: those tokens are billed like the more general
-- bucket (cache write 1 h as cache write 5 min, both and cache reads as input, reasoning as output). A price of 0 means free.
--
-- The cost functions and their trigger stand here and not among the repeatable files, so that there is never a token_usage table
-- that takes a row without freezing its cost.
--
-- token_usage is made to be partitioned by month later without a change in the programs that write to it: nothing refers to it. On a
-- partitioned table (source, external_id) would be unique within a partition only and across partitions the writer's duty, so
-- writers that may repeat themselves say ON CONFLICT DO NOTHING without naming a target.

-- GiST can compare ranges without an extension: [x,x] overlaps [y,y] only if x = y. This spares btree_gist, which needs CREATE on
-- the database and a contrib package.
CREATE TYPE text_range AS RANGE (subtype = text, collation = "C");
COMMENT ON TYPE text_range IS 'Range of text in byte order; serves the exclusion constraint of provider_pricing.';

CREATE TABLE provider_pricing (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    provider text NOT NULL,
    model text NOT NULL,
    billing_mode text NOT NULL DEFAULT 'standard',
    above_input_tokens bigint NOT NULL DEFAULT 0,
    input_usd_per_mtok numeric(12, 6) NOT NULL,
    output_usd_per_mtok numeric(12, 6) NOT NULL,
    cache_read_usd_per_mtok numeric(12, 6),
    cache_write_5m_usd_per_mtok numeric(12, 6),
    cache_write_1h_usd_per_mtok numeric(12, 6),
    reasoning_usd_per_mtok numeric(12, 6),
    is_local boolean NOT NULL DEFAULT false,
    valid_from timestamptz NOT NULL DEFAULT '1970-01-01T00:00:00Z',
    valid_to timestamptz,
    origin text NOT NULL DEFAULT 'user',
    source text NOT NULL DEFAULT 'user',
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_provider_pricing PRIMARY KEY (id),
    CONSTRAINT ck_provider_pricing_provider CHECK (provider ~ '^[a-z0-9][a-z0-9._-]*$'),
    CONSTRAINT ck_provider_pricing_model CHECK (btrim(model) <> ''),
    CONSTRAINT ck_provider_pricing_billing_mode CHECK (billing_mode IN ('standard', 'batch', 'free')),
    CONSTRAINT ck_provider_pricing_above_input_tokens CHECK (above_input_tokens >= 0),
    CONSTRAINT ck_provider_pricing_prices CHECK (
        least(
            input_usd_per_mtok, output_usd_per_mtok, cache_read_usd_per_mtok, cache_write_5m_usd_per_mtok,
            cache_write_1h_usd_per_mtok, reasoning_usd_per_mtok
        ) >= 0
        -- Keeps out NaN, which numeric sorts above every number.
        AND greatest(
            input_usd_per_mtok, output_usd_per_mtok, cache_read_usd_per_mtok, cache_write_5m_usd_per_mtok,
            cache_write_1h_usd_per_mtok, reasoning_usd_per_mtok
        ) < 1000000
    ),
    CONSTRAINT ck_provider_pricing_free CHECK (
        NOT (is_local OR billing_mode = 'free') OR greatest(
            input_usd_per_mtok, output_usd_per_mtok, cache_read_usd_per_mtok, cache_write_5m_usd_per_mtok,
            cache_write_1h_usd_per_mtok, reasoning_usd_per_mtok
        ) = 0
    ),
    CONSTRAINT ck_provider_pricing_valid_to CHECK (valid_to > valid_from),
    CONSTRAINT ck_provider_pricing_finite CHECK (isfinite(valid_from) AND isfinite(valid_to)),
    CONSTRAINT ck_provider_pricing_origin CHECK (origin IN ('seed', 'user')),
    CONSTRAINT ex_provider_pricing_period EXCLUDE USING gist (
        text_range(provider, provider, '[]') WITH &&,
        text_range(model, model, '[]') WITH &&,
        text_range(billing_mode, billing_mode, '[]') WITH &&,
        int8range(above_input_tokens, above_input_tokens, '[]') WITH &&,
        tstzrange(valid_from, valid_to) WITH &&
    )
);
COMMENT ON TABLE provider_pricing IS
    'Prices of language models in periods that never overlap. A price is not edited: its period is closed and a new row opens the next.';
COMMENT ON COLUMN provider_pricing.provider IS 'Provider, such as ollama, gemini, claude, openai or github-models.';
COMMENT ON COLUMN provider_pricing.model IS 'Model, exactly as usage names it; "*" stands for every model of the provider that has no price of its own.';
COMMENT ON COLUMN provider_pricing.billing_mode IS 'standard, batch (cheaper and later) or free (a free tier).';
COMMENT ON COLUMN provider_pricing.above_input_tokens IS
    'Tier: the row applies to requests with more input tokens than this, cached ones counted, and then to the whole request. 0 is the base.';
COMMENT ON COLUMN provider_pricing.input_usd_per_mtok IS 'USD per 1,000,000 input tokens that were neither read from nor written to a cache.';
COMMENT ON COLUMN provider_pricing.output_usd_per_mtok IS 'USD per 1,000,000 output tokens.';
COMMENT ON COLUMN provider_pricing.cache_read_usd_per_mtok IS 'USD per 1,000,000 input tokens read from a cache; NULL: as input.';
COMMENT ON COLUMN provider_pricing.cache_write_5m_usd_per_mtok IS
    'USD per 1,000,000 input tokens written to a cache for 5 minutes, or for the provider''s only cache life; NULL: as input.';
COMMENT ON COLUMN provider_pricing.cache_write_1h_usd_per_mtok IS
    'USD per 1,000,000 input tokens written to a cache for 1 hour; NULL: as cache write 5 min.';
COMMENT ON COLUMN provider_pricing.reasoning_usd_per_mtok IS 'USD per 1,000,000 reasoning tokens; NULL: as output.';
COMMENT ON COLUMN provider_pricing.is_local IS 'True for models on our own hardware: usage costs 0 and its cost source is "local".';
COMMENT ON COLUMN provider_pricing.valid_from IS 'Start of the period, included. 1970-01-01 where the source gives no date.';
COMMENT ON COLUMN provider_pricing.valid_to IS 'End of the period, excluded; NULL while no end is known.';
COMMENT ON COLUMN provider_pricing.origin IS 'seed: shipped with the bundle; user: given by the user, never overwritten by the seed.';
COMMENT ON COLUMN provider_pricing.source IS 'Where the price was read, with its version.';

CREATE UNIQUE INDEX uq_provider_pricing_period
    ON provider_pricing (provider, model, billing_mode, above_input_tokens, valid_from);

CREATE FUNCTION guard_provider_pricing() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path FROM CURRENT
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
COMMENT ON FUNCTION guard_provider_pricing() IS
    'Trigger function: of a price only valid_to may change, so that the row a cost was computed from still says how.';

CREATE TRIGGER tr_provider_pricing_not_edited AFTER UPDATE ON provider_pricing
    FOR EACH ROW EXECUTE FUNCTION guard_provider_pricing();

CREATE TABLE llm_requests (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    task_run_id uuid,
    provider text NOT NULL,
    model text NOT NULL,
    messages jsonb,
    parameters jsonb NOT NULL DEFAULT '{}',
    body_storage text NOT NULL DEFAULT 'truncated',
    bodies_pruned_at timestamptz,
    source text NOT NULL DEFAULT 'mission-control',
    external_id text,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_llm_requests PRIMARY KEY (id),
    CONSTRAINT fk_llm_requests_task_run_id FOREIGN KEY (task_run_id) REFERENCES task_runs (id) ON DELETE RESTRICT,
    CONSTRAINT ck_llm_requests_provider CHECK (provider ~ '^[a-z0-9][a-z0-9._-]*$'),
    CONSTRAINT ck_llm_requests_model CHECK (btrim(model) <> ''),
    CONSTRAINT ck_llm_requests_parameters CHECK (jsonb_typeof(parameters) = 'object'),
    CONSTRAINT ck_llm_requests_body_storage CHECK (body_storage IN ('none', 'truncated', 'full')),
    CONSTRAINT ck_llm_requests_messages CHECK (
        messages IS NULL OR (body_storage <> 'none' AND bodies_pruned_at IS NULL)
    )
);
COMMENT ON TABLE llm_requests IS 'Requests to language models. Bodies are stored as the setting says and can be pruned by age.';
COMMENT ON COLUMN llm_requests.task_run_id IS 'Run on whose behalf it was sent; NULL for a request outside a run.';
COMMENT ON COLUMN llm_requests.provider IS 'Provider, such as ollama, gemini, claude, openai or github-models.';
COMMENT ON COLUMN llm_requests.messages IS 'Prompt as JSON. Sensitive: NULL if it was not stored, or was pruned.';
COMMENT ON COLUMN llm_requests.parameters IS 'JSON object: temperature and the like, no bodies.';
COMMENT ON COLUMN llm_requests.body_storage IS 'How much of the bodies was stored: none, truncated or full.';
COMMENT ON COLUMN llm_requests.bodies_pruned_at IS 'When the bodies were removed because of their age; NULL if they were not.';
COMMENT ON COLUMN llm_requests.source IS 'Who told us: this program, or the name of an importer.';
COMMENT ON COLUMN llm_requests.external_id IS 'Identifier at the source; unique within it.';
COMMENT ON COLUMN llm_requests.occurred_at IS 'When the request was sent.';
COMMENT ON COLUMN llm_requests.recorded_at IS 'When it was written here.';

CREATE UNIQUE INDEX uq_llm_requests_source_external_id ON llm_requests (source, external_id)
    WHERE external_id IS NOT NULL;
CREATE INDEX ix_llm_requests_task_run_id ON llm_requests (task_run_id);
CREATE INDEX ix_llm_requests_occurred_at ON llm_requests (occurred_at);
CREATE INDEX ix_llm_requests_bodies ON llm_requests (occurred_at) WHERE messages IS NOT NULL;

CREATE TABLE llm_responses (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    request_id uuid NOT NULL,
    content text,
    finish_reason text,
    latency_ms bigint,
    error text,
    raw jsonb,
    bodies_pruned_at timestamptz,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_llm_responses PRIMARY KEY (id),
    CONSTRAINT uq_llm_responses_request_id UNIQUE (request_id),
    CONSTRAINT fk_llm_responses_request_id FOREIGN KEY (request_id) REFERENCES llm_requests (id) ON DELETE RESTRICT,
    CONSTRAINT ck_llm_responses_latency_ms CHECK (latency_ms >= 0),
    CONSTRAINT ck_llm_responses_bodies CHECK (bodies_pruned_at IS NULL OR num_nonnulls(content, raw) = 0)
);
COMMENT ON TABLE llm_responses IS 'Responses of language models, at most one for a request.';
COMMENT ON COLUMN llm_responses.content IS 'Text of the reply. Sensitive: NULL if it was not stored, or was pruned.';
COMMENT ON COLUMN llm_responses.finish_reason IS 'Why the model stopped, in the provider''s words.';
COMMENT ON COLUMN llm_responses.latency_ms IS 'Time from request to complete reply, in milliseconds.';
COMMENT ON COLUMN llm_responses.error IS 'What went wrong, if no reply came.';
COMMENT ON COLUMN llm_responses.raw IS 'Reply as the provider sent it. Sensitive: NULL if it was not stored, or was pruned.';
COMMENT ON COLUMN llm_responses.bodies_pruned_at IS 'When content and raw reply were removed because of their age; NULL if they were not.';
COMMENT ON COLUMN llm_responses.occurred_at IS 'When the reply was complete.';
COMMENT ON COLUMN llm_responses.recorded_at IS 'When it was written here.';

CREATE INDEX ix_llm_responses_bodies ON llm_responses (occurred_at) WHERE content IS NOT NULL OR raw IS NOT NULL;
CREATE INDEX ix_llm_responses_errors ON llm_responses (occurred_at) WHERE error IS NOT NULL;

CREATE TABLE token_usage (
    id bigint GENERATED ALWAYS AS IDENTITY,
    request_id uuid,
    task_run_id uuid,
    provider text NOT NULL,
    model text NOT NULL,
    billing_mode text NOT NULL DEFAULT 'standard',
    input_tokens bigint NOT NULL DEFAULT 0,
    output_tokens bigint NOT NULL DEFAULT 0,
    cache_read_tokens bigint NOT NULL DEFAULT 0,
    cache_write_5m_tokens bigint NOT NULL DEFAULT 0,
    cache_write_1h_tokens bigint NOT NULL DEFAULT 0,
    reasoning_tokens bigint NOT NULL DEFAULT 0,
    estimated_cost_usd numeric(20, 12),
    cost_source text NOT NULL DEFAULT 'computed',
    price_id uuid,
    subscription_value_usd numeric(20, 12),
    project text,
    agent text,
    source text NOT NULL DEFAULT 'mission-control',
    external_id text,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_token_usage PRIMARY KEY (id),
    CONSTRAINT fk_token_usage_request_id FOREIGN KEY (request_id) REFERENCES llm_requests (id) ON DELETE RESTRICT,
    CONSTRAINT fk_token_usage_task_run_id FOREIGN KEY (task_run_id) REFERENCES task_runs (id) ON DELETE RESTRICT,
    CONSTRAINT fk_token_usage_price_id FOREIGN KEY (price_id) REFERENCES provider_pricing (id) ON DELETE RESTRICT,
    CONSTRAINT ck_token_usage_provider CHECK (provider ~ '^[a-z0-9][a-z0-9._-]*$'),
    CONSTRAINT ck_token_usage_model CHECK (btrim(model) <> ''),
    CONSTRAINT ck_token_usage_billing_mode CHECK (billing_mode IN ('standard', 'batch', 'free')),
    CONSTRAINT ck_token_usage_tokens CHECK (
        least(
            input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
            reasoning_tokens
        ) >= 0
    ),
    CONSTRAINT ck_token_usage_cost_source CHECK (
        cost_source IN ('computed', 'provider', 'local', 'subscription', 'unpriced')
    ),
    CONSTRAINT ck_token_usage_estimated_cost_usd CHECK (
        CASE cost_source
            WHEN 'unpriced' THEN estimated_cost_usd IS NULL
            WHEN 'local' THEN estimated_cost_usd IS NOT NULL AND estimated_cost_usd = 0
            WHEN 'subscription' THEN estimated_cost_usd IS NOT NULL AND estimated_cost_usd = 0
            ELSE estimated_cost_usd IS NOT NULL AND estimated_cost_usd >= 0 AND estimated_cost_usd < 100000000
        END
    ),
    CONSTRAINT ck_token_usage_price_id CHECK (
        CASE cost_source
            WHEN 'computed' THEN price_id IS NOT NULL
            WHEN 'provider' THEN price_id IS NULL
            WHEN 'unpriced' THEN price_id IS NULL
            ELSE true
        END
    ),
    CONSTRAINT ck_token_usage_subscription_value_usd CHECK (
        subscription_value_usd IS NULL OR (cost_source = 'subscription' AND subscription_value_usd >= 0)
    )
);
COMMENT ON TABLE token_usage IS
    'Tokens used and what they cost. The buckets are disjoint: a token is counted in one of them. The cost is frozen when the row is written.';
COMMENT ON COLUMN token_usage.request_id IS 'Request it belongs to; NULL for usage that was imported without one.';
COMMENT ON COLUMN token_usage.task_run_id IS 'Run on whose behalf the tokens were used; NULL outside a run.';
COMMENT ON COLUMN token_usage.provider IS 'Provider, such as ollama, gemini, claude, openai or github-models.';
COMMENT ON COLUMN token_usage.billing_mode IS 'standard, batch (cheaper and later) or free (a free tier).';
COMMENT ON COLUMN token_usage.input_tokens IS 'Input tokens that were neither read from nor written to a cache.';
COMMENT ON COLUMN token_usage.output_tokens IS 'Output tokens without the reasoning tokens.';
COMMENT ON COLUMN token_usage.cache_read_tokens IS 'Input tokens read from a cache.';
COMMENT ON COLUMN token_usage.cache_write_5m_tokens IS 'Input tokens written to a cache for 5 minutes, or for the provider''s only cache life.';
COMMENT ON COLUMN token_usage.cache_write_1h_tokens IS 'Input tokens written to a cache for 1 hour.';
COMMENT ON COLUMN token_usage.reasoning_tokens IS 'Output tokens spent on reasoning.';
COMMENT ON COLUMN token_usage.estimated_cost_usd IS
    'Cost in USD, exact to 12 decimals; set by the server, or by the writer if cost_source is "provider". NULL if the model had no price.';
COMMENT ON COLUMN token_usage.cost_source IS
    'computed (from price_id), provider (reported by it), local (own hardware, 0), subscription (paid otherwise, 0) or unpriced (NULL).';
COMMENT ON COLUMN token_usage.price_id IS 'Price the cost, or the value under a subscription, was computed from.';
COMMENT ON COLUMN token_usage.subscription_value_usd IS 'What usage under a subscription would have cost, in USD; NULL if the model had no price.';
COMMENT ON COLUMN token_usage.project IS 'Label: project the usage is charged to.';
COMMENT ON COLUMN token_usage.agent IS 'Label: agent or program that used the tokens.';
COMMENT ON COLUMN token_usage.source IS 'Who told us: this program, or the name of an importer.';
COMMENT ON COLUMN token_usage.external_id IS 'Identifier at the source; unique within it.';
COMMENT ON COLUMN token_usage.occurred_at IS 'Time of the request; the price valid then counts.';
COMMENT ON COLUMN token_usage.recorded_at IS 'When it was written here.';

CREATE UNIQUE INDEX uq_token_usage_source_external_id ON token_usage (source, external_id)
    WHERE external_id IS NOT NULL;
CREATE INDEX ix_token_usage_request_id ON token_usage (request_id);
CREATE INDEX ix_token_usage_task_run_id ON token_usage (task_run_id);
CREATE INDEX ix_token_usage_price_id ON token_usage (price_id);
CREATE INDEX ix_token_usage_occurred_at ON token_usage (occurred_at);
CREATE INDEX ix_token_usage_project ON token_usage (project, occurred_at) WHERE project IS NOT NULL;
CREATE INDEX ix_token_usage_unpriced ON token_usage (provider, model) WHERE cost_source = 'unpriced';

-- PL/pgSQL keeps the plan of its query for the session; a function in SQL would be planned anew for every row of token_usage.
CREATE FUNCTION provider_price_at(
    p_provider text, p_model text, p_billing_mode text, p_total_input_tokens bigint, p_at timestamptz
) RETURNS SETOF provider_pricing
    LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 1
    SET search_path FROM CURRENT
AS $$
BEGIN
    RETURN QUERY
    SELECT p.*
    FROM provider_pricing AS p
    WHERE p.provider = p_provider
        AND p.model IN (p_model, '*')
        AND p.billing_mode = p_billing_mode
        -- A tier applies above its bound; the base (0) also to a request without a single input token.
        AND p.above_input_tokens < greatest(p_total_input_tokens, 1)
        AND p.valid_from <= p_at
        AND (p.valid_to IS NULL OR p.valid_to > p_at)
    ORDER BY p.model = p_model DESC, p.above_input_tokens DESC
    LIMIT 1;
END
$$;
COMMENT ON FUNCTION provider_price_at(text, text, text, bigint, timestamptz) IS
    'The price of a request at a time, at most one row: the model''s own before the provider''s "*", the highest tier that its input tokens exceed.';

CREATE FUNCTION token_cost_usd(
    p_price provider_pricing, p_input bigint, p_output bigint, p_cache_read bigint, p_cache_write_5m bigint,
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
COMMENT ON FUNCTION token_cost_usd(provider_pricing, bigint, bigint, bigint, bigint, bigint, bigint) IS
    'Cost in USD of disjoint token buckets (input, output, cache read, cache write 5 min, cache write 1 h, reasoning) at a price; exact.';

CREATE FUNCTION price_token_usage() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path FROM CURRENT
AS $$
DECLARE
    price provider_pricing;
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
    FROM provider_price_at(
        NEW.provider, NEW.model, NEW.billing_mode,
        NEW.input_tokens + NEW.cache_read_tokens + NEW.cache_write_5m_tokens + NEW.cache_write_1h_tokens,
        NEW.occurred_at
    );
    IF FOUND THEN
        NEW.price_id := price.id;
        cost := token_cost_usd(
            price, NEW.input_tokens, NEW.output_tokens, NEW.cache_read_tokens, NEW.cache_write_5m_tokens,
            NEW.cache_write_1h_tokens, NEW.reasoning_tokens
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
COMMENT ON FUNCTION price_token_usage() IS
    'Trigger function: freezes the cost of a usage row, with the price valid at occurred_at, when the row is written.';

CREATE TRIGGER tr_token_usage_price BEFORE INSERT ON token_usage
    FOR EACH ROW EXECUTE FUNCTION price_token_usage();

CREATE FUNCTION guard_token_usage() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path FROM CURRENT
AS $$
DECLARE
    changed token_usage := NEW;
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
COMMENT ON FUNCTION guard_token_usage() IS 'Trigger function: keeps usage and cost as they were recorded.';

CREATE TRIGGER tr_token_usage_frozen AFTER UPDATE ON token_usage
    FOR EACH ROW EXECUTE FUNCTION guard_token_usage();

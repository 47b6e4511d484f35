-- role: audit
-- What a JSON value is asked before it is stored. It is stored far smaller than it is printed: the number 1e131000 takes ten bytes on disk
-- and 131,001 as text, so that a row of a kilobyte could make every dump and every verification fail.

SET LOCAL search_path = pg_catalog, pg_temp;

CREATE FUNCTION our_schema.json_fault(p_value jsonb, p_most_bytes bigint) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- Of the value as it is, where pg_column_size() alone would measure what may be compressed. It is at most four times the text.
    stored CONSTANT bigint := pg_column_size(p_value #> '{}');
    is_long boolean;
    -- Of all numbers together, not too small and at most twelve times as large as their text.
    number_bytes bigint;
BEGIN
    -- What is cheap to find out comes first, and nothing is printed before it is known not to be long.
    IF stored <= 4 * p_most_bytes + 64 THEN
        IF jsonb_path_exists(p_value, 'strict $.**{129 to last}') THEN
            RETURN 'is nested more than 128 levels deep, which is the limit';
        END IF;
        -- By way of an array: jsonb_path_query() hands out a list in a time that grows with its square.
        SELECT bool_or(n.scale > 1000 OR n.magnitude >= 1e1000),
            sum(n.scale + CASE WHEN n.magnitude < 1e30 THEN 32 WHEN n.magnitude < 1e200 THEN 202 ELSE 1002 END)
        INTO is_long, number_bytes
        FROM (
            SELECT scale(q.value::numeric) AS scale, abs(q.value::numeric) AS magnitude
            FROM jsonb_array_elements(jsonb_path_query_array(p_value, 'strict $.** ? (@.type() == "number")')) AS q (value)
        ) AS n;
        IF is_long THEN
            RETURN 'holds a number of more than 1,000 digits before or after its decimal point, which is the limit';
        END IF;
        IF coalesce(number_bytes, 0) <= 12 * p_most_bytes AND octet_length(p_value::text) <= p_most_bytes THEN
            RETURN NULL;
        END IF;
    END IF;
    RETURN format('is longer as text than %s bytes, which is the limit', p_most_bytes);
END
$$;
COMMENT ON FUNCTION our_schema.json_fault(jsonb, bigint) IS
    'Why a JSON value is too large to be stored, as the end of a sentence, or NULL: longer than so many bytes as text, nested deeper than 128 levels, or with a number of more than 1,000 digits before or after its point.';


-- For the triggers of the next migration, which belong to another role; what stays is declared with the other privileges.
GRANT EXECUTE ON FUNCTION our_schema.json_fault(jsonb, bigint) TO PUBLIC;

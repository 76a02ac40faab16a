-- Addresses that a token exempts from the limits per address while it lives, for load tests: {"from":["10.0.0.5"],"perSecond":200}.

ALTER TABLE tokens ADD COLUMN load_test TEXT CHECK (load_test IS NULL OR json_type(load_test) = 'object');

-- Read every second.
CREATE INDEX tokens_of_load_tests ON tokens (expires_at) WHERE load_test IS NOT NULL AND voided_at IS NULL;

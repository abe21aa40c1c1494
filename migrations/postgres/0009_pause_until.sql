-- The first pause that ends is found without reading all jobs.
CREATE INDEX job_paused_until ON job (paused_until) WHERE paused_until IS NOT NULL;

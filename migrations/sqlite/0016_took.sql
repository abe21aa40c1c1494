-- What an attempt took of its limits beside memory and requests: JSON, an amount by the key of the limit; NULL: nothing of
-- them, as of most.
ALTER TABLE done ADD COLUMN took TEXT;
ALTER TABLE attempt ADD COLUMN took TEXT;

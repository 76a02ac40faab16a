-- What an operator asks for later: the last change of a device, service or certificate holder, and when each node confirmed it. Code of
-- before writes neither.

-- Such as device/press-7; NULL for changes of other things.
ALTER TABLE registry_changes ADD COLUMN subject TEXT COLLATE "C";
CREATE INDEX registry_changes_by_subject ON registry_changes (subject, position) WHERE subject IS NOT NULL;

-- By the database's clock, ms.
ALTER TABLE change_confirmations ADD COLUMN at BIGINT;

-- Which keys of secrets a node has, by their marks, with blanks between: the key is replaced when every node has the new one.
ALTER TABLE node ADD COLUMN secret_keys TEXT COLLATE "C" NOT NULL DEFAULT '';

CREATE EXTENSION pg_stat_statements;
CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL);

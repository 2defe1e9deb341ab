CREATE TABLE half (id int);
CREATE TABEL other (id int);

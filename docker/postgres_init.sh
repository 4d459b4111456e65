#!/bin/sh
# Run once by the PostgreSQL image, on an empty data folder: the owner's login and the database.
# The owner runs migrations, which make the roles and the login of each process type, and backups, which need all rows.
set -eu

psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
    --set owner_password="$SLUICE_OWNER_PASSWORD" <<'SQL'
create role sluice_owner login createrole bypassrls password :'owner_password';
create database sluice owner sluice_owner template template0;
revoke all on database sluice from public;
SQL

#!/bin/sh
# Run once by the PostgreSQL image, on an empty data folder: the two logins and the database.
# The owner runs migrations and makes roles; the application's login owns nothing and inherits nothing.
set -eu

psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
    --set owner_password="$SLUICE_OWNER_PASSWORD" --set app_password="$SLUICE_APP_PASSWORD" <<'SQL'
create role sluice_owner login createrole password :'owner_password';
create role sluice_app login noinherit password :'app_password';
create database sluice owner sluice_owner template template0;
revoke all on database sluice from public;
grant connect on database sluice to sluice_app;
SQL

#!/bin/sh
# Prints .env.example with a fresh secret for each that is empty: sh docker/new_env.sh > docker/.env
set -eu
umask 077

random_hex() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# Thirty-two bytes in URL-safe base64, the form of a Fernet key.
random_key() { head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n'; }

while IFS= read -r line; do
    case "$line" in
    SLUICE_ENCRYPTION_KEYS=) printf '%s%s\n' "$line" "$(random_key)" ;;
    SLUICE_FLOWER_AUTH=) printf '%soperator:%s\n' "$line" "$(random_hex)" ;;
    *_PASSWORD= | SLUICE_METRICS_TOKEN= | SANDBOX_CONTROL_KEY=) printf '%s%s\n' "$line" "$(random_hex)" ;;
    *) printf '%s\n' "$line" ;;
    esac
done <"$(dirname "$0")/.env.example"

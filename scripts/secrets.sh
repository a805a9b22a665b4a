#!/usr/bin/env bash
# Creates what docker-compose.secure.yml mounts: an authority, a certificate for each server, and passwords, in
# deploy/secure/generated. Files that exist are kept, so running it again adds what is missing. Delete the folder to start again
# (the volumes, too: PostgreSQL keeps the password that it was created with).
# Failure: the message of openssl, exit code 1.
set -euo pipefail

DAYS=825
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=deploy/secure/generated

# Containers run as other users and read the files; the folder keeps other users of the host out.
mkdir -p "$out"
chmod 700 "$out"
umask 022

keep() { # keep FILE: writes standard input unless FILE exists; always consumes it
  if [ -s "$out/$1" ]; then cat >/dev/null; else cat >"$out/$1"; fi
}

certificate() { # certificate HOST
  [ -s "$out/$1.crt" ] && return
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$out/$1.key" -subj "/CN=$1" \
    -addext "subjectAltName=DNS:$1,DNS:localhost,IP:127.0.0.1" -out "$out/$1.csr" 2>/dev/null
  openssl x509 -req -in "$out/$1.csr" -CA "$out/ca.pem" -CAkey "$out/ca.key" -CAcreateserial -days "$DAYS" \
    -copy_extensions copy -out "$out/$1.crt" 2>/dev/null
  chmod 644 "$out/$1.key"
  rm "$out/$1.csr"
}

if [ ! -s "$out/ca.pem" ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$out/ca.key" -out "$out/ca.pem" \
    -subj "/CN=data-processing" -days "$DAYS" 2>/dev/null
fi
for host in kafka clickhouse postgres redis; do certificate "$host"; done
cat "$out/kafka.key" "$out/kafka.crt" | keep kafka.pem

for name in kafka clickhouse clickhouse-reader postgres redis redis-exporter; do
  openssl rand -hex 24 | tr -d '\n' | keep "$name-password"
done
secret() { cat "$out/$1-password"; }
hash() { printf %s "$(secret "$1")" | sha256sum | cut -d ' ' -f 1; }

printf 'postgresql://user:%s@postgres:5432/db?sslmode=verify-full' "$(secret postgres)" | keep postgres-dsn
printf 'rediss://pipeline:%s@redis:6379/0' "$(secret redis)" | keep redis-url
printf -- '--sasl.password=%s\n' "$(secret kafka)" | keep kafka-exporter-arguments
printf '{"rediss://redis:6379": "%s"}\n' "$(secret redis-exporter)" | keep redis-exporter-passwords.json
{
  echo '<clickhouse><users>'
  for user in pipeline=clickhouse reader=clickhouse-reader; do
    printf '<%s><password remove="remove"/><password_sha256_hex>%s</password_sha256_hex></%s>\n' \
      "${user%=*}" "$(hash "${user#*=}")" "${user%=*}"
  done
  echo '</users></clickhouse>'
} | keep clickhouse-users.xml
{
  # Unauthenticated clients may ask whether the server is alive.
  echo 'user default on nopass resetkeys resetchannels -@all +ping'
  # The rights of the services are those of docs/security.md.
  sed -n "s/^user dataproc on >app-secret/user pipeline on >$(secret redis)/p" docs/security.md
  echo "user exporter on >$(secret redis-exporter) resetkeys resetchannels -@all +ping +info +latency +slowlog +config|get +client|setname"
} | keep redis.acl

#!/bin/sh
# Starts the state server with one user for each process. Passwords come from files, one per user, and go to the server as
# digests only: start.sh CONFIG USERS SECRETS [SERVER]
#   CONFIG   valkey.conf
#   USERS    users.acl, in which @NAME@ stands for the digest of the password in SECRETS/valkey_NAME
#   SECRETS  folder of the password files
set -eu
config=$1 users=$2 secrets=$3 server=${4:-valkey-server}
umask 077
made=$(mktemp)
sed '/^#/d' "$users" >"$made"
for name in gateway worker admin probe; do
  file=$secrets/valkey_$name
  [ -s "$file" ] || { echo "start.sh: $file is missing or empty" >&2; exit 1; }
  digest=$(tr -d '\r\n' <"$file" | sha256sum | cut -d ' ' -f 1)
  sed "s/@$name@/#$digest/" "$made" >"$made.new"
  mv "$made.new" "$made"
done
exec "$server" "$config" --aclfile "$made"

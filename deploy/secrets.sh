#!/bin/sh
# Makes the secrets of a deployment, each once: what is there stays. deploy/secrets.sh [FOLDER] [HOST]
#   FOLDER  where to (default: deploy/secrets beside this script)
#   HOST    of the state server in the addresses that the processes get (default: valkey:6379)
# The pepper is for good: changing it starts every identity anew (docs/deployment.md, "Secrets").
set -eu
folder=${1:-$(dirname "$0")/secrets}
host=${2:-valkey:6379}
umask 077
mkdir -p "$folder"

random() { od -A n -t x1 -N 32 /dev/urandom | tr -d ' \n'; }
# once NAME VALUE. Containers read the files as users of their own, and the folder keeps everybody else out.
once() {
  [ -s "$folder/$1" ] || { printf '%s\n' "$2" >"$folder/$1"; echo "made $folder/$1"; }
  chmod 0444 "$folder/$1"
}

once pepper "$(random)"
once admin_token "$(random)"
once grafana_password "$(random)"
once valkey_probe "$(random)"
for name in gateway worker admin; do
  once "valkey_$name" "$(random)"
  once "redis_url_$name" "redis://$name:$(cat "$folder/valkey_$name")@$host/0"
done

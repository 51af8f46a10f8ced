#!/usr/bin/env bash
# A PostgreSQL server for tests and benches, new and empty, in a folder of its own.
#
#   xtask/postgres.sh [SETTING=VALUE...]
#
# Prints the connection string of its superuser as soon as it answers, and stops and removes itself when its
# standard input ends. It listens at a socket in its folder alone, so it takes no port. In CI it installs
# Debian's package if there is none; elsewhere it then ends with code 77 and says what is missing.
set -euo pipefail

binaries() {
  local found
  for found in /usr/lib/postgresql/*/bin "$(pg_config --bindir 2>/dev/null || true)" /opt/homebrew/bin; do
    if [ -x "$found/initdb" ] && [ -x "$found/postgres" ]; then echo "$found"; fi
  done | sort -V | tail -1
}

bin=$(binaries)
if [ -z "$bin" ] && [ "${CI:-}" = true ] && command -v apt-get > /dev/null; then
  { apt-get update -q && apt-get install -qy --no-install-recommends postgresql; } >&2
  bin=$(binaries)
fi
if [ -z "$bin" ]; then
  echo "there is no PostgreSQL server here (initdb and postgres); apt-get install postgresql brings one" >&2
  exit 77
fi

dir=$(mktemp -d "${TMPDIR:-/tmp}/khub-postgres.XXXXXX")
as=()
if [ "$(id -u)" = 0 ]; then
  # The server refuses to run as root.
  id -u postgres > /dev/null 2>&1 || useradd --system --no-create-home postgres
  chown postgres "$dir"
  as=(setpriv --reuid=postgres --regid="$(id -g postgres)" --clear-groups)
fi
chmod 755 "$dir"
"${as[@]}" "$bin/initdb" -D "$dir/data" -U khub --auth=trust -E UTF8 --locale=C --no-sync > /dev/null
settings=()
for setting in "$@"; do settings+=(-c "$setting"); done
"${as[@]}" "$bin/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= "${settings[@]}" > "$dir/log" 2>&1 &
server=$!
# Whoever started us may be gone, and nobody reads what is said then.
trap 'kill -INT $server 2> /dev/null || true; wait $server 2> /dev/null || true; rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM
until "$bin/pg_isready" -q -h "$dir"; do
  kill -0 $server 2> /dev/null || { cat "$dir/log" >&2; exit 1; }
  sleep 0.05
done
echo "postgresql:///postgres?user=khub&host=$dir"
cat > /dev/null

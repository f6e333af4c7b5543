#!/usr/bin/env bash
# Brings what the chart's tests need: Helm, built by Go, and Kubernetes' object schemas with a validator, as Python
# packages for $PYTHON (default: python3). Both land in $SLUICE_CACHE; what is there already stays.
set -euo pipefail

cache=${SLUICE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sluice}
python=${PYTHON:-python3}
helm=helm.sh/helm/v4/cmd/helm@v4.3.1
validate=kubernetes-validate==1.37.0

# made PLACE WHAT: whether PLACE was made from WHAT.
made() { [ "$(cat "$1/.made-from" 2>/dev/null)" = "$2" ]; }

mkdir -p "$cache/chart"
exec 9>"$cache/chart/.lock"
flock 9

if ! made "$cache/chart/helm" "$helm"; then
  echo "[setup] helm: building $helm" >&2
  GOBIN=$cache/chart/helm GOFLAGS=-buildvcs=false go install "$helm"
  echo "$helm" >"$cache/chart/helm/.made-from"
fi

# Compiled parts belong to one Python.
wanted="$validate $("$python" -c 'import sys; print(sys.version_info[:2])')"
if ! made "$cache/chart/python" "$wanted"; then
  rm -rf "$cache/chart/python"
  "$python" -m pip install -q --disable-pip-version-check --target "$cache/chart/python" "$validate"
  echo "$wanted" >"$cache/chart/python/.made-from"
fi

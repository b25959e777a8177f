#!/bin/sh
# Copies alerts and dashboards into the chart, which cannot read files beside it. With --check: says whether they are equal.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
equal=0
for pair in alerts:yaml dashboards:json; do
    kind=${pair%:*} ending=${pair#*:}
    from=$here/../grafana/$kind to=$here/hearth/files/$kind
    if [ "${1-}" = --check ]; then
        for file in "$from"/*."$ending" "$to"/*."$ending"; do
            [ -e "$file" ] || continue
            name=$(basename "$file")
            cmp -s "$from/$name" "$to/$name" || { echo "$kind/$name differs: run deploy/helm/sync-grafana.sh" >&2; equal=1; }
        done
        continue
    fi
    rm -rf "$to"
    for file in "$from"/*."$ending"; do
        [ -e "$file" ] || continue
        mkdir -p "$to" && cp "$file" "$to/"
    done
done
exit $equal

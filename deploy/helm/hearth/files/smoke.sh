#!/bin/sh
# Pushes a profile for each of two tenants through the gateway and asks until each reads back exactly its own total.
# Needs sh and wget alone. Arguments: URL of the gateway, the header that makes a request each tenant's, and `apart` where
# tenants are not told apart: each then has a service of its own.
set -eu
url=$1 header_a=$2 header_b=$3 apart=${4:-}
patience_s=${PATIENCE_S:-120}
start_s=$(date +%s)
service=helm-test-$start_s
# The certificate of a gateway is for the name that its clients use, not for that of its service.
case $url in https://*) unchecked=--no-check-certificate ;; *) unchecked= ;; esac

push() { # header, name, count of samples
    wget $unchecked -q -T 20 -O - --header "$1" --header 'Content-Type: text/plain' --post-data "main;work;inner $3" \
        "$url/ingest?name=$service${apart:+-$2}&format=folded&sampleRate=100&from=$((start_s - 10))&until=$start_s" >/dev/null
}

# Sum of CPU nanoseconds of the service, of all points; 0 if there are none.
total() { # header, name
    question="{\"profile_typeID\":\"process_cpu:cpu:nanoseconds:cpu:nanoseconds\",\"label_selector\":\"{service_name=\\\"$service${apart:+-$2}\\\"}\",\"start\":$((start_s - 600))000,\"end\":$((start_s + 600))000,\"step\":1200}"
    wget $unchecked -q -T 20 -O - --header "$1" --header 'Content-Type: application/json' --post-data "$question" \
        "$url/querier.v1.QuerierService/SelectSeries" |
        tr ',{}' '\n\n\n' | sed -n 's/^"value":"*\([0-9.e+]*\)"*$/\1/p' | awk '{sum += $1} END {printf "%.0f\n", sum}'
}

expect() { # name, header, nanoseconds
    while :; do
        got=$(total "$2" "$1") || got='no answer'
        [ "$got" != "$3" ] || { echo "tenant $1: $got, exactly"; return; }
        if [ $(($(date +%s) - start_s)) -gt "$patience_s" ]; then
            echo "tenant $1: read back $got of $service${apart:+-$1} and expected $3, after $patience_s s" >&2
            exit 1
        fi
        sleep 1
    done
}

# A sample at 100 Hz is 10 ms.
push "$header_a" a 41
push "$header_b" b 1300
expect a "$header_a" 410000000
expect b "$header_b" 13000000000

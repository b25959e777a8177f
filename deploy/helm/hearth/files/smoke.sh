#!/bin/sh
# Pushes for each of two tenants through the gateway, once as each kind of client does: folded text to /ingest, a pprof by the
# push RPC (JSON), and an OTLP export (JSON). Then asks until each reads back exactly its own.
# Needs sh and wget alone. Arguments: URL of the gateway, the header that makes a request each tenant's, and `apart` where
# tenants are not told apart: each then has services of its own.
set -eu
url=$1 header_a=$2 header_b=$3 apart=${4:-}
patience_s=${PATIENCE_S:-120}
start_s=$(date +%s)
# The certificate of a gateway is for the name that its clients use, not for that of its service.
case $url in https://*) unchecked=--no-check-certificate ;; *) unchecked= ;; esac

# One sample main;work;inner of 70 ms of CPU, and no time: it counts as taken when it comes.
pprof=CgQIARACEgsIAwgCCAEQgLuwISIGCAEiAggBKgQIARADIgYIAiICCAIqBAgCEAQiBggDIgIIAyoECAMQBTIAMgNjcHUyC25hbm9zZWNvbmRzMgRtYWluMgR3b3JrMgVpbm5lcloECAEQAmCAreIE
pprof_ns=70000000

# Of one tenant, by one way in.
service() { # tenant, way
    echo "helm-test-$start_s-$2${apart:+-$1}"
}

send() { # header, path, content type, body
    wget $unchecked -q -T 20 -O - --header "$1" --header "Content-Type: $3" --post-data "$4" "$url$2" >/dev/null
}

# A sample at 100 Hz is 10 ms.
by_ingest() { # header, tenant, samples
    send "$1" "/ingest?name=$(service "$2" ingest)&format=folded&sampleRate=100&from=$((start_s - 10))&until=$start_s" \
        text/plain "main;work;inner $3"
}

by_push() { # header, tenant
    send "$1" /push.v1.PusherService/Push application/json '{"series":[{"labels":[{"name":"__name__","value":"process_cpu"},
        {"name":"service_name","value":"'"$(service "$2" push)"'"}],"samples":[{"rawProfile":"'$pprof'"}]}]}'
}

# Counts of samples with a period of CPU time become CPU time.
by_otlp() { # header, tenant, samples
    send "$1" /v1development/profiles application/json '{"resourceProfiles":[{
        "resource":{"attributes":[{"key":"service.name","value":{"stringValue":"'"$(service "$2" otlp)"'"}}]},
        "scopeProfiles":[{"profiles":[{"sampleType":{"typeStrindex":1,"unitStrindex":2},"timeUnixNano":"'"$start_s"'000000000",
            "periodType":{"typeStrindex":3,"unitStrindex":4},"period":"10000000","samples":[{"stackIndex":1,"values":["'"$3"'"]}]}]}]}],
        "dictionary":{"stringTable":["","samples","count","cpu","nanoseconds","main","work","inner"],
            "functionTable":[{},{"nameStrindex":5},{"nameStrindex":6},{"nameStrindex":7}],
            "locationTable":[{},{"lines":[{"functionIndex":1}]},{"lines":[{"functionIndex":2}]},{"lines":[{"functionIndex":3}]}],
            "stackTable":[{},{"locationIndices":[3,2,1]}]}}'
}

push() { # header, tenant, samples by /ingest, samples by OTLP
    by_ingest "$1" "$2" "$3" || refused "$2" /ingest
    by_push "$1" "$2" || refused "$2" 'the push RPC'
    by_otlp "$1" "$2" "$4" || refused "$2" OTLP
}

refused() { # tenant, way
    echo "tenant $1: a profile was not taken by $2" >&2
    exit 1
}

# Sum of CPU nanoseconds of a service, of all points; 0 if there are none.
total() { # header, service
    question="{\"profile_typeID\":\"process_cpu:cpu:nanoseconds:cpu:nanoseconds\",\"label_selector\":\"{service_name=\\\"$2\\\"}\",\"start\":$((start_s - 600))000,\"end\":$((start_s + 600))000,\"step\":1200}"
    wget $unchecked -q -T 20 -O - --header "$1" --header 'Content-Type: application/json' --post-data "$question" \
        "$url/querier.v1.QuerierService/SelectSeries" |
        tr ',{}' '\n\n\n' | sed -n 's/^"value":"*\([0-9.e+]*\)"*$/\1/p' | awk '{sum += $1} END {printf "%.0f\n", sum}'
}

await() { # header, service, nanoseconds
    while :; do
        got=$(total "$1" "$2") || got='no answer'
        [ "$got" != "$3" ] || return 0
        if [ $(($(date +%s) - start_s)) -gt "$patience_s" ]; then
            echo "read back $got of $2 and expected $3, after $patience_s s" >&2
            exit 1
        fi
        sleep 1
    done
}

expect() { # header, tenant, samples by /ingest, samples by OTLP
    await "$1" "$(service "$2" ingest)" "${3}0000000"
    await "$1" "$(service "$2" push)" "$pprof_ns"
    await "$1" "$(service "$2" otlp)" "${4}0000000"
    echo "tenant $2: ${3}0000000 by /ingest, $pprof_ns by push, ${4}0000000 by OTLP, exactly"
}

push "$header_a" a 41 9
push "$header_b" b 1300 17
expect "$header_a" a 41 9
expect "$header_b" b 1300 17

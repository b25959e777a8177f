{{/* What a schema cannot say: values that do not go together, and defaults that would lose data. */}}
{{- define "hearth.validate" -}}
{{- $v := .Values -}}
{{- $cluster := ne $v.mode "single" -}}
{{- $r := $v.retention -}}
{{- if and (not $r.default) (not $r.keepForever) -}}
{{- fail "retention: say how long profiles are kept, retention.default=30d, or that they all are, retention.keepForever=true" -}}
{{- end -}}
{{- if and $r.default $r.keepForever -}}
{{- fail (printf "retention: retention.default is %s and retention.keepForever is true: set one of them" $r.default) -}}
{{- end -}}
{{- range $key := list "compactor_blocks_retention_period" "retention_period" -}}
{{- if hasKey (default dict $v.config.limits) $key -}}
{{- fail (printf "config.limits.%s: set retention.default instead, it would win" $key) -}}
{{- end -}}
{{- end -}}
{{- range $key := list "listen" "data_dir" "object_store" "multitenancy" "overrides_file" "zone" "instance_id" "replication_factor" "gossip" -}}
{{- if hasKey $v.config $key -}}
{{- fail (printf "config.%s: the chart says it itself, by the value of that name, and would win over it: remove it from config" $key) -}}
{{- end -}}
{{- end -}}
{{- if hasKey $v.config "shutdown_delay" -}}
{{- fail "config.shutdown_delay: the time until pods are killed would not count it; set shutdown.sleepSeconds instead, the same pause before SIGTERM" -}}
{{- end -}}
{{- $said := dict "log.level" "log.level" "log.format" "log.format" "cluster.id" "clusterId" "cluster.listen" "ipv6" "cluster.advertise" "ingester.extraArgs" "cluster.tls" "clusterTls.enabled" "querier.allow_partial" "querier.allowPartial" "querier.disk_cache" "querier.diskCache" "compactor.memory_budget" "compactor.memoryBudget" "ingester.flush_timeout" "shutdown.flushSeconds" -}}
{{- range $key, $value := $said -}}
{{- $at := splitList "." $key -}}
{{- if hasKey (default dict (get $v.config (index $at 0))) (index $at 1) -}}
{{- fail (printf "config.%s: set %s instead, it would win" $key $value) -}}
{{- end -}}
{{- end -}}
{{- if and $v.querier.diskCache.enabled (hasKey (default dict $v.config.querier) "disk_cache_bytes") -}}
{{- fail "config.querier.disk_cache_bytes: set querier.diskCache.size instead, it would win" -}}
{{- end -}}
{{- if and $v.existingConfig $v.config -}}
{{- fail (printf "existingConfig is %s, so nobody would read config: set one of them" $v.existingConfig) -}}
{{- end -}}
{{- if and $v.networkPolicy.cilium.objectStoreFQDNs (ne $v.networkPolicy.flavor "cilium") -}}
{{- fail "networkPolicy.cilium.objectStoreFQDNs is set and networkPolicy.flavor is kubernetes, which knows no names: set flavor=cilium, or use objectStoreTo" -}}
{{- end -}}
{{- include "hearth.validateStore" . -}}
{{- if $v.devObjectStore.enabled }}{{ include "hearth.validateDevStore" . }}{{ end -}}
{{- include "hearth.validateScaling" . -}}
{{- if $cluster }}{{ include "hearth.validateCluster" . }}{{ else -}}
{{- if and (not $v.single.persistence.enabled) (not $v.single.allowEphemeralWal) -}}
{{- fail "single.persistence.enabled is false: acknowledged profiles would be lost with the pod; if that is wanted, set single.allowEphemeralWal=true" -}}
{{- end -}}
{{- end -}}
{{- if and $v.grafanaDataSource.tenants (not $v.multitenancy) -}}
{{- fail "grafanaDataSource.tenants names tenants and multitenancy is false: there is one tenant, and one data source; leave tenants empty" -}}
{{- end -}}
{{- if $v.gateway.enabled }}{{ include "hearth.validateGateway" . }}
{{- else if or $v.ingress.enabled $v.httpRoute.enabled $v.grafanaDataSource.enabled $v.canary.enabled -}}
{{- fail "ingress, httpRoute, grafanaDataSource and canary need the gateway, and gateway.enabled is false: enable it, or disable them" -}}
{{- end -}}
{{- end -}}

{{- define "hearth.validateStore" -}}
{{- $v := .Values -}}
{{- $store := $v.objectStore -}}
{{- if not $store.type -}}
{{- fail "objectStore.type is empty: set s3, gcs, azure or file" -}}
{{- end -}}
{{- if and (ne $store.type "file") (not $store.bucket) -}}
{{- fail (printf "objectStore.bucket is empty: a store of type %s needs one" $store.type) -}}
{{- end -}}
{{- if and (eq $store.type "file") (ne $v.mode "single") (not $store.file.existingClaim) -}}
{{- fail "objectStore.file.existingClaim is empty: in microservices all pods mount one volume (ReadWriteMany) as store; name its claim, or use a bucket" -}}
{{- end -}}
{{- if and (include "hearth.inlineStore" .) (not $v.allowInlineSecrets) -}}
{{- fail "objectStore has credentials in values, where everybody sees them who may read releases: put them into a Secret and name it in objectStore.existingSecret, or set allowInlineSecrets=true for a test" -}}
{{- end -}}
{{- if and (include "hearth.inlineStore" .) $store.existingSecret -}}
{{- fail (printf "objectStore.existingSecret is %s and credentials stand in values, too: remove one of them" $store.existingSecret) -}}
{{- end -}}
{{- end -}}

{{- define "hearth.validateDevStore" -}}
{{- $store := .Values.objectStore -}}
{{- if ne $store.type "s3" -}}
{{- fail (printf "devObjectStore.enabled is true and objectStore.type is %s: it is an S3 server, set objectStore.type=s3" $store.type) -}}
{{- end -}}
{{- if $store.s3.endpoint -}}
{{- fail (printf "devObjectStore.enabled is true and objectStore.s3.endpoint is %s: there are two stores; remove one of them" $store.s3.endpoint) -}}
{{- end -}}
{{- if not (regexMatch "^[a-z0-9][a-z0-9.-]*$" $store.bucket) -}}
{{- fail (printf "objectStore.bucket is %s: a bucket is a folder here, of small letters, digits, dots and dashes" $store.bucket) -}}
{{- end -}}
{{- if not (include "hearth.storeSecret" .) -}}
{{- fail "devObjectStore needs credentials: name a Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in objectStore.existingSecret, or set objectStore.s3.accessKeyId and secretAccessKey with allowInlineSecrets=true" -}}
{{- end -}}
{{- if and (include "hearth.inlineStore" .) (not (and $store.s3.accessKeyId $store.s3.secretAccessKey)) -}}
{{- fail "devObjectStore needs both objectStore.s3.accessKeyId and objectStore.s3.secretAccessKey" -}}
{{- end -}}
{{- end -}}

{{- define "hearth.validateCluster" -}}
{{- $v := .Values -}}
{{- $i := $v.ingester -}}
{{- $zones := len $v.zones -}}
{{- if gt (int $v.replicationFactor) (int $i.replicas) -}}
{{- fail (printf "replicationFactor is %d and ingester.replicas is %d: each profile is kept on as many ingesters as the factor, so at least as many are needed" (int $v.replicationFactor) (int $i.replicas)) -}}
{{- end -}}
{{- if and (not $i.persistence.enabled) (not $i.allowEphemeralWal) -}}
{{- fail "ingester.persistence.enabled is false: a lost pod would lose acknowledged profiles; if that is wanted, set ingester.allowEphemeralWal=true" -}}
{{- end -}}
{{- if and $zones (ne 0 (mod (int $i.replicas) $zones)) -}}
{{- fail (printf "ingester.replicas is %d and there are %d zones: make it a multiple, so that each zone has as many" (int $i.replicas) $zones) -}}
{{- end -}}
{{- if and (eq $zones 2) (eq (int $v.replicationFactor) 3) -}}
{{- fail "zones has 2 and replicationFactor is 3: one zone would have two of three copies, and its loss would stop pushes; use three zones, or none" -}}
{{- end -}}
{{- range $zone := $v.zones -}}
{{- $name := printf "%s-ingester-%s" (include "hearth.fullname" $) $zone -}}
{{- if gt (len $name) 52 -}}
{{- fail (printf "the StatefulSet %s would have %d letters and 52 are the most: set a shorter fullnameOverride" $name (len $name)) -}}
{{- end -}}
{{- end -}}
{{- $t := $v.clusterTls -}}
{{- if and $t.enabled (not $t.secretName) (not $t.certManager.enabled) -}}
{{- fail "clusterTls.enabled is true: name a Secret in clusterTls.secretName, or let cert-manager make it, clusterTls.certManager.enabled=true" -}}
{{- end -}}
{{- if and $t.enabled $t.certManager.enabled (not $t.certManager.issuerRef.name) -}}
{{- fail "clusterTls.certManager.issuerRef.name is empty: name the issuer that signs certificates of the cluster" -}}
{{- end -}}
{{- end -}}

{{- define "hearth.validateScaling" -}}
{{- $v := .Values -}}
{{- range $role := list "gateway" "distributor" "querier" "compactor" -}}
{{- $a := (get $v $role).autoscaling -}}
{{- if and $a.enabled $a.keda.enabled -}}
{{- fail (printf "%s.autoscaling.enabled and %s.autoscaling.keda.enabled are true: two autoscalers would fight over one Deployment; enable one" $role $role) -}}
{{- end -}}
{{- if and $a.keda.enabled (not $a.keda.triggers) -}}
{{- fail (printf "%s.autoscaling.keda.triggers is empty: KEDA needs at least one" $role) -}}
{{- end -}}
{{- if gt (int $a.minReplicas) (int $a.maxReplicas) -}}
{{- fail (printf "%s.autoscaling.minReplicas is %d, above maxReplicas, %d" $role (int $a.minReplicas) (int $a.maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "hearth.validateGateway" -}}
{{- $g := .Values.gateway -}}
{{- $a := $g.auth -}}
{{- if ne $a.type "none" -}}
{{- if not .Values.multitenancy -}}
{{- fail (printf "gateway.auth.type is %s and multitenancy is false: the tenant of a credential would be ignored; set multitenancy=true" $a.type) -}}
{{- end -}}
{{- if eq $a.type "forward" }}{{ include "hearth.validateForward" . }}{{ else if and (not $a.existingSecret) (not $a.inline) -}}
{{- fail (printf "gateway.auth.type is %s: name a Secret with %s in gateway.auth.existingSecret" $a.type (ternary "htpasswd" "tokens.map" (eq $a.type "basic"))) -}}
{{- end -}}
{{- if and $a.existingSecret $a.inline -}}
{{- fail (printf "gateway.auth.existingSecret is %s and gateway.auth.inline is set, too: remove one of them" $a.existingSecret) -}}
{{- end -}}
{{- if and $a.inline (not .Values.allowInlineSecrets) -}}
{{- fail "gateway.auth.inline stands in values, where everybody sees it who may read releases: put it into a Secret and name it in gateway.auth.existingSecret, or set allowInlineSecrets=true for a test" -}}
{{- end -}}
{{- if and (eq $a.type "basic") (not $a.users) -}}
{{- fail "gateway.auth.users is empty: say which user is which tenant, such as {alice: team-a}" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.canary.enabled (ne $a.type "none") (not .Values.canary.existingSecret) -}}
{{- fail (printf "canary.existingSecret is empty and gateway.auth.type is %s: name a Secret with %s" $a.type (ternary "user and password" "token" (eq $a.type "basic"))) -}}
{{- end -}}
{{- if and .Values.canary.enabled (eq $a.type "none") .Values.canary.existingSecret -}}
{{- fail "canary.existingSecret is set and gateway.auth.type is none: nobody asks for credentials; remove it" -}}
{{- end -}}
{{- $canaryUrl := default (ternary "https:" "http:" $g.tls.enabled) .Values.canary.url -}}
{{- if and .Values.canary.caSecret (not (hasPrefix "https:" $canaryUrl)) -}}
{{- fail (printf "canary.caSecret is %s and the canary's address begins with %s: without TLS there is no certificate; remove it, or set gateway.tls or canary.url" .Values.canary.caSecret $canaryUrl) -}}
{{- end -}}
{{- if and $g.tls.enabled (not $g.tls.secretName) -}}
{{- fail "gateway.tls.enabled is true: name a Secret with tls.crt and tls.key in gateway.tls.secretName" -}}
{{- end -}}
{{- end -}}

{{- define "hearth.validateForward" -}}
{{- $a := .Values.gateway.auth -}}
{{- if not $a.forward.url -}}
{{- fail "gateway.auth.forward.url is empty: name the URL that says whose a request is, such as http://auth.example:8080/verify" -}}
{{- end -}}
{{- if or $a.existingSecret $a.inline $a.users -}}
{{- fail "gateway.auth.type is forward: the URL says who is which tenant, so leave gateway.auth.existingSecret, inline and users empty" -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.gatewayEgress) -}}
{{- fail (printf "gateway.auth.type is forward and networkPolicy.gatewayEgress is empty: the gateway could not reach %s; allow it" $a.forward.url) -}}
{{- end -}}
{{- end -}}

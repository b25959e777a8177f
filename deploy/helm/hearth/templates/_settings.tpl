{{/* From values to flags and environment of Hearth's processes. */}}

{{- define "hearth.objectStoreUrl" -}}
{{- $store := .Values.objectStore -}}
{{- $prefix := trimAll "/" $store.prefix -}}
{{- if eq $store.type "file" -}}
  {{- if $store.file.existingClaim -}}file://{{ $store.file.path }}{{ with $prefix }}/{{ . }}{{ end }}
  {{- else -}}file:///data/store{{- end -}}
{{- else -}}
{{- get (dict "s3" "s3" "gcs" "gs" "azure" "az") $store.type }}://{{ $store.bucket }}{{ with $prefix }}/{{ . }}{{ end }}
{{- end -}}
{{- end -}}

{{/* Secret with credentials of the object store, if there is one. */}}
{{- define "hearth.storeSecret" -}}
{{- $store := .Values.objectStore -}}
{{- if $store.existingSecret -}}{{ $store.existingSecret }}
{{- else if include "hearth.inlineStore" . -}}{{ include "hearth.fullname" . }}-object-store{{- end -}}
{{- end -}}

{{/* Not empty if values have credentials of the store. */}}
{{- define "hearth.inlineStore" -}}
{{- $store := .Values.objectStore -}}
{{- with (coalesce $store.s3.accessKeyId $store.s3.secretAccessKey $store.gcs.serviceAccountKey $store.azure.accountKey) }}inline{{ end -}}
{{- end -}}

{{/* Environment of a container of Hearth. Arguments: root, values, gossip, zone, variables (name to value: those that the
     chart computes; extraEnv wins). */}}
{{- define "hearth.env" -}}
{{- $v := .root.Values -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
{{- if and .gossip (not .zone) $v.zoneFromNodes }}
# Kubernetes copies it from the node; empty where it does not.
- name: HEARTH_ZONE
  valueFrom: {fieldRef: {fieldPath: "metadata.labels['topology.kubernetes.io/zone']"}}
{{- end }}
- name: HEARTH_MULTITENANCY
  value: {{ $v.multitenancy | quote }}
- name: HEARTH_LIMITS_COMPACTOR_BLOCKS_RETENTION_PERIOD
  value: {{ ternary "0" $v.retention.default $v.retention.keepForever | quote }}
- name: HEARTH_INGESTER_FLUSH_TIMEOUT
  value: {{ printf "%ds" (int $v.shutdown.flushSeconds) }}
- name: HEARTH_OVERRIDES_FILE
  value: /etc/hearth/overrides/overrides.yaml
{{- if eq $v.objectStore.type "s3" }}
{{- with $v.objectStore.s3.region }}
- {name: AWS_REGION, value: {{ . | quote }}}
{{- end }}
{{- if $v.devObjectStore.enabled }}
- {name: AWS_ENDPOINT_URL, value: {{ printf "http://%s:7070" (include "hearth.address" (dict "root" .root "name" "object-store")) | quote }}}
{{- else if $v.objectStore.s3.endpoint }}
- {name: AWS_ENDPOINT_URL, value: {{ $v.objectStore.s3.endpoint | quote }}}
{{- end }}
{{- if or $v.devObjectStore.enabled $v.objectStore.s3.allowHttp }}
- {name: AWS_ALLOW_HTTP, value: "true"}
{{- end }}
{{- else if eq $v.objectStore.type "azure" }}
{{- with $v.objectStore.azure.accountName }}
- {name: AZURE_STORAGE_ACCOUNT_NAME, value: {{ . | quote }}}
{{- end }}
{{- end }}
{{- $own := concat $v.extraEnv .values.extraEnv }}
{{- $said := list }}
{{- range $own }}{{ $said = append $said .name }}{{ end }}
{{- range $name, $value := .variables }}
{{- if not (has $name $said) }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}
{{- with $own }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Sources of environment. Arguments: root, values. */}}
{{- define "hearth.envFrom" -}}
{{- with include "hearth.storeSecret" .root }}
- secretRef: {name: {{ . }}}
{{- end }}
{{- with concat .root.Values.extraEnvFrom .values.extraEnvFrom }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Flags that every process has, as YAML. */}}
{{- define "hearth.commonFlags" -}}
listen: {{ printf "%s:4040" (include "hearth.any" .) | quote }}
config: /etc/hearth/config/hearth.yaml
object-store: {{ include "hearth.objectStoreUrl" . | quote }}
log-level: {{ .Values.log.level | quote }}
log-format: {{ .Values.log.format | quote }}
{{- end -}}

{{/* Flags that every process of a cluster has, as YAML. */}}
{{- define "hearth.clusterFlags" -}}
{{ include "hearth.commonFlags" . }}
instance-id: "$(POD_NAME)"
replication-factor: {{ int .Values.replicationFactor }}
cluster.id: {{ include "hearth.clusterId" . | quote }}
cluster.listen: {{ printf "%s:9095" (include "hearth.any" .) | quote }}
cluster.advertise: "$(POD_IP)"
gossip.listen: {{ printf "%s:7946" (include "hearth.any" .) | quote }}
gossip.seeds: {{ printf "%s:7946" (include "hearth.address" (dict "root" . "name" "gossip")) | quote }}
{{- if .Values.clusterTls.enabled }}
cluster.tls.enabled: true
cluster.tls.cert-file: /etc/hearth/tls/tls.crt
cluster.tls.key-file: /etc/hearth/tls/tls.key
cluster.tls.ca-file: /etc/hearth/tls/ca.crt
cluster.tls.server-name: {{ .Values.clusterTls.serverName | quote }}
{{- end }}
{{- end -}}

{{/* A list of arguments. A flag in extraArgs replaces a computed one; one without a value stands alone.
     Arguments: root, values, flags (YAML). */}}
{{- define "hearth.args" -}}
{{- $flags := mustMergeOverwrite (fromYaml .flags) (deepCopy .root.Values.extraArgs) (deepCopy .values.extraArgs) -}}
{{- range $name := keys $flags | sortAlpha }}
{{- $value := get $flags $name }}
- {{ ternary (printf "--%s" $name) (printf "--%s=%s" $name (toString $value)) (or (kindIs "invalid" $value) (eq (toString $value) "")) | quote }}
{{- end }}
{{- end -}}

{{/* Bytes of a quantity of Kubernetes, rounded down; 0 if there is none. Arguments: quantity, key (the value that has it),
     advice (what else can be said). */}}
{{- define "hearth.bytes" -}}
{{- $text := ternary (printf "%.0f" (float64 .quantity)) (toString .quantity) (or (kindIs "float64" .quantity) (kindIs "int64" .quantity) (kindIs "int" .quantity)) -}}
{{- $unit := regexReplaceAll "^[0-9.]+" $text "" -}}
{{- $units := dict "" 1 "k" 1000 "Ki" 1024 "M" 1000000 "Mi" 1048576 "G" 1000000000 "Gi" 1073741824 "T" 1000000000000 "Ti" 1099511627776 -}}
{{- if not $text -}}0
{{- else if and (regexMatch "^[0-9]+(\\.[0-9]+)?[A-Za-z]*$" $text) (hasKey $units $unit) -}}
{{- mulf (float64 (trimSuffix $unit $text)) (get $units $unit) | int64 -}}
{{- else -}}
{{- fail (printf "%s is %s: say it in Mi or Gi, such as 2Gi, or set %s" .key $text .advice) -}}
{{- end -}}
{{- end -}}

{{/* Bytes that queriers keep on their cache volume: nine tenths of it, for beyond its limit the pod is evicted. */}}
{{- define "hearth.diskCacheBytes" -}}
{{- $size := .Values.querier.diskCache.size -}}
{{- $bytes := include "hearth.bytes" (dict "quantity" $size "key" "querier.diskCache.size" "advice" "querier.diskCache.enabled=false") | int64 -}}
{{- $bytes = div (mul $bytes 9) 10 -}}
{{- if lt $bytes 134217728 -}}
{{- fail (printf "querier.diskCache.size is %s: nine tenths of it are the cache, which takes at least 128MiB; set 150Mi or more, or enabled=false" $size) -}}
{{- end -}}
{{- $bytes -}}
{{- end -}}

{{/* Most bytes of the log, by the disk that it lies on: a share of the disk leaves room for what lies beside it, and for
     wal.reserve_bytes. Empty if somebody else says it, or if there is no disk. Arguments: root, persistence, key (of its size),
     share (quarters), most (bytes; 0: no matter). */}}
{{- define "hearth.walQuotaBytes" -}}
{{- $v := .root.Values -}}
{{- if and .persistence.enabled (not $v.existingConfig) (not (dig "wal" "quota_bytes" "" $v.config)) -}}
{{- $bytes := include "hearth.bytes" (dict "quantity" .persistence.size "key" .key "advice" "config.wal.quota_bytes") | int64 -}}
{{- $bytes = div (mul $bytes .share) 4 -}}
{{- if lt $bytes 536870912 -}}
{{- fail (printf "%s is %s: the log would get %d quarters of it and needs 512MiB; set %s or more, or say yourself what it may take, config.wal.quota_bytes" .key .persistence.size (int .share) (ternary "1Gi" "2Gi" (gt (int .share) 1))) -}}
{{- end -}}
{{- if .most }}{{ $bytes = min $bytes .most }}{{ end -}}
{{- $bytes -}}
{{- end -}}
{{- end -}}

{{/* Memory budget of merges: what is said, or three quarters of the limit less what the process needs beside it. */}}
{{- define "hearth.memoryBudget" -}}
{{- $limit := dig "limits" "memory" "" .resources -}}
{{- $mebibytes := 0 -}}
{{- if not .memoryBudget }}
{{- $mebibytes = div (include "hearth.bytes" (dict "quantity" $limit "key" "compactor.resources.limits.memory" "advice" "compactor.memoryBudget") | int64) 1048576 }}
{{- end -}}
{{- if .memoryBudget -}}{{ .memoryBudget }}
{{- else if gt $mebibytes 0 -}}{{ max 64 (sub (div (mul $mebibytes 3) 4) 128) }}MiB
{{- else -}}512MiB{{- end -}}
{{- end -}}

{{/* The settings file. */}}
{{- define "hearth.configText" -}}
{{- if .Values.config }}{{ toYaml .Values.config }}{{ else }}# All settings have their defaults, or stand in flags and variables.{{ end -}}
{{- end -}}

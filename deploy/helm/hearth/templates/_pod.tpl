{{/* Pods of Hearth's processes. */}}

{{/* Seconds from the wish to stop to SIGKILL: the pause, requests under way, publishing, a margin. */}}
{{- define "hearth.graceSeconds" -}}
{{- $s := .Values.shutdown -}}
{{ add (int $s.sleepSeconds) (int $s.drainSeconds) (int $s.flushSeconds) (int $s.marginSeconds) }}
{{- end -}}

{{/* The three probes. Arguments: common (fields of all), own (of the role), live, ready, port, scheme. */}}
{{- define "hearth.probes" -}}
{{- $ctx := . -}}
{{- range $kind := list "startup" "liveness" "readiness" }}
{{- $path := ternary $ctx.ready $ctx.live (eq $kind "readiness") }}
{{- $get := dict "httpGet" (dict "path" $path "port" $ctx.port "scheme" ($ctx.scheme | default "HTTP")) }}
{{- $fields := mustMergeOverwrite $get (deepCopy (get $ctx.common $kind)) (deepCopy (get $ctx.own $kind | default dict)) }}
{{ $kind }}Probe:
  {{- toYaml $fields | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Where pods of a role go. Arguments: root, role, values, zone (may be empty). */}}
{{- define "hearth.placement" -}}
{{- $selector := dict "matchLabels" (include "hearth.selector" . | fromYaml) -}}
{{- $v := .values -}}
{{- with $v.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- $term := dict "labelSelector" $selector "topologyKey" "kubernetes.io/hostname" }}
{{- $soft := dict "podAntiAffinity" (dict "preferredDuringSchedulingIgnoredDuringExecution" (list (dict "weight" 100 "podAffinityTerm" $term))) }}
{{- $affinity := deepCopy (default $soft $v.affinity) }}
{{- if .zone }}
{{- $in := dict "key" $v.zoneTopologyKey "operator" "In" "values" (list .zone) }}
{{- /* Nodes of the zone that also fit what values ask of nodes: each of their terms is one way to fit. */}}
{{- $required := dig "nodeAffinity" "requiredDuringSchedulingIgnoredDuringExecution" "nodeSelectorTerms" (list dict) $affinity }}
{{- $terms := list }}
{{- range $required }}
{{- $terms = append $terms (mustMergeOverwrite (deepCopy .) (dict "matchExpressions" (append (default list .matchExpressions) $in))) }}
{{- end }}
{{- $node := dict "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $terms) }}
{{- $affinity = mustMergeOverwrite $affinity (dict "nodeAffinity" $node) }}
{{- end }}
affinity:
  {{- toYaml $affinity | nindent 2 }}
{{- $spread := list }}
{{- $keys := ternary (list "kubernetes.io/hostname") (list "topology.kubernetes.io/zone" "kubernetes.io/hostname") (not (empty .zone)) }}
{{- range $keys }}
{{- $spread = append $spread (dict "maxSkew" 1 "topologyKey" . "whenUnsatisfiable" "ScheduleAnyway" "labelSelector" $selector) }}
{{- end }}
topologySpreadConstraints:
  {{- toYaml (default $spread $v.topologySpreadConstraints) | nindent 2 }}
{{- end -}}

{{/* Volumes that all processes of Hearth have. Arguments: root, values. */}}
{{- define "hearth.volumes" -}}
{{- $root := .root -}}
{{- $name := default (printf "%s-config" (include "hearth.fullname" $root)) $root.Values.existingConfig -}}
- name: config
  {{- if eq $root.Values.configStorage "Secret" }}
  secret: {secretName: {{ $name }}}
  {{- else }}
  configMap: {name: {{ $name }}}
  {{- end }}
- name: overrides
  configMap: {name: {{ include "hearth.fullname" $root }}-overrides}
- name: tmp
  emptyDir: {}
{{- if and $root.Values.clusterTls.enabled (ne $root.Values.mode "single") }}
- name: cluster-tls
  secret: {secretName: {{ default (printf "%s-cluster-tls" (include "hearth.fullname" $root)) $root.Values.clusterTls.secretName }}, defaultMode: 0440}
{{- end }}
{{- if and (eq $root.Values.objectStore.type "file") $root.Values.objectStore.file.existingClaim }}
- name: store
  persistentVolumeClaim: {claimName: {{ $root.Values.objectStore.file.existingClaim }}}
{{- end }}
{{- with concat $root.Values.extraVolumes .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Their mounts. Whole folders: a file mounted by subPath would never change. Arguments: root, values. */}}
{{- define "hearth.mounts" -}}
- {name: config, mountPath: /etc/hearth/config, readOnly: true}
- {name: overrides, mountPath: /etc/hearth/overrides, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if and .root.Values.clusterTls.enabled (ne .root.Values.mode "single") }}
- {name: cluster-tls, mountPath: /etc/hearth/tls, readOnly: true}
{{- end }}
{{- if and (eq .root.Values.objectStore.type "file") .root.Values.objectStore.file.existingClaim }}
- {name: store, mountPath: {{ .root.Values.objectStore.file.path | quote }}}
{{- end }}
{{- with concat .root.Values.extraVolumeMounts .values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A pod template. Arguments: root, role, values, command (list), flags (YAML), gossip (bool), zone, set (name of
     a zone's StatefulSet), variables (those of hearth.env), volumes, mounts. */}}
{{- define "hearth.pod" -}}
{{- $root := .root -}}
{{- $v := .values -}}
metadata:
  labels:
    {{- include "hearth.selector" . | nindent 4 }}
    {{- with $root.Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- if .gossip }}
    hearth/gossip-member: "true"
    {{- end }}
    {{- with .zone }}
    hearth/zone: {{ . | quote }}
    {{- end }}
    {{- with .set }}
    name: {{ . | quote }}
    {{- end }}
    {{- with $v.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ include "hearth.configText" $root | sha256sum }}
    {{- with $root.Values.commonAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- with $v.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "hearth.serviceAccountName" . }}
  automountServiceAccountToken: false
  # Variables of services, HEARTH_…, would look like settings.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "hearth.graceSeconds" $root }}
  securityContext:
    {{- toYaml $root.Values.podSecurityContext | nindent 4 }}
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- include "hearth.placement" . | trim | nindent 2 }}
  {{- with $v.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .role }}
      image: {{ include "hearth.image" $root | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      command: {{ toJson .command }}
      args:
        {{- include "hearth.args" . | trim | nindent 8 }}
      env:
        {{- include "hearth.env" . | nindent 8 }}
      {{- with include "hearth.envFrom" . | trim }}
      envFrom:
        {{- . | nindent 8 }}
      {{- end }}
      ports:
        - {name: http, containerPort: 4040}
        {{- if .gossip }}
        - {name: cluster, containerPort: 9095}
        - {name: gossip, containerPort: 7946, protocol: UDP}
        {{- end }}
      lifecycle:
        # Ready endpoints forget the pod meanwhile; SIGTERM then publishes everything by itself.
        preStop: {sleep: {seconds: {{ $root.Values.shutdown.sleepSeconds }}}}
      {{- include "hearth.probes" (dict "common" $root.Values.probes "own" $v.probes "live" "/healthz" "ready" "/ready" "port" "http") | trim | nindent 6 }}
      resources:
        {{- toYaml $v.resources | nindent 8 }}
      securityContext:
        {{- toYaml $root.Values.securityContext | nindent 8 }}
      volumeMounts:
        {{- include "hearth.mounts" . | nindent 8 }}
        {{- with .mounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with $v.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "hearth.volumes" . | nindent 4 }}
    {{- with .volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

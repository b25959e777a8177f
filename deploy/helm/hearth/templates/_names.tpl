{{/* Names, labels and addresses. */}}

{{- define "hearth.fullname" -}}
{{- $chart := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}{{ .Values.fullnameOverride | trunc 36 | trimSuffix "-" }}
{{- else if contains $chart .Release.Name -}}{{ .Release.Name | trunc 36 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name $chart | trunc 36 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{/* The cluster's name in gossip: letters, digits and -_. only, so no slash between namespace and name. */}}
{{- define "hearth.clusterId" -}}
{{- default (printf "%s.%s" .Release.Namespace (include "hearth.fullname" .)) .Values.clusterId | trunc 100 -}}
{{- end -}}

{{/* Labels by which pods are found: they never change. Arguments: root, role. */}}
{{- define "hearth.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .role }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{/* Labels of an object. Arguments: root, role (may be empty). */}}
{{- define "hearth.labels" -}}
{{ include "hearth.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Name, namespace, labels: the head of most objects. Arguments: root, role, name (behind the full name). */}}
{{- define "hearth.metadata" -}}
name: {{ include "hearth.fullname" .root }}{{ with .name }}-{{ . }}{{ end }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "hearth.labels" . | nindent 2 }}
{{- end -}}

{{/* registry/repository:tag or @digest. Arguments: image, version. */}}
{{- define "hearth.imageOf" -}}
{{- with .image.registry }}{{ . }}/{{ end -}}
{{- .image.repository -}}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .version }}{{ end -}}
{{- end -}}

{{- define "hearth.image" -}}
{{- include "hearth.imageOf" (dict "image" .Values.image "version" .Chart.AppVersion) -}}
{{- end -}}

{{/* A name in this namespace, whole: resolvers of nginx and gossip do not know search domains. Arguments: root, name. */}}
{{- define "hearth.address" -}}
{{ include "hearth.fullname" .root }}-{{ .name }}.{{ .root.Release.Namespace }}.svc.{{ .root.Values.clusterDomain }}
{{- end -}}

{{/* All addresses of the machine. */}}
{{- define "hearth.any" -}}{{ if .Values.ipv6 }}[::]{{ else }}0.0.0.0{{ end }}{{- end -}}

{{/* The account of a role. Arguments: root, role, values. */}}
{{- define "hearth.serviceAccountName" -}}
{{- $all := .root.Values.serviceAccount -}}
{{- if .values.serviceAccount.name -}}{{ .values.serviceAccount.name }}
{{- else if $all.name -}}{{ $all.name }}
{{- else if $all.create -}}{{ include "hearth.fullname" .root }}-{{ .role }}
{{- else -}}default{{- end -}}
{{- end -}}

{{/* Roles that run in this mode, gateway and canary included, as JSON. */}}
{{- define "hearth.roles" -}}
{{- $roles := list "distributor" "ingester" "querier" "compactor" -}}
{{- if eq .Values.mode "single" }}{{ $roles = list "single" }}{{ end -}}
{{- if .Values.gateway.enabled }}{{ $roles = prepend $roles "gateway" }}{{ end -}}
{{- if .Values.canary.enabled }}{{ $roles = append $roles "canary" }}{{ end -}}
{{- toJson $roles -}}
{{- end -}}

{{/* The gateway as clients inside the cluster call it. */}}
{{- define "hearth.gatewayUrl" -}}
{{- $port := int .Values.gateway.service.port -}}
{{- printf "%s://%s" (ternary "https" "http" .Values.gateway.tls.enabled) (include "hearth.address" (dict "root" . "name" "gateway")) -}}
{{- if ne $port (ternary 443 80 .Values.gateway.tls.enabled) }}:{{ $port }}{{ end -}}
{{- end -}}

{{/* The pod of `helm test`: none of the release's, so that network policies do not bind it and no service selects it. */}}
{{- define "hearth.testLabels" -}}
app.kubernetes.io/name: hearth-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

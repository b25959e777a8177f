{{/* Objects that several roles have alike. */}}

{{/* Arguments: root, role, values. */}}
{{- define "hearth.pdb" -}}
{{- if .values.podDisruptionBudget.enabled }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "hearth.metadata" (dict "root" .root "role" .role "name" .role) | nindent 2 }}
spec:
  {{- $budget := omit .values.podDisruptionBudget "enabled" }}
  {{- /* Kubernetes takes one of the two; maxUnavailable is the chart's default. */}}
  {{- if hasKey $budget "minAvailable" }}{{ $budget = omit $budget "maxUnavailable" }}{{ end }}
  {{- toYaml $budget | nindent 2 }}
  selector:
    matchLabels:
      {{- include "hearth.selector" . | nindent 6 }}
{{- end }}
{{- end -}}

{{/* Arguments: root, role, values. Of roles that keep nothing: how many there are follows from load. */}}
{{- define "hearth.autoscaling" -}}
{{- $a := .values.autoscaling -}}
{{- $name := printf "%s-%s" (include "hearth.fullname" .root) .role -}}
{{- if $a.keda.enabled }}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  {{- include "hearth.metadata" (dict "root" .root "role" .role "name" .role) | nindent 2 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ $name }}}
  minReplicaCount: {{ $a.minReplicas }}
  maxReplicaCount: {{ $a.maxReplicas }}
  pollingInterval: {{ $a.keda.pollingInterval }}
  cooldownPeriod: {{ $a.keda.cooldownPeriod }}
  {{- with $a.behavior }}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        {{- toYaml . | nindent 8 }}
  {{- end }}
  triggers:
    {{- toYaml $a.keda.triggers | nindent 4 }}
{{- else if $a.enabled }}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "hearth.metadata" (dict "root" .root "role" .role "name" .role) | nindent 2 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ $name }}}
  minReplicas: {{ $a.minReplicas }}
  maxReplicas: {{ $a.maxReplicas }}
  metrics:
    {{- with $a.targetCPU }}
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: {{ . }}}}
    {{- end }}
    {{- with $a.targetMemory }}
    - type: Resource
      resource: {name: memory, target: {type: Utilization, averageUtilization: {{ . }}}}
    {{- end }}
    {{- with $a.metrics }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $a.behavior }}
  behavior:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Not empty if the Deployment says how many pods there are: nothing scales it, or the autoscaler has yet to take over. */}}
{{- define "hearth.keepsReplicas" -}}
{{- if or .preserveReplicas (not (or .enabled .keda.enabled)) }}said{{ end -}}
{{- end -}}

{{/* A headless service: nginx and Prometheus see each pod. Arguments: root, role, gossip (bool). */}}
{{- define "hearth.headless" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "hearth.metadata" (dict "root" .root "role" .role "name" (printf "%s-headless" .role)) | nindent 2 }}
    hearth/metrics: "true"
spec:
  clusterIP: None
  {{- if .root.Values.ipv6 }}
  ipFamilyPolicy: PreferDualStack
  {{- end }}
  selector:
    {{- include "hearth.selector" . | nindent 4 }}
  ports:
    - {name: http, port: 4040, targetPort: http, appProtocol: kubernetes.io/h2c}
    {{- if .gossip }}
    - {name: cluster, port: 9095, targetPort: cluster}
    {{- end }}
{{- end -}}

{{/* A Deployment of a role without a disk. Arguments: those of hearth.pod. */}}
{{- define "hearth.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "hearth.metadata" (dict "root" .root "role" .role "name" .role) | nindent 2 }}
  {{- with .root.Values.commonAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- if include "hearth.keepsReplicas" .values.autoscaling }}
  replicas: {{ .values.replicas }}
  {{- end }}
  strategy:
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
  selector:
    matchLabels:
      {{- include "hearth.selector" . | nindent 6 }}
  template:
    {{- include "hearth.pod" . | nindent 4 }}
{{- end -}}

{{/* The disk of a StatefulSet's pods, or an emptyDir. Arguments: persistence. */}}
{{- define "hearth.claim" -}}
- metadata:
    name: data
    {{- with .annotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    accessModes: {{ toJson .accessModes }}
    {{- with .storageClass }}
    storageClassName: {{ . | quote }}
    {{- end }}
    resources: {requests: {storage: {{ .size }}}}
{{- end -}}

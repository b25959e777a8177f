{{/* Data sources that point at the gateway: one a tenant. With credentials at the gateway they have to be added in Grafana:
     the chart does not know them. */}}
{{- define "hearth.dataSources" -}}
{{- $root := . -}}
{{- $s := .Values.grafanaDataSource -}}
apiVersion: 1
datasources:
{{- range $tenant := default (list "") $s.tenants }}
  - name: Hearth{{ with $tenant }} {{ . }}{{ end }}
    uid: {{ printf "hearth%s%s" (ternary "-" "" (not (empty $tenant))) $tenant | trunc 40 | quote }}
    type: grafana-pyroscope-datasource
    access: proxy
    url: {{ include "hearth.gatewayUrl" $root }}
    jsonData:
      minStep: {{ $s.minStep | quote }}
      {{- if and $tenant (eq $root.Values.gateway.auth.type "none") }}
      httpHeaderName1: X-Scope-OrgID
    secureJsonData:
      httpHeaderValue1: {{ $tenant | quote }}
      {{- end }}
{{- end }}
{{- end -}}

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

{{/* Groups of rules of a file, for this release: pages of alerts at the address that is said, and the names of its jobs in
     place of a pattern that only fits some names. Arguments: root, path. */}}
{{- define "hearth.ruleGroups" -}}
{{- $root := .root -}}
{{- $p := $root.Values.prometheusRule -}}
{{- $groups := ($root.Files.Get .path | fromYaml).groups -}}
{{- $roles := without (include "hearth.roles" $root | fromJsonArray) "gateway" -}}
{{- $jobs := printf "namespace=%q, job=~%q" $root.Release.Namespace (printf "%s-(%s)-headless" (include "hearth.fullname" $root) (join "|" $roles)) -}}
{{- if $p.jobPattern }}{{ $jobs = printf "job=~%q" $p.jobPattern }}{{ end -}}
{{- range $group := $groups -}}
{{- range $rule := $group.rules -}}
{{- $_ := set $rule "expr" (replace "job=~\".*hearth.*\"" $jobs $rule.expr) -}}
{{- with dig "annotations" "runbook_url" "" $rule -}}
{{- $_ := set $rule.annotations "runbook_url" (printf "%s/%s" (trimSuffix "/" $p.runbookBaseUrl) (base .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $groups -}}
{{- end -}}

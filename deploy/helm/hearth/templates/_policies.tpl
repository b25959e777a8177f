{{/* One policy in either flavour. Rules are those of a NetworkPolicy; for Cilium they are rewritten.
     Arguments: root, role, name, pods (labels), ingress and egress (rules), types, fqdns (rules of Cilium alone). */}}
{{- define "hearth.policy" -}}
{{- $p := .root.Values.networkPolicy -}}
{{- if eq $p.flavor "cilium" -}}
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  {{- include "hearth.metadata" . | nindent 2 }}
spec:
  endpointSelector:
    matchLabels:
      {{- toYaml .pods | nindent 6 }}
  {{- if has "Ingress" .types }}
  # An empty rule allows nothing, and denies the rest.
  ingress:
    {{- default (list dict) (include "hearth.ciliumRules" (dict "rules" .ingress "from" true) | fromJsonArray) | toYaml | nindent 4 }}
  {{- end }}
  {{- if has "Egress" .types }}
  egress:
    {{- default (list dict) (concat (include "hearth.ciliumRules" (dict "rules" .egress "from" false) | fromJsonArray) (default list .fqdns)) | toYaml | nindent 4 }}
  {{- end }}
{{- else -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "hearth.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- toYaml .pods | nindent 6 }}
  policyTypes: {{ toJson .types }}
  {{- if has "Ingress" .types }}
  ingress:
    {{- toYaml .ingress | nindent 4 }}
  {{- end }}
  {{- if has "Egress" .types }}
  egress:
    {{- toYaml .egress | nindent 4 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Rules of a NetworkPolicy as rules of Cilium, as JSON: one for each peer. Arguments: rules, from (bool). */}}
{{- define "hearth.ciliumRules" -}}
{{- $from := .from -}}
{{- $out := list -}}
{{- range $rule := .rules -}}
{{- $base := dict -}}
{{- if $rule.ports -}}
{{- $ports := list -}}
{{- range $rule.ports -}}
{{- $port := dict "protocol" (default "TCP" .protocol) -}}
{{- if .port }}{{ $_ := set $port "port" (toString .port) }}{{ end -}}
{{- if .endPort }}{{ $_ := set $port "endPort" .endPort }}{{ end -}}
{{- $ports = append $ports $port -}}
{{- end -}}
{{- $_ := set $base "toPorts" (list (dict "ports" $ports)) -}}
{{- end -}}
{{- $peers := ternary $rule.from $rule.to $from -}}
{{- range $peer := $peers -}}
{{- $way := ternary "from" "to" $from -}}
{{- if $peer.ipBlock -}}
{{- $out = append $out (merge (dict (printf "%sCIDRSet" $way) (list $peer.ipBlock)) $base) -}}
{{- else -}}
{{- $out = append $out (merge (dict (printf "%sEndpoints" $way) (list (include "hearth.ciliumPeer" $peer | fromJson))) $base) -}}
{{- end -}}
{{- end -}}
{{- if not $peers -}}
{{- /* Everybody: said by ports alone, or by name, for an empty rule would be nobody. */ -}}
{{- $out = append $out (default (dict (ternary "fromEntities" "toEntities" $from) (list "all")) $base) -}}
{{- end -}}
{{- end -}}
{{- toJson $out -}}
{{- end -}}

{{/* Pods and namespaces of a peer as a selector of Cilium, as JSON. Without a word on namespaces, it is the policy's own. */}}
{{- define "hearth.ciliumPeer" -}}
{{- $labels := deepCopy (dig "podSelector" "matchLabels" dict .) -}}
{{- $expressions := deepCopy (dig "podSelector" "matchExpressions" list .) -}}
{{- if hasKey . "namespaceSelector" -}}
{{- $prefix := "k8s:io.cilium.k8s.namespace.labels." -}}
{{- range $key, $value := dig "matchLabels" dict (default dict .namespaceSelector) -}}
{{- $_ := set $labels (printf "%s%s" $prefix $key) $value -}}
{{- end -}}
{{- range dig "matchExpressions" list (default dict .namespaceSelector) -}}
{{- $expressions = append $expressions (mergeOverwrite (deepCopy .) (dict "key" (printf "%s%s" $prefix .key))) -}}
{{- end -}}
{{- if not .namespaceSelector -}}
{{- $expressions = append $expressions (dict "key" "k8s:io.kubernetes.pod.namespace" "operator" "Exists") -}}
{{- end -}}
{{- end -}}
{{- $out := dict -}}
{{- if $labels }}{{ $_ := set $out "matchLabels" $labels }}{{ end -}}
{{- if $expressions }}{{ $_ := set $out "matchExpressions" $expressions }}{{ end -}}
{{- toJson $out -}}
{{- end -}}

{{/* A rule for the TCP port of a URL, wherever its host is, as JSON: policies know no names. Empty without a URL. */}}
{{- define "hearth.urlEgress" -}}
{{- if . -}}
{{- $url := urlParse . -}}
{{- $port := default (ternary "443" "80" (eq $url.scheme "https")) (regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host)) -}}
{{- dict "ports" (list (dict "protocol" "TCP" "port" (int $port))) | toJson -}}
{{- end -}}
{{- end -}}

{{/* Where roles get credentials of the object store if no Secret has them: metadata servers of the cloud, and its agents on
     the node. As JSON: rules, and hosts, rules of Cilium alone, which takes agents on the node for the node. */}}
{{- define "hearth.metadataEgress" -}}
{{- $v := .Values -}}
{{- $type := $v.objectStore.type -}}
{{- $targets := list -}}
{{- $ports := list -}}
{{- if not (or $v.devObjectStore.enabled (include "hearth.storeSecret" .)) -}}
{{- if has $type (list "s3" "gcs" "azure") -}}
{{- $targets = append $targets (list "169.254.169.254/32" 80) -}}
{{- end -}}
{{- if eq $type "s3" -}}
{{- /* Pod identity of EKS. */ -}}
{{- $targets = append $targets (list "169.254.170.23/32" 80) -}}
{{- $ports = list 80 -}}
{{- if $v.ipv6 -}}
{{- $targets = concat $targets (list (list "fd00:ec2::254/128" 80) (list "fd00:ec2::23/128" 80)) -}}
{{- end -}}
{{- else if eq $type "gcs" -}}
{{- /* Workload identity of GKE, to which nodes redirect. */ -}}
{{- $targets = append $targets (list "169.254.169.252/32" 988) -}}
{{- $ports = list 988 -}}
{{- end -}}
{{- end -}}
{{- $rules := list -}}
{{- range $targets -}}
{{- $rules = append $rules (dict "to" (list (dict "ipBlock" (dict "cidr" (index . 0)))) "ports" (list (dict "protocol" "TCP" "port" (index . 1)))) -}}
{{- end -}}
{{- $hosts := list -}}
{{- range $ports -}}
{{- $hosts = append $hosts (dict "toEntities" (list "host") "toPorts" (list (dict "ports" (list (dict "protocol" "TCP" "port" (toString .)))))) -}}
{{- end -}}
{{- dict "rules" $rules "hosts" $hosts | toJson -}}
{{- end -}}

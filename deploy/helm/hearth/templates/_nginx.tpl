{{/* The gateway's nginx configuration, from files/routes.yaml and values. It also serves outside Kubernetes: deploy/nginx. */}}

{{/* Addresses of a role, as JSON. Arguments: root, role. */}}
{{- define "hearth.upstream" -}}
{{- $said := get .root.Values.gateway.upstreams .role -}}
{{- $service := ternary "single" .role (eq .root.Values.mode "single") -}}
{{- $own := printf "%s:4040" (include "hearth.address" (dict "root" .root "name" (printf "%s-headless" $service))) -}}
{{- default (list $own) $said | toJson -}}
{{- end -}}

{{/* Parts of the URL that is asked, as YAML. Arguments: gateway.auth.forward. */}}
{{- define "hearth.forward" -}}
{{- $url := urlParse .url -}}
{{- $port := ternary "443" "80" (eq $url.scheme "https") -}}
scheme: {{ $url.scheme }}
host: {{ $url.host | quote }}
name: {{ regexReplaceAll ":[0-9]+$" $url.host "" | quote }}
server: {{ ternary $url.host (printf "%s:%s" $url.host $port) (regexMatch ":[0-9]+$" $url.host) | quote }}
uri: {{ printf "%s%s" (default "/" $url.path) (ternary (printf "?%s" $url.query) "" (ne $url.query "")) | quote }}
{{- end -}}

{{- define "hearth.nginx" -}}
{{- $root := . -}}
{{- $g := .Values.gateway -}}
{{- $auth := $g.auth.type -}}
worker_processes {{ $g.workerProcesses }};
error_log /dev/stderr warn;
pid /tmp/nginx.pid;

events {
    worker_connections 4096;
}

http {
    # Only what nginx writes by itself: answers of roles bring their own type.
    default_type text/plain;
    client_body_temp_path /tmp/client_body;
    proxy_temp_path       /tmp/proxy;
    fastcgi_temp_path     /tmp/fastcgi;
    uwsgi_temp_path       /tmp/uwsgi;
    scgi_temp_path        /tmp/scgi;
    server_tokens off;
    tcp_nodelay on;
    sendfile off;

    # X_Scope_OrgID must not become another way to say X-Scope-OrgID: names with underscores are dropped.
    underscores_in_headers off;
    ignore_invalid_headers on;
    large_client_header_buffers 4 32k;

    # Names are resolved again while nginx runs: pods come and go.
    resolver {{ default (printf "kube-dns.kube-system.svc.%s" .Values.clusterDomain) $g.resolver }} valid={{ $g.resolverValid }} ipv6={{ ternary "on" "off" .Values.ipv6 }};
{{ range $role := list "distributor" "querier" }}
    upstream {{ $role }} {
        zone {{ $role }} 128k;
        {{- range include "hearth.upstream" (dict "root" $root "role" $role) | fromJsonArray }}
        server {{ . }}{{ if not (regexMatch "^([0-9.]+|\\[.*\\]):[0-9]+$" .) }} resolve{{ end }} max_fails=3 fail_timeout=5s;
        {{- end }}
        keepalive 64;
    }
    # The same over HTTP/2: idle connections of the two must not be mixed up.
    upstream {{ $role }}_grpc {
        zone {{ $role }}_grpc 128k;
        {{- range include "hearth.upstream" (dict "root" $root "role" $role) | fromJsonArray }}
        server {{ . }}{{ if not (regexMatch "^([0-9.]+|\\[.*\\]):[0-9]+$" .) }} resolve{{ end }} max_fails=3 fail_timeout=5s;
        {{- end }}
        keepalive 64;
    }
{{ end }}
    # gRPC proper needs HTTP/2 to the role; gRPC-Web and Connect do not.
    map $http_content_type $is_grpc {
        default 0;
        "~*^application/grpc(\+[a-z]+)?\s*(;|$)" 1;
    }
{{ if eq $auth "basic" }}
    # Who is which tenant. Patterns, for plain keys of a map would ignore case.
    map $remote_user $tenant {
        default "";
        {{- range $user := keys $g.auth.users | sortAlpha }}
        "~^{{ $user | replace "." "\\." }}$" {{ get $g.auth.users $user | quote }};
        {{- end }}
    }
{{ else if eq $auth "bearer" }}
    # Which token is which tenant: lines such as  "~^Bearer TOKEN$" "TENANT";
    map $http_authorization $tenant {
        default "";
        include /etc/nginx/auth/tokens.map;
    }
{{ else if eq $auth "forward" }}
    {{- $f := include "hearth.forward" $g.auth.forward | fromYaml }}
    # Who decides about tenants; $tenant is set from its answer, below each path.
    upstream forward_auth {
        zone forward_auth 64k;
        server {{ $f.server }}{{ if not (regexMatch "^([0-9.]+|\\[.*\\]):[0-9]+$" $f.server) }} resolve{{ end }} max_fails=3 fail_timeout=5s;
        keepalive 16;
    }
{{ else }}
    map $http_x_scope_orgid $tenant {
        default $http_x_scope_orgid;
    }
{{ end }}
    # Neither queries nor credentials: the path, and who asked.
    log_format access escape=json '{"time":"$time_iso8601","client":"$remote_addr","tenant":"$tenant",'
        '"method":"$request_method","path":"$uri","protocol":"$server_protocol","status":$status,'
        '"request_bytes":$request_length,"answer_bytes":$bytes_sent,"seconds":$request_time,"upstream":"$upstream_addr"}';
    access_log {{ ternary "/dev/stdout access" "off" $g.accessLog }};

    client_max_body_size {{ $g.maxBodySize }};
    client_header_timeout 30s;
    client_body_timeout {{ $g.timeoutSeconds }}s;
    send_timeout {{ $g.timeoutSeconds }}s;

    proxy_http_version 1.1;
    proxy_request_buffering off;
    proxy_buffering off;
    proxy_connect_timeout {{ $g.connectTimeoutSeconds }}s;
    proxy_read_timeout {{ $g.timeoutSeconds }}s;
    proxy_send_timeout {{ $g.timeoutSeconds }}s;
    # Another pod gets a request only if this one cannot have seen it, or if it changes nothing (GET).
    proxy_next_upstream error timeout;
    proxy_next_upstream_tries 3;
    proxy_set_header Host $host;
    proxy_set_header Connection "";
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    grpc_connect_timeout {{ $g.connectTimeoutSeconds }}s;
    grpc_read_timeout {{ $g.timeoutSeconds }}s;
    grpc_send_timeout {{ $g.timeoutSeconds }}s;
    grpc_next_upstream error timeout;
    grpc_next_upstream_tries 3;
    grpc_set_header Host $host;
    grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    grpc_set_header X-Forwarded-Proto $scheme;
    {{- if ne $auth "none" }}
    # The tenant is the credential's; it replaces every header of that name. Roles have no use for the credential.
    proxy_set_header X-Scope-OrgID $tenant;
    proxy_set_header Authorization "";
    grpc_set_header X-Scope-OrgID $tenant;
    grpc_set_header Authorization "";
    {{- if eq $auth "forward" }}
    proxy_set_header Cookie "";
    grpc_set_header Cookie "";
    {{- end }}
    {{- end }}
    {{- with $g.httpSnippet }}
    {{- . | nindent 4 }}
    {{- end }}

    server {
        listen {{ if .Values.ipv6 }}[::]:{{ end }}{{ $g.containerPort }}{{ if $g.tls.enabled }} ssl{{ end }}{{ if .Values.ipv6 }} ipv6only=off{{ end }};
        # HTTP/1.1 and HTTP/2 on one port, with prior knowledge where there is no TLS.
        http2 on;
        server_name _;
        {{- if $g.tls.enabled }}
        ssl_certificate /etc/nginx/tls/tls.crt;
        ssl_certificate_key /etc/nginx/tls/tls.key;
        ssl_protocols TLSv1.2 TLSv1.3;
        {{- end }}
        {{- with $g.serverSnippet }}
        {{- . | nindent 8 }}
        {{- end }}

        # Of the gateway itself.
        location = /ready {
            access_log off;
            return 200 "ready\n";
        }
{{- if eq $auth "forward" }}
        {{- $f := include "hearth.forward" $g.auth.forward | fromYaml }}

        # Asked before each request, with its headers and without its body; nobody outside can call it. What the client says of
        # a tenant does not get there, so that it cannot come back as an answer.
        location = /_hearth_auth {
            internal;
            proxy_pass {{ $f.scheme }}://forward_auth{{ $f.uri }};
            proxy_pass_request_body off;
            proxy_method GET;
            proxy_read_timeout {{ $g.auth.forward.timeoutSeconds }}s;
            proxy_set_header Host {{ $f.host }};
            proxy_set_header Connection "";
            proxy_set_header Content-Length "";
            proxy_set_header {{ $g.auth.forward.tenantHeader }} "";
            proxy_set_header X-Scope-OrgID "";
            proxy_set_header X-Original-Method $request_method;
            proxy_set_header X-Original-URI $request_uri;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            {{- if eq $f.scheme "https" }}
            proxy_ssl_server_name on;
            proxy_ssl_name {{ $f.name }};
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {{ $g.auth.forward.caFile }};
            {{- end }}
        }
{{- end }}
{{ range $route := (.Files.Get "files/routes.yaml" | fromYaml).routes }}
{{- if or (not $route.when) (get $g.routes (default "" $route.when)) }}
        location {{ if $route.exact }}= {{ else }}^~ {{ end }}{{ $route.path }} {
            {{- if eq $auth "basic" }}
            if ($http_x_scope_orgid != "") { return 400 "X-Scope-OrgID: the tenant follows from your user; leave the header out\n"; }
            auth_basic "Hearth";
            auth_basic_user_file /etc/nginx/auth/htpasswd;
            {{- else if eq $auth "bearer" }}
            if ($http_x_scope_orgid != "") { return 400 "X-Scope-OrgID: the tenant follows from your token; leave the header out\n"; }
            if ($tenant = "") { return 401 "Authorization: a token that is known here is needed, as Bearer TOKEN\n"; }
            {{- else if eq $auth "forward" }}
            if ($http_x_scope_orgid != "") { return 400 "X-Scope-OrgID: the tenant follows from your credentials; leave the header out\n"; }
            auth_request /_hearth_auth;
            # Empty if the answer names no tenant: then the role refuses the request.
            auth_request_set $tenant $upstream_http_{{ $g.auth.forward.tenantHeader | lower | replace "-" "_" }};
            {{- end }}
            {{- if $route.upload }}
            client_max_body_size {{ $g.maxUploadSize }};
            {{- end }}
            {{- if $route.grpc }}
            if ($is_grpc) { grpc_pass grpc://{{ $route.role }}_grpc; }
            {{- end }}
            proxy_pass http://{{ $route.role }};
        }
{{- end }}
{{- end }}

        # Whatever is not listed is not public: metrics, settings, flush, shutdown, leave, ring.
        location / {
            return 404 "not a public path\n";
        }
    }
}
{{- end -}}

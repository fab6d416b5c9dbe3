{{/* Rendering fails for values that can't work, with a message that says what to do. */}}
{{- define "relay.checks" -}}
{{- if and (eq .Values.store "sqlite") (gt (int .Values.replicas) 1) -}}
{{- fail "replicas: a SQLite file belongs to one relay; for several set store=postgresql" -}}
{{- end -}}
{{- $several := not (empty .Values.config.workspaces) -}}
{{- $names := ternary (list "apiKeys" "secretKey") (list "execApiKey" "apiKeys" "secretKey") $several -}}
{{- if .Values.secrets.existingSecret -}}
{{- range $name := list "execApiKey" "apiKeys" "secretKey" "storageUrl" -}}
{{- if index $.Values.secrets $name -}}
{{- fail (printf "secrets.%s: secrets.existingSecret is used instead of it; give one of the two" $name) -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- $with := ternary " --from-literal=storage-url=postgresql://relay:PASSWORD@HOST/relay" "" (eq .Values.store "postgresql") -}}
{{- $key := ternary "" " --from-literal=exec-api-key=exec_live_..." $several -}}
{{- $making := printf "kubectl create secret generic relay%s --from-literal=api-keys='[sha256:...]' --from-literal=secret-key=...%s" $key $with -}}
{{- range $name := $names -}}
{{- if not (index $.Values.secrets $name) -}}
{{- fail (printf "secrets.%s: is missing, or secrets.existingSecret, the name of a Secret made by: %s" $name $making) -}}
{{- end -}}
{{- end -}}
{{- if and (eq .Values.store "postgresql") (not .Values.secrets.storageUrl) -}}
{{- fail (printf "secrets.storageUrl: is missing, or secrets.existingSecret, the name of a Secret made by: %s" $making) -}}
{{- end -}}
{{- if and (eq .Values.store "sqlite") .Values.secrets.storageUrl -}}
{{- fail "secrets.storageUrl: is for store=postgresql; set that, or leave the URL out" -}}
{{- end -}}
{{- if and $several .Values.secrets.execApiKey -}}
{{- fail "secrets.execApiKey: each of config.workspaces has a key of its own, such as api_key: ${EXEC_API_KEY_SALES}, with that variable in extraEnv" -}}
{{- end -}}
{{- end -}}
{{- $seen := dict -}}
{{- range list "RELAY_EXEC__API_KEY" "RELAY_SECURITY__API_KEYS" "RELAY_SECURITY__SECRET_KEY" "RELAY_STORAGE__URL" "RELAY_SERVER__PUBLIC_URL" "RELAY_SERVER__TRUSTED_PROXIES" "RELAY_SERVER__DRAIN" "RELAY_METRICS__HOST" "RELAY_METRICS__PORT" -}}
{{- $_ := set $seen . "has a separate value in this chart" -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if hasKey $seen .name -}}
{{- fail (printf "extraEnv: %s %s" .name (get $seen .name)) -}}
{{- end -}}
{{- $_ := set $seen .name "is there twice" -}}
{{- end -}}
{{- range $path, $value := dict "exec.api_key" "secrets.execApiKey" "security.api_keys" "secrets.apiKeys" "security.secret_key" "secrets.secretKey" "storage.url" "store and secrets.storageUrl" -}}
{{- $parts := splitList "." $path -}}
{{- if hasKey (index $.Values.config (first $parts) | default dict) (last $parts) -}}
{{- fail (printf "config.%s: has a separate value in this chart, %s" $path $value) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.trustedProxies) -}}
{{- fail "trustedProxies: must name the addresses of the Ingress controller's pods (kubectl get pods -A -o wide), or a stranger's wrong API keys throttle everybody" -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.port) (not .Values.metrics.serviceMonitor.apiKeySecret.name) -}}
{{- fail "metrics.serviceMonitor.apiKeySecret.name: /metrics needs an API key with the scope read, from a Secret named here; or set metrics.port" -}}
{{- end -}}
{{- if hasKey .Values.config "metrics" -}}
{{- fail "config.metrics: has a separate value in this chart, metrics.port" -}}
{{- end -}}
{{- if le (int .Values.terminationGracePeriodSeconds) (add (int .Values.drainSeconds) 10) -}}
{{- fail "terminationGracePeriodSeconds: must be more than drainSeconds plus ten seconds for attempts in flight" -}}
{{- end -}}
{{- range $name := list "host" "port" "public_url" "trusted_proxies" "drain" -}}
{{- if hasKey ($.Values.config.server | default dict) $name -}}
{{- fail (printf "config.server.%s: has a separate value in this chart" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

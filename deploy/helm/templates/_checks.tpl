{{/* Rendering fails for values that can't work, with a message that says what to do. */}}
{{- define "relay.checks" -}}
{{- if and (eq .Values.store "sqlite") (gt (int .Values.replicas) 1) -}}
{{- fail "replicas: a SQLite file belongs to one relay; for several set store=postgresql" -}}
{{- end -}}
{{- if not .Values.secrets.existingSecret -}}
{{- $with := ternary " --from-literal=storage-url=postgresql://relay:PASSWORD@HOST/relay" "" (eq .Values.store "postgresql") -}}
{{- $making := printf "kubectl create secret generic relay --from-literal=exec-api-key=exec_live_... --from-literal=api-keys='[sha256:...]' --from-literal=secret-key=...%s" $with -}}
{{- range $name := list "execApiKey" "apiKeys" "secretKey" -}}
{{- if not (index $.Values.secrets $name) -}}
{{- fail (printf "secrets.%s: is missing, or secrets.existingSecret, the name of a Secret made by: %s" $name $making) -}}
{{- end -}}
{{- end -}}
{{- if and (eq .Values.store "postgresql") (not .Values.secrets.storageUrl) -}}
{{- fail (printf "secrets.storageUrl: is missing, or secrets.existingSecret, the name of a Secret made by: %s" $making) -}}
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

{{/* What can't work is refused while it is rendered, with what to do. */}}
{{- define "relay.checks" -}}
{{- if and (eq .Values.store "sqlite") (gt (int .Values.replicas) 1) -}}
{{- fail "replicas: the file of SQLite is one relay's; for several set store=postgresql" -}}
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
{{- fail "trustedProxies: must name the addresses of the Ingress controller's pods (kubectl get pods -A -o wide), or one stranger's wrong API keys keep out everybody" -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.serviceMonitor.apiKeySecret.name) -}}
{{- fail "metrics.serviceMonitor.apiKeySecret.name: /metrics wants an API key with the scope read, from a Secret named here" -}}
{{- end -}}
{{- if le (int .Values.terminationGracePeriodSeconds) (add (int .Values.drainSeconds) 10) -}}
{{- fail "terminationGracePeriodSeconds: must be more than drainSeconds and the ten seconds that attempts under way get" -}}
{{- end -}}
{{- range $name := list "host" "port" "public_url" "trusted_proxies" -}}
{{- if hasKey ($.Values.config.server | default dict) $name -}}
{{- fail (printf "config.server.%s: has a value of its own in this chart" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

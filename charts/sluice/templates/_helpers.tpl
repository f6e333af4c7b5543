{{- define "sluice.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The release's name, with the chart's unless it is in there already. */}}
{{- define "sluice.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "sluice.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The names of a connector's objects. One that is too long is cut, and told apart by a digest. */}}
{{- define "sluice.connectorName" -}}
{{- $name := printf "%s-%s" (include "sluice.fullname" .root) .key -}}
{{- if gt (len $name) 63 -}}
{{- printf "%s-%s" ($name | trunc 54 | trimSuffix "-") ($name | sha256sum | trunc 8) -}}
{{- else -}}
{{- $name -}}
{{- end -}}
{{- end -}}

{{- define "sluice.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sluice.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "sluice.selectorLabels" -}}
app.kubernetes.io/name: {{ include "sluice.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sluice.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{ include "sluice.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "sluice.connectorLabel" -}}
sluice.io/connector: {{ .key }}
{{- end -}}

{{/* Flux would replace ${env:...} in what it applies. */}}
{{- define "sluice.annotations" -}}
kustomize.toolkit.fluxcd.io/substitute: disabled
{{- with .Values.commonAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "sluice.image" -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default .appVersion .tag }}
{{- end -}}
{{- end -}}

{{/* The values of one connector: its own over those of the chart. */}}
{{- define "sluice.connectorValues" -}}
{{- $shared := omit .root.Values "connectors" "global" "extraObjects" "commonLabels" "commonAnnotations" -}}
{{- include "sluice.overlay" (dict "base" $shared "over" .connector) -}}
{{- end -}}

{{/* `over` over `base`, as JSON: maps merged, all else replaced. (mergeOverwrite would keep the base's value for 0, false and "".) */}}
{{- define "sluice.overlay" -}}
{{- $result := deepCopy .base -}}
{{- range $key, $value := .over -}}
{{- $below := get $result $key -}}
{{- if and (kindIs "map" $below) (kindIs "map" $value) -}}
{{- $_ := set $result $key (include "sluice.overlay" (dict "base" $below "over" $value) | fromJson) -}}
{{- else -}}
{{- $_ := set $result $key $value -}}
{{- end -}}
{{- end -}}
{{- toJson $result -}}
{{- end -}}

{{/* connector.yaml: text as it is, a map with `name` filled in. */}}
{{- define "sluice.connectorYaml" -}}
{{- if kindIs "string" .config -}}
{{- .config -}}
{{- else -}}
{{- $config := deepCopy .config -}}
{{- if not (hasKey $config "name") -}}
{{- $_ := set $config "name" .key -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}
{{- end -}}

{{/* A duration such as 25s, 1m30s, 500ms in whole seconds, rounded up for each part. */}}
{{- define "sluice.seconds" -}}
{{- $text := toString . -}}
{{- if not (regexMatch "^([0-9]+(ms|s|m|h|d))+$" $text) -}}
{{- fail (printf "shutdown_timeout: %q is not a duration: write 25s" $text) -}}
{{- end -}}
{{- $total := 0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h|d)" $text -1 -}}
{{- $number := regexFind "^[0-9]+" . | int -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- if eq $unit "ms" -}}
{{- $total = add $total (div (add $number 999) 1000) -}}
{{- else -}}
{{- $total = add $total (mul $number (get (dict "s" 1 "m" 60 "h" 3600 "d" 86400) $unit)) -}}
{{- end -}}
{{- end -}}
{{- $total -}}
{{- end -}}

{{/* How long a batch may take to finish after SIGTERM, in seconds. */}}
{{- define "sluice.shutdownSeconds" -}}
{{- $config := .config | default dict -}}
{{- if kindIs "string" $config -}}
{{- $config = fromYaml $config -}}
{{- end -}}
{{- include "sluice.seconds" (get $config "shutdown_timeout" | default "25s") -}}
{{- end -}}

{{/* Above shutdown_timeout always: a pod killed within it would lose its batch's work. */}}
{{- define "sluice.gracePeriod" -}}
{{- $shutdown := include "sluice.shutdownSeconds" .values | int -}}
{{- if kindIs "invalid" .values.terminationGracePeriodSeconds -}}
{{- add $shutdown 10 -}}
{{- else -}}
{{- $grace := int .values.terminationGracePeriodSeconds -}}
{{- if and (not .values.existingConfigMap) (le $grace $shutdown) -}}
{{- fail (printf "connectors.%s.terminationGracePeriodSeconds: %d must be above shutdown_timeout, %d s" .key $grace $shutdown) -}}
{{- end -}}
{{- $grace -}}
{{- end -}}
{{- end -}}

{{- define "sluice.probe" -}}
httpGet: {path: {{ .path }}, port: http}
{{ toYaml .probe }}
{{- end -}}

{{/* Names, labels and the parts that more than one object uses. */}}

{{- define "patchbay.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* 46 characters: the longest suffix is `-default-deny`, and 63 are allowed. */}}
{{- define "patchbay.fullname" -}}
{{- $name := include "patchbay.name" . -}}
{{- $whole := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- default $whole .Values.fullnameOverride | trunc 46 | trimSuffix "-" -}}
{{- end -}}

{{- define "patchbay.selectorLabels" -}}
app.kubernetes.io/name: {{ include "patchbay.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "patchbay.labels" -}}
{{ include "patchbay.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Of the test's pod: other than the server's, so that no Service leads to it. */}}
{{- define "patchbay.testLabels" -}}
app.kubernetes.io/name: {{ include "patchbay.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end -}}

{{- define "patchbay.metadata" -}}
name: {{ include "patchbay.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "patchbay.labels" . | nindent 2 }}
{{- end -}}

{{- define "patchbay.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "patchbay.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "patchbay.image" -}}
{{- $tag := default (printf "%s-%s" .Chart.AppVersion .Values.image.variant) .Values.image.tag -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ $tag }}
{{- end -}}
{{- end -}}

{{/* A quantity such as 256Mi in bytes. */}}
{{- define "patchbay.bytes" -}}
{{- $unit := regexFind "[KMGT]i$" . -}}
{{- $bytes := dict "" 1 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- mul (trimSuffix $unit . | int64) (get $bytes $unit | int64) -}}
{{- end -}}

{{/*
Size of /dev/shm. Twice the arena: the file of a container that was killed stays until its successor has made a new one.
*/}}
{{- define "patchbay.shmBytes" -}}
{{- $arena := include "patchbay.bytes" .Values.arena.size | int64 -}}
{{- add (mul 2 $arena) (include "patchbay.bytes" .Values.arena.headroom | int64) -}}
{{- end -}}

{{/*
Between the end of the drain and the end of the process: 5 s in which connections are cut, 15 s in which the engine
stops or is killed, 10 s to spare.
*/}}
{{- define "patchbay.graceSeconds" -}}
{{- add .Values.drain.preStopSeconds .Values.drain.timeoutSeconds 5 15 10 -}}
{{- end -}}

{{/* A value as Patchbay reads it from a variable; numbers without an exponent. */}}
{{- define "patchbay.word" -}}
{{- if kindIs "slice" . -}}
{{- join "," . -}}
{{- else if and (kindIs "float64" .) (eq . (floor .)) -}}
{{- int64 . -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{/* Variables of every container that runs Patchbay. */}}
{{- define "patchbay.env" -}}
{{- range $name, $value := .Values.settings }}
- name: PATCHBAY_{{ upper $name }}
  value: {{ include "patchbay.word" $value | quote }}
{{- end }}
{{- with .Values.model.name }}
- name: PATCHBAY_MODEL
  value: {{ . | quote }}
{{- end }}
{{- with .Values.model.revision }}
- name: PATCHBAY_REVISION
  value: {{ . | quote }}
{{- end }}
- name: PATCHBAY_PORT
  value: "8000"
- name: PATCHBAY_ARENA_DIR
  value: /dev/shm
- name: PATCHBAY_ARENA_BYTES
  value: {{ include "patchbay.bytes" .Values.arena.size | quote }}
- name: PATCHBAY_ENGINE_START_TIMEOUT
  value: {{ .Values.engine.startTimeoutSeconds | int64 | quote }}
{{- with .Values.huggingFace.existingSecret }}
{{- if .name }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .key }}
{{- end }}
{{- end }}
- name: HF_HOME
  value: /models/huggingface
- name: HOME
  value: /var/cache/patchbay
- name: XDG_CACHE_HOME
  value: /var/cache/patchbay
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The engine's flags as the command line takes them. */}}
{{- define "patchbay.engineArgs" -}}
{{- with .Values.engine.args }}
args:
  - "--"
  {{- range . }}
  - {{ . | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "patchbay.volumeMounts" -}}
- name: shm
  mountPath: /dev/shm
- name: models
  mountPath: /models
- name: cache
  mountPath: /var/cache/patchbay
- name: tmp
  mountPath: /tmp
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "patchbay.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "patchbay.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Combinations that cannot work, each refused in a sentence that names the values. */}}
{{- define "patchbay.validate" -}}
{{- $engine := .Values.engine -}}
{{- $remote := eq $engine.placement "remote" -}}
{{- if and $remote (not $engine.url) -}}
{{- fail "engine.placement is remote and engine.url is empty: give the engine's base URL" -}}
{{- end -}}
{{- if and (not $remote) $engine.url -}}
{{- fail (printf "engine.url names an engine elsewhere and engine.placement is %s: choose remote, or leave engine.url empty" $engine.placement) -}}
{{- end -}}
{{- if and $remote (ne (default "handles" .Values.settings.images) "passthrough") -}}
{{- fail "engine.placement is remote, and soft tokens reach an engine through the pod's memory alone: set settings.images to passthrough, or engine.placement to sidecar" -}}
{{- end -}}
{{- if and $remote $engine.args -}}
{{- fail "engine.args are for an engine that this chart starts, and engine.placement is remote: leave engine.args empty" -}}
{{- end -}}
{{- if and (eq .Values.image.variant "gateway") (not $remote) -}}
{{- fail (printf "image.variant is gateway, which holds neither encoder nor engine, and engine.placement is %s: choose cpu or cuda" $engine.placement) -}}
{{- end -}}
{{- $ports := list 8000 (int .Values.adminPort) (int $engine.port) -}}
{{- if ne (len (uniq $ports)) 3 -}}
{{- fail (printf "the API's port (8000), adminPort (%d) and engine.port (%d) must differ" (index $ports 1) (index $ports 2)) -}}
{{- end -}}
{{- range .Values.env -}}
{{- if hasPrefix "PATCHBAY_" .name -}}
{{- fail (printf "env names %s: give Patchbay's settings under settings, by their names in docs/settings.md" .name) -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraVolumes -}}
{{- if has .name (list "shm" "models" "cache" "tmp" "keys") -}}
{{- fail (printf "extraVolumes names %s, which is a volume of the chart: choose another name" .name) -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraVolumeMounts -}}
{{- if has (trimSuffix "/" .mountPath) (list "/dev/shm" "/models" "/var/cache/patchbay" "/tmp" "/etc/patchbay/keys") -}}
{{- fail (printf "extraVolumeMounts names %s, where the chart mounts a volume: choose another path, or one below it" .mountPath) -}}
{{- end -}}
{{- end -}}
{{- $most := .Values.autoscaling.enabled | ternary .Values.autoscaling.maxReplicas .Values.replicas | int -}}
{{- $cache := .Values.modelCache -}}
{{- if and $cache.enabled (not $cache.existingClaim) (gt $most 1) (not (has "ReadWriteMany" $cache.accessModes)) -}}
{{- fail (printf "%d pods cannot share modelCache with accessModes %s: use ReadWriteMany, or one replica" $most (join ", " $cache.accessModes)) -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled needs httpRoute.parentRefs: the Gateways that it attaches to" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.enabled needs ingress.hosts" -}}
{{- end -}}
{{- end -}}

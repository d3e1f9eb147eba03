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
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
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

{{/* Processes of the engine that compute, on a GPU of its own each. */}}
{{- define "patchbay.ranks" -}}
{{- mul (default 1 .Values.settings.tensor_parallel_size | int) (default 1 .Values.settings.pipeline_parallel_size | int) -}}
{{- end -}}

{{/*
Size of /dev/shm. Twice the arena: the file of a container that was killed stays until its successor has made a new one.
Several ranks exchange data there, 512 MiB for each.
*/}}
{{- define "patchbay.shmBytes" -}}
{{- $arena := include "patchbay.bytes" .Values.arena.size | int64 -}}
{{- $ranks := include "patchbay.ranks" . | int64 -}}
{{- $exchange := gt $ranks 1 | ternary (mul $ranks 536870912) 0 -}}
{{- add (mul 2 $arena) (include "patchbay.bytes" .Values.arena.headroom | int64) $exchange -}}
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

{{/* Of the server's container, which the scheduler asks for the disk that the pod's volumes take of its node. */}}
{{- define "patchbay.resources" -}}
{{- $said := concat (keys (default dict .Values.resources.requests)) (keys (default dict .Values.resources.limits)) -}}
{{- $own := dict -}}
{{- if and .Values.scratch.request (not (has "ephemeral-storage" $said)) -}}
{{- $own = dict "requests" (dict "ephemeral-storage" .Values.scratch.request) -}}
{{- end -}}
{{- toYaml (mergeOverwrite $own (deepCopy .Values.resources)) -}}
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
{{- if .Values.modelCache.readOnly }}
- name: HF_HUB_OFFLINE
  value: "1"
{{- end }}
- name: HOME
  value: /var/cache/patchbay
# a user that the image does not know, as OpenShift chooses one, has no name of its own, and torch asks for it
- name: USER
  value: patchbay
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
  {{- if .Values.modelCache.readOnly }}
  readOnly: true
  {{- end }}
- name: cache
  mountPath: /var/cache/patchbay
- name: tmp
  mountPath: /tmp
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What a controller must be told so that pictures get in and long answers get out. */}}
{{- define "patchbay.ingressAnnotations" -}}
{{- $bytes := default 52428800 .Values.settings.max_body_bytes | int64 -}}
{{- $seconds := default 600 .Values.settings.request_timeout | int64 -}}
{{- if eq .Values.ingress.controller "ingress-nginx" -}}
nginx.ingress.kubernetes.io/proxy-body-size: {{ $bytes | quote }}
nginx.ingress.kubernetes.io/proxy-read-timeout: {{ $seconds | quote }}
nginx.ingress.kubernetes.io/proxy-send-timeout: {{ $seconds | quote }}
nginx.ingress.kubernetes.io/proxy-buffering: "off"
nginx.ingress.kubernetes.io/proxy-request-buffering: "off"
{{- else if eq .Values.ingress.controller "nginx-inc" -}}
nginx.org/client-max-body-size: {{ $bytes | quote }}
nginx.org/proxy-read-timeout: {{ printf "%ds" $seconds }}
nginx.org/proxy-send-timeout: {{ printf "%ds" $seconds }}
nginx.org/proxy-buffering: "False"
{{- else if eq .Values.ingress.controller "haproxy" -}}
haproxy.org/timeout-server: {{ printf "%ds" $seconds }}
{{- else if eq .Values.ingress.controller "alb" -}}
alb.ingress.kubernetes.io/load-balancer-attributes: idle_timeout.timeout_seconds={{ $seconds }}
alb.ingress.kubernetes.io/target-type: ip
alb.ingress.kubernetes.io/healthcheck-path: /readyz
{{- end -}}
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
{{- with .Values.autoscaling -}}
{{- if and .enabled $remote -}}
{{- fail "autoscaling follows the encoder and the engine in each pod, and engine.placement is remote: scale the engines instead" -}}
{{- end -}}
{{- if and .authentication.name (not .triggerMetadata.authModes) -}}
{{- fail (printf "autoscaling.authentication.name is %s, and KEDA ignores it unless autoscaling.triggerMetadata.authModes says how it is used: bearer, basic, tls or custom" .authentication.name) -}}
{{- end -}}
{{- if gt (int .fallback.replicas) (int .maxReplicas) -}}
{{- fail (printf "autoscaling.fallback.replicas is %d and autoscaling.maxReplicas is %d: raise the second or lower the first" (int .fallback.replicas) (int .maxReplicas)) -}}
{{- end -}}
{{- if and .triggerMetadata.authModes (not .authentication.name) -}}
{{- fail (printf "autoscaling.triggerMetadata.authModes is %s and autoscaling.authentication.name is empty: name the object with the credentials" .triggerMetadata.authModes) -}}
{{- end -}}
{{- end -}}
{{- $ranks := include "patchbay.ranks" . | int -}}
{{- if and $remote (gt $ranks 1) -}}
{{- fail "settings.tensor_parallel_size and pipeline_parallel_size are for an engine that this chart starts, and engine.placement is remote: give them to that engine" -}}
{{- end -}}
{{- $apart := eq (default "shared" .Values.settings.encoder_gpu) "own" -}}
{{- $gpus := add $ranks (and $apart (eq $engine.placement "child") | ternary 1 0) | int -}}
{{- $sidecar := eq $engine.placement "sidecar" -}}
{{- $limits := default dict (dig "limits" dict ($sidecar | ternary $engine.resources .Values.resources)) -}}
{{- if and (hasKey $limits "nvidia.com/gpu") (ne (index $limits "nvidia.com/gpu" | toString | int) $gpus) (not $remote) -}}
{{- fail (printf "%s.limits has %v of nvidia.com/gpu, but tensor_parallel_size, pipeline_parallel_size and encoder_gpu under settings make it %d: change one of them" ($sidecar | ternary "engine.resources" "resources") (index $limits "nvidia.com/gpu") $gpus) -}}
{{- end -}}
{{- if and $sidecar (not $apart) (hasKey $limits "nvidia.com/gpu") -}}
{{- fail "engine.placement is sidecar, whose container has GPUs that the encoder does not see: set settings.encoder_gpu to own" -}}
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
{{- if and $cache.readOnly (not $cache.enabled) -}}
{{- fail "modelCache.readOnly needs modelCache.enabled and a claim that holds the checkpoint" -}}
{{- end -}}
{{- $download := .Values.modelDownload -}}
{{- if and $cache.readOnly (not $cache.existingClaim) (not $download.enabled) -}}
{{- fail "modelCache.readOnly needs modelCache.existingClaim: a new claim is empty, and only modelDownload puts something into it" -}}
{{- end -}}
{{- if and $cache.readOnly (not .Values.model.name) -}}
{{- fail "modelCache.readOnly needs model.name: the embedded model lies in the image" -}}
{{- end -}}
{{- $surge := dig "maxSurge" "25%" (default dict .Values.strategy.rollingUpdate) | toString -}}
{{- $steps := and (eq .Values.strategy.type "RollingUpdate") (not (has $surge (list "0" "0%"))) -}}
{{- if and $cache.enabled (not $cache.existingClaim) $steps (not (has "ReadWriteMany" $cache.accessModes)) -}}
{{- fail (printf "strategy.rollingUpdate.maxSurge is %s, and a new pod could not attach modelCache with accessModes %s while the old one has it: set maxSurge to 0 and maxUnavailable to 1, strategy.type to Recreate, or accessModes to ReadWriteMany" $surge (join ", " $cache.accessModes)) -}}
{{- end -}}
{{- if $download.enabled -}}
{{- if not $cache.enabled -}}
{{- fail "modelDownload.enabled needs modelCache.enabled: the claim that is filled" -}}
{{- end -}}
{{- if not (regexMatch "^/models/[A-Za-z0-9][A-Za-z0-9._-]*$" .Values.model.name) -}}
{{- fail (printf "modelDownload makes a folder in /models, and model.name is %q: give one such as /models/my-model" .Values.model.name) -}}
{{- end -}}
{{- if eq (empty $download.hub) (empty $download.url) -}}
{{- fail "modelDownload needs one of hub and url" -}}
{{- end -}}
{{- if and $download.url (not $download.sha256) -}}
{{- fail "modelDownload.url needs modelDownload.sha256: the checksum of the archive" -}}
{{- end -}}
{{- if and $download.hub (or $download.sha256 $download.authorization.existingSecret.name) -}}
{{- fail "modelDownload.sha256 and modelDownload.authorization belong to url: for hub, give files and huggingFace.existingSecret" -}}
{{- end -}}
{{- if not (or (has "ReadWriteMany" $cache.accessModes) (has "ReadWriteOnce" $cache.accessModes)) -}}
{{- fail (printf "modelDownload writes into modelCache while the server waits, which accessModes %s do not permit: use ReadWriteMany or ReadWriteOnce" (join ", " $cache.accessModes)) -}}
{{- end -}}
{{- if and $download.hub (eq .Values.image.variant "gateway") (not $download.image) -}}
{{- fail "modelDownload.hub needs huggingface_hub, which the gateway's image does not hold: set modelDownload.image to the cpu one" -}}
{{- end -}}
{{- end -}}
{{- $own := list "patchbay" "engine" "model" -}}
{{- range concat .Values.initContainers .Values.extraContainers -}}
{{- if has .name $own -}}
{{- fail (printf "a container in initContainers or extraContainers is called %s, which is one of the chart or comes twice: choose another name" .name) -}}
{{- end -}}
{{- $own = append $own .name -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled needs httpRoute.parentRefs: the Gateways that it attaches to" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.enabled needs ingress.hosts" -}}
{{- end -}}
{{- end -}}

{{/* What the model claim is filled with, as files/model/checkpoint.py reads it. */}}
{{- define "patchbay.modelSource" -}}
{{- $download := .Values.modelDownload -}}
{{- if $download.url -}}
{{- dict "url" $download.url "sha256" $download.sha256 "files" $download.files | toJson -}}
{{- else -}}
{{- dict "hub" $download.hub "revision" $download.revision "files" $download.files | toJson -}}
{{- end -}}
{{- end -}}

{{/* The program, and what to do: `fetch` or `wait`. */}}
{{- define "patchbay.modelCommand" -}}
command: [python, -c]
args:
  - |
    {{- .context.Files.Get "files/model/checkpoint.py" | nindent 4 }}
  - {{ .verb }}
  - {{ .context.Values.model.name | quote }}
  - {{ include "patchbay.modelSource" .context | quote }}
{{- end -}}

{{/* The Job's pod. Its name is made from it, so nothing is in here that changes from one version of the chart to the next. */}}
{{- define "patchbay.downloadPod" -}}
metadata:
  labels:
    app.kubernetes.io/name: {{ include "patchbay.name" . }}
    app.kubernetes.io/instance: {{ .Release.Name }}
    app.kubernetes.io/component: model-download
    {{- with .Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if not (has "ReadWriteMany" .Values.modelCache.accessModes) }}
  # the claim is attached to one node: to that of the server, which waits there
  affinity:
    podAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        - topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "patchbay.selectorLabels" . | nindent 14 }}
  {{- end }}
  {{- with .Values.dnsPolicy }}
  dnsPolicy: {{ . }}
  {{- end }}
  {{- with .Values.dnsConfig }}
  dnsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.hostAliases }}
  hostAliases:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  containers:
    - name: download
      image: {{ default (include "patchbay.image" .) .Values.modelDownload.image }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      {{- include "patchbay.modelCommand" (dict "context" . "verb" "fetch") | nindent 6 }}
      env:
        - name: HOME
          value: /tmp
        - name: HF_HOME
          value: /tmp/huggingface
        {{- with .Values.huggingFace.existingSecret }}
        {{- if .name }}
        - name: HF_TOKEN
          valueFrom:
            secretKeyRef:
              name: {{ .name }}
              key: {{ .key }}
        {{- end }}
        {{- end }}
        {{- with .Values.modelDownload.authorization.existingSecret }}
        {{- if .name }}
        - name: AUTHORIZATION
          valueFrom:
            secretKeyRef:
              name: {{ .name }}
              key: {{ .key }}
        {{- end }}
        {{- end }}
        {{- with .Values.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .Values.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      resources:
        {{- toYaml .Values.modelDownload.resources | nindent 8 }}
      volumeMounts:
        - name: models
          mountPath: /models
        - name: tmp
          mountPath: /tmp
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: models
      persistentVolumeClaim:
        claimName: {{ default (include "patchbay.fullname" .) .Values.modelCache.existingClaim }}
    - name: tmp
      emptyDir:
        sizeLimit: {{ .Values.scratch.sizeLimit }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

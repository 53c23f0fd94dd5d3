{{/* The names of the gateway's objects. Not the release's name alone: `rerank` would set RERANK_PORT=tcp://... in pods. */}}
{{- define "gateway.name" -}}
{{ .Release.Name }}-gateway
{{- end }}

{{- define "valkey.name" -}}
{{ .Release.Name }}-valkey
{{- end }}

{{- define "gateway.selector" -}}
app.kubernetes.io/name: rerank-gateway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "valkey.selector" -}}
app.kubernetes.io/name: valkey
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* A model's labels are its own, so that no budget or Service of one selects pods of another. Takes (list $ model). */}}
{{- define "worker.selector" -}}
app.kubernetes.io/name: {{ (index . 1).engine }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
rerank-gateway/model: {{ (index . 1).name }}
{{- end }}

{{- define "common.labels" -}}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: rerank-gateway
{{- end }}

{{- define "gateway.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The models with their defaults, as {"models": [...]}; fails where they can't be as they are. */}}
{{- define "models" -}}
{{- $models := list -}}
{{- $names := dict -}}
{{- range $place, $own := .Values.models -}}
{{- $at := printf "models[%d] (%s)" $place $own.name -}}
{{- if hasKey $names $own.name -}}
{{- fail (printf "%s: the name stands twice: give each model a name of its own; several replicas are `replicas`" $at) -}}
{{- end -}}
{{- $_ := set $names $own.name true -}}
{{- if gt (len (printf "%s-%s" $.Release.Name $own.name)) 63 -}}
{{- fail (printf "%s: %s-%s has more than the 63 characters of a Service's name: shorten the model's name or the release's" $at $.Release.Name $own.name) -}}
{{- end -}}
{{- $model := mergeOverwrite (deepCopy (omit $.Values.modelDefaults "autoscaling")) (deepCopy $own) -}}
{{- if hasKey $own "autoscaling" -}}
{{- $_ := set $model "autoscaling" (mergeOverwrite (deepCopy $.Values.modelDefaults.autoscaling) (deepCopy (default dict $own.autoscaling))) -}}
{{- end -}}
{{- $_ := set $model "full" (printf "%s-%s" $.Release.Name $own.name) -}}
{{- $_ := set $model "model" (default $own.name $own.model) -}}
{{- if and (not $own.external) $model.autoscaling -}}
{{- if not (or (eq (toString $.Values.keda.installed) "true") (and (eq (toString $.Values.keda.installed) "auto") ($.Capabilities.APIVersions.Has "keda.sh/v1alpha1"))) -}}
{{- fail (printf "%s.autoscaling needs KEDA, and the cluster doesn't know keda.sh/v1alpha1: install KEDA (https://keda.sh/docs/latest/deploy), set `replicas` in place of `autoscaling`, or render for a cluster that has it with keda.installed=true" $at) -}}
{{- end -}}
{{- if lt (int $model.autoscaling.maxReplicas) (int (max 1 $model.autoscaling.minReplicas)) -}}
{{- fail (printf "%s.autoscaling: maxReplicas is %d, below minReplicas or 1: raise it" $at (int $model.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- $claimed := or $model.storage.existingClaim $model.storage.size -}}
{{- $most := int (default 1 $own.replicas) -}}
{{- if $model.autoscaling }}{{ $most = int (max $most $model.autoscaling.maxReplicas) }}{{ end -}}
{{- if and $claimed (gt $most 1) (not (or (has "ReadWriteMany" $model.storage.accessModes) (has "ReadOnlyMany" $model.storage.accessModes))) -}}
{{- fail (printf "%s.storage: %d replicas can't share a claim that is %s: set storage.accessModes to [ReadWriteMany] (with a storage class that can), run one replica, or leave the claim away" $at $most (join ", " $model.storage.accessModes)) -}}
{{- end -}}
{{- $models = append $models $model -}}
{{- end -}}
{{- dict "models" $models | toJson -}}
{{- end }}

{{/* The gateway's settings file: what the chart knows, and over it what `settings` says. */}}
{{- define "gateway.settings" -}}
{{- $workers := list -}}
{{- $models := dict -}}
{{- range (include "models" . | fromJson).models -}}
{{- if .external -}}
{{- $workers = concat $workers .external -}}
{{- else if eq $.Values.discovery "kubernetes" -}}
{{- $workers = append $workers (printf "kubernetes://%s/%s:http" $.Release.Namespace .full) -}}
{{- else -}}
{{- $workers = append $workers (printf "dns://%s:8000" .full) -}}
{{- end -}}
{{- $own := deepCopy (default dict .settings) -}}
{{- with .start_s }}{{ $_ := set $own "start_s" . }}{{ end -}}
{{- if .autoscaling }}{{ if eq (int .autoscaling.minReplicas) 0 }}{{ $_ := set $own "scales_to_zero" true }}{{ end }}{{ end -}}
{{- $_ := set $models .name $own -}}
{{- end -}}
{{- $all := dict "workers" $workers "deadline_s" 25 "drain_s" 5 "max_bytes_in_flight" "268435456" -}}
{{- with $models }}{{ $_ := set $all "models" . }}{{ end -}}
{{- if and .Values.models (eq (len .Values.models) 1) }}{{ $_ := set $all "default_model" (first .Values.models).name }}{{ end -}}
{{- with .Values.secrets.apiKeys }}{{ $_ := set $all "api_keys_file" "/etc/rerank-gateway/api-keys/api-keys" }}{{ end -}}
{{- if .Values.valkey.enabled -}}
{{- if not .Values.secrets.cache -}}
{{- fail "valkey.enabled needs secrets.cache: make a Secret with a key `secret` (openssl rand -hex 32) and name it there; replicas without a common secret share nothing" -}}
{{- end -}}
{{- $_ := set $all "redis_url" (printf "redis://%s:6379" (include "valkey.name" .)) -}}
{{- end -}}
{{- with .Values.secrets.cache }}{{ $_ := set $all "cache_secret_file" "/etc/rerank-gateway/cache/secret" }}{{ end -}}
{{- toYaml (merge (deepCopy .Values.settings) $all) -}}
{{- end }}

{{/* Seconds for a pod that stops: 5 of preStop, drain_s, 10 for a head half sent, deadline_s, 2 for the last answers; and some. */}}
{{- define "gateway.grace" -}}
{{- $settings := include "gateway.settings" . | fromYaml -}}
{{- add 30 (ceil $settings.drain_s) (ceil $settings.deadline_s) -}}
{{- end }}

{{/*
The number of replicas. An autoscaled Deployment has none, but keeps what runs if it had one: removed, it would be 1 at once.
Takes (dict "root" $ "name" NAME "replicas" NUMBER-OR-NIL "autoscaled" BOOL).
*/}}
{{- define "replicas" -}}
{{- if not .autoscaled -}}
{{ .replicas }}
{{- else -}}
{{- $live := lookup "apps/v1" "Deployment" .root.Release.Namespace .name -}}
{{- if and $live (get (default dict $live.metadata.annotations) "rerank-gateway/replicas") -}}
{{ $live.spec.replicas }}
{{- else if .replicas -}}
{{ .replicas }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "pod.security" -}}
runAsNonRoot: true
{{- if ne .root.Values.platform "openshift" }}
runAsUser: {{ .user }}
runAsGroup: {{ .group }}
{{- with .fsGroup }}
fsGroup: {{ . }}
{{- end }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "container.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop:
    - ALL
{{- end }}

{{/* Over zones and hosts, each rollout by itself. Takes the labels as text. */}}
{{- define "spread" -}}
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- topologyKey: {{ $key }}
  maxSkew: 1
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- $ | nindent 6 }}
  matchLabelKeys:
    - pod-template-hash
{{- end }}
{{- end }}

{{- define "service.ip" -}}
{{- with .Values.ip.policy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .Values.ip.families }}
ipFamilies:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "budget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels:
    {{- .labels | nindent 4 }}
spec:
  maxUnavailable: 1
  # A pod that is broken anyway must not hold up the emptying of its node.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- .selector | nindent 6 }}
{{- end }}

{{/* An egress rule for names: the cluster's DNS, and the cache that some clusters run on every node. */}}
{{- define "dns.egress" -}}
{{- $port := ternary 5353 53 (eq .Values.platform "openshift") }}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ ternary "openshift-dns" "kube-system" (eq .Values.platform "openshift") }}
    {{- if eq .Values.platform "gke" }}
    - ipBlock:
        cidr: 169.254.169.254/32
    {{- end }}
    {{- range .Values.networkPolicy.dnsAddresses }}
    - ipBlock:
        cidr: {{ . }}
    {{- end }}
  ports:
    - port: {{ $port }}
      protocol: UDP
    - port: {{ $port }}
      protocol: TCP
{{- end }}

{{- define "monitoring.enabled" -}}
{{- if or (eq (toString .Values.monitoring.enabled) "true") (and (eq (toString .Values.monitoring.enabled) "auto") (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1")) -}}
true
{{- end -}}
{{- end }}

{{- define "monitoring.ingress" -}}
{{- if include "monitoring.enabled" . }}
- from:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ .Values.monitoring.namespace }}
  ports:
    - port: http
      protocol: TCP
{{- end }}
{{- end }}

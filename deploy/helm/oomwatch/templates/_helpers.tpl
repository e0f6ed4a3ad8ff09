{{/* Name of the objects. */}}
{{- define "oomwatch.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains "oomwatch" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-oomwatch" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Whether a part is there that comes with `hardened` if it is not chosen: "true" or "". */}}
{{- define "oomwatch.chosen" -}}
{{- if kindIs "invalid" .part.enabled }}{{ if .root.Values.hardened }}true{{ end }}{{ else if .part.enabled }}true{{ end }}
{{- end -}}

{{/* What selects the pods. */}}
{{- define "oomwatch.selector" -}}
app.kubernetes.io/name: oomwatch
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/*
Prints `object`, a manifest of the kustomizations, as one of this release: with its name, namespace, labels and annotations.
*/}}
{{- define "oomwatch.print" -}}
{{- $root := .root -}}
{{- $metadata := .object.metadata -}}
{{- $_ := set $metadata "name" ($metadata.name | replace "oomwatch" (include "oomwatch.fullname" $root)) -}}
{{- if not (has .object.kind (list "ClusterRole" "ClusterRoleBinding" "ValidatingAdmissionPolicy" "ValidatingAdmissionPolicyBinding")) -}}
{{- $_ := set $metadata "namespace" $root.Release.Namespace -}}
{{- end -}}
{{- $labels := include "oomwatch.selector" $root | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/part-of" "oomwatch" -}}
{{- $_ := set $labels "app.kubernetes.io/version" $root.Chart.AppVersion -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_") -}}
{{- $_ := set $metadata "labels" (merge $labels (.labels | default dict) $root.Values.commonLabels) -}}
{{- with merge (deepCopy (.annotations | default dict)) $root.Values.commonAnnotations -}}
{{- $_ := set $metadata "annotations" . -}}
{{- end -}}
{{ toYaml .object }}
{{- end -}}

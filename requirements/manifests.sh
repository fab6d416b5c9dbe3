#!/bin/sh
# Writes deploy/kubernetes/*.yaml out of the chart, for whoever applies manifests without Helm. Run by `make manifests`.
# usage: manifests.sh [FOLDER]     another folder than deploy/kubernetes
set -eu
cd "$(dirname "$0")/.."
folder=${1:-deploy/kubernetes}
helm=$(sh requirements/tool.sh helm)
for name in sqlite postgresql; do
  values=deploy/helm/examples/$name.yaml
  {
    grep '^#' "$values"
    echo "# then: kubectl apply -f $name.yaml"
    echo "# Made of deploy/helm by \`make manifests\`: change it there."
    "$helm" template relay deploy/helm --kube-version 1.31.0 -f "$values" |
      sed -e '/^# Source: /d' -e '/app.kubernetes.io\/managed-by: /d'
  } > "$folder/$name.yaml"
done

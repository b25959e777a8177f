// Package definitions holds in go.mod the types from which controller-gen makes the definitions of ServiceMonitor and
// PrometheusRule.
package definitions

import _ "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"

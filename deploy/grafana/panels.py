"""What dashboards are made of: panels, rows, variables."""

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# `$S` in an expression: what the variables at the top select.
SELECTOR = 'namespace=~"$namespace", job=~"$job", instance=~"$instance"'
# `$R`: the window of rates. `$PUSH`: routes of pushes.
RATE = "$__rate_interval"
PUSH = (
    'route=~"push_v1_pusherservice_push|ingest|pyroscope_ingest|v1development_profiles|'
    'opentelemetry_proto_collector_profiles_v1development_profilesservice_export"'
)
WIDTH = 24


def fill(expression):
    return expression.replace("$S", SELECTOR).replace("$R", RATE).replace("$PUSH", PUSH)


def panel(title, description, unit, *queries, kind="timeseries", width=8, stack=False, maximum=None):
    """One panel; each query is (expression, legend)."""
    targets = [
        {
            "refId": chr(ord("A") + at),
            "datasource": DATASOURCE,
            "expr": fill(expression),
            "legendFormat": legend,
            "range": kind != "stat",
            "instant": kind == "stat",
        }
        for at, (expression, legend) in enumerate(queries)
    ]
    custom = {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": False}
    if stack:
        custom.update({"stacking": {"mode": "normal", "group": "A"}, "fillOpacity": 60})
    defaults = {"unit": unit, "min": 0, "custom": custom if kind == "timeseries" else {}}
    if maximum is not None:
        defaults["max"] = maximum
    options = {
        "timeseries": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "stat": {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "graphMode": "area"},
    }[kind]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "width": width,
    }


def stat(title, description, unit, expression, width=4):
    return panel(title, description, unit, (expression, ""), kind="stat", width=width)


def quantiles(title, description, metric, by="", selector="", unit="s"):
    """Median and 99th percentile of a histogram, by a label or of all."""
    extra = f", {selector}" if selector else ""
    groups, legend = (f"{by}, le", f"{{{{{by}}}}} ") if by else ("le", "")
    query = f"sum by ({groups}) (rate({metric}_bucket{{$S{extra}}}[$R]))"
    return panel(
        title,
        description,
        unit,
        (f"histogram_quantile(0.99, {query})", f"{legend}p99"),
        (f"histogram_quantile(0.5, {query})", f"{legend}p50"),
    )


def variable(name, query, label):
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def dashboard(name, title, description, *rows, variables=()):
    """Rows are (title, panels); panels stand side by side as wide as they say."""
    panels, y, number = [], 0, 1
    for row_title, row_panels in rows:
        panels.append(
            {
                "type": "row",
                "title": row_title,
                "id": number,
                "collapsed": False,
                "panels": [],
                "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y},
            }
        )
        number, y, x, height = number + 1, y + 1, 0, 0
        for one in row_panels:
            one = dict(one)
            width = one.pop("width")
            if x + width > WIDTH:
                x, y, height = 0, y + height, 0
            size = 4 if one["type"] == "stat" else 8
            panels.append({**one, "id": number, "gridPos": {"h": size, "w": width, "x": x, "y": y}})
            number, x, height = number + 1, x + width, max(height, size)
        y += height
    build = "pyroscope_build_info"
    templating = [
        {
            "type": "datasource",
            "name": "datasource",
            "label": "Data source",
            "query": "prometheus",
            "refresh": 1,
            "current": {},
        },
        variable("namespace", f"label_values({build}, namespace)", "Namespace"),
        variable("job", f'label_values({build}{{namespace=~"$namespace"}}, job)', "Job"),
        variable("instance", f'label_values({build}{{namespace=~"$namespace", job=~"$job"}}, instance)', "Instance"),
        *variables,
    ]
    return name, {
        "uid": f"hearth-{name}",
        "title": f"Hearth / {title}",
        "description": description,
        "tags": ["hearth"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [
            {
                "type": "dashboards",
                "title": "Hearth",
                "tags": ["hearth"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
            }
        ],
        "templating": {"list": templating},
        "panels": panels,
    }

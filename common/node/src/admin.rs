//! `GET /admin`: which process this is, and links to all that it shows of itself.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use hearth_cluster::gossip::Role;
use hearth_common::{Clock, InstanceId};
use hearth_telemetry::BuildInfo;

use crate::ring::text;

const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Hearth: this process</title><style>\
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:46rem;padding:0 1rem}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8884;\
vertical-align:top}th{font-weight:600;width:9rem}form{display:inline}code{font-size:.9em}</style></head><body>";

/// Address, and what is there; on every process.
const LINKS: [(&str, &str); 10] = [
    ("/ready", "whether it takes requests, and if not, what it waits for"),
    ("/healthz", "whether it gets on, and if not, what is stuck"),
    ("/metrics", "figures for Prometheus"),
    ("/ring", "who is in the cluster, and how its cells are"),
    ("/api/v1/status/config", "the settings in force"),
    ("/api/v1/status/config/diff", "those that differ from the defaults"),
    ("/api/v1/status/config/default", "the defaults"),
    ("/runtime_config?mode=diff", "the limits that single tenants have of their own"),
    ("/api/v1/status/buildinfo", "which version this is"),
    ("/debug/pprof/", "profiles of the process itself"),
];

/// What the page says.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) role: Role,
    pub(crate) instance: InstanceId,
    pub(crate) zone: String,
    pub(crate) clock: Arc<dyn Clock>,
    /// On the clock that never falls.
    pub(crate) started: Duration,
}

impl Admin {
    pub(crate) fn routes(self) -> Router {
        Router::new().route("/admin", get(move || async move { Html(self.page()) }))
    }

    fn page(&self) -> String {
        let BuildInfo { version, revision, .. } = BuildInfo::CURRENT;
        let up = self.clock.monotonic().saturating_sub(self.started);
        let zone = if self.zone.is_empty() { "none" } else { &self.zone };
        let mut page = format!("{HEAD}<h1>Hearth {}</h1><table>", self.role.as_str());
        for (name, value) in [
            ("Instance", text(&self.instance.0)),
            ("Zone", text(zone)),
            ("Version", format!("{} ({})", text(version), text(revision))),
            ("Up", hearth_common::units::GoDuration(Duration::from_secs(up.as_secs())).to_go_string()),
        ] {
            put(&mut page, format_args!("<tr><th>{name}<td>{value}</tr>"));
        }
        page.push_str("</table><h2>Look</h2><table>");
        for (address, what) in LINKS {
            put(&mut page, format_args!("<tr><td><a href=\"{address}\">{address}</a><td>{what}</tr>"));
        }
        page.push_str("</table><h2>Do</h2><table>");
        if matches!(self.role, Role::Ingester | Role::Standalone) {
            page.push_str(
                "<tr><td><form method=\"post\" action=\"/flush\"><button>POST /flush</button></form>\
                 <td>publishes everything in memory to the store</tr>",
            );
        }
        page.push_str("<tr><td><code>POST /shutdown</code><td>stops the process cleanly</tr>");
        if self.role != Role::Standalone {
            page.push_str(
                "<tr><td><code>POST /leave</code><td>leaves the cluster for good: not for a restart</tr>",
            );
        }
        page.push_str("</table></body></html>\n");
        page
    }
}

fn put(page: &mut String, line: std::fmt::Arguments<'_>) {
    page.write_fmt(line).expect("a string takes what is written");
}

#[cfg(test)]
mod tests {
    use hearth_common::SystemClock;

    use super::*;

    fn page(role: Role, zone: &str) -> String {
        let clock = Arc::new(SystemClock::default());
        let instance = InstanceId(Arc::from("node-1"));
        Admin { role, instance, zone: zone.to_owned(), clock, started: Duration::ZERO }.page()
    }

    #[test]
    fn the_page_names_the_process_and_links_what_it_has() {
        let ingester = page(Role::Ingester, "<a&'\">");
        for part in [
            "Hearth ingester",
            "node-1",
            "&lt;a&amp;&#39;&quot;&gt;",
            "action=\"/flush\"",
            "href=\"/healthz\"",
            "/leave",
        ] {
            assert!(ingester.contains(part), "{part}: {ingester}");
        }
        assert!(
            !ingester.contains("<a&") && !ingester.contains("://"),
            "escaped, and nothing from elsewhere"
        );
        assert!(!page(Role::Querier, "").contains("/flush"));
        assert!(!page(Role::Standalone, "").contains("/leave"));
    }
}

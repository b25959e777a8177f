//! `GET /ring` and `/cluster`: who is in the cluster and how its cells are; a page for people, JSON for programs.
//!
//! Owns what both show. What ingesters know is asked of them, each given a moment: a part that cannot be had is shown as
//! such. Must not know how anything is decided.

mod html;
mod view;

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use hearth_cluster::gossip::{Announcement, Peers};
use hearth_common::Clock;

use crate::membership::{Asked, Membership};
pub(crate) use html::text;
use view::{Known, Ring};

/// What the page is made from.
#[derive(Clone)]
pub(crate) struct RingPage {
    /// This process; set once its port is bound, before it answers.
    pub(crate) me: Arc<OnceLock<Announcement>>,
    /// Its name of the cluster.
    pub(crate) cluster: String,
    /// Where it sees the others; `None` = it is alone.
    pub(crate) membership: Option<Arc<Membership>>,
    /// Time.
    pub(crate) clock: Arc<dyn Clock>,
}

impl RingPage {
    pub(crate) fn routes(self) -> Router {
        Router::new().route("/ring", get(ring)).route("/cluster", get(ring)).with_state(self)
    }

    async fn ring(&self) -> Option<Ring> {
        let me = self.me.get()?;
        let (peers, roster, asked, notes) = match &self.membership {
            None => (Peers::fixed([me.clone()]), None, Asked::new(), Vec::new()),
            Some(membership) => {
                let asked = membership.ask_all().await;
                let peers = Arc::clone(&membership.peers().borrow());
                let roster = membership.store().known();
                let notes = membership.plan_now(roster.as_deref()).notes;
                (peers, roster, asked, notes)
            }
        };
        let known = Known {
            cluster: &self.cluster,
            me,
            peers: &peers,
            roster: roster.as_deref(),
            asked: &asked,
            notes: &notes,
            now: self.clock.monotonic(),
        };
        Some(view::ring(&known))
    }
}

async fn ring(State(page): State<RingPage>, headers: HeaderMap) -> Response {
    let Some(ring) = page.ring().await else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // Answers differ by this header, so a cache on the way must not mix them.
    let vary = [(header::VARY, "accept"), (header::CACHE_CONTROL, "no-store")];
    if wants_json(accept) {
        return (vary, axum::Json(ring)).into_response();
    }
    (vary, Html(html::page(&ring))).into_response()
}

/// Browsers name text/html; a program that names JSON first, or alone, gets it.
fn wants_json(accept: &str) -> bool {
    let first = accept.split(',').map(|part| part.split(';').next().unwrap_or_default().trim());
    first.into_iter().find_map(|kind| match kind {
        "application/json" => Some(true),
        "text/html" => Some(false),
        _ => None,
    }) == Some(true)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use hearth_cluster::gossip::{PeerState, Role};
    use hearth_common::{InstanceId, SystemClock};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn get(page: &RingPage, path: &str, accept: &str) -> (StatusCode, String, String) {
        let request = Request::get(path).header("accept", accept).body(Body::empty()).expect("a request");
        let response = page.clone().routes().oneshot(request).await.expect("answered");
        let kind = response.headers().get("content-type").map(|kind| kind.to_str().expect("text").to_owned());
        let status = response.status();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, kind.unwrap_or_default(), String::from_utf8(body.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn a_process_that_is_alone_shows_itself() {
        let page = RingPage {
            me: Arc::default(),
            cluster: "hearth".to_owned(),
            membership: None,
            clock: Arc::new(SystemClock::default()),
        };
        assert_eq!(get(&page, "/ring", "*/*").await.0, StatusCode::SERVICE_UNAVAILABLE, "not bound yet");
        page.me.get_or_init(|| Announcement {
            role: Role::Standalone,
            instance: InstanceId(Arc::from("one")),
            disk: None,
            zone: "z".to_owned(),
            api_addr: ([127, 0, 0, 1], 4040).into(),
            cluster_addr: ([127, 0, 0, 1], 4040).into(),
            state: PeerState::Active,
            roster_version: 0,
        });
        for path in ["/ring", "/cluster"] {
            let (status, kind, body) = get(&page, path, "application/json").await;
            assert_eq!((status, kind.as_str()), (StatusCode::OK, "application/json"));
            let json: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            let member = &json["members"][0];
            let shown = ["instance", "zone", "state", "role", "address"].map(|key| member[key].as_str());
            assert_eq!(shown, ["one", "z", "active", "standalone", "127.0.0.1:4040"].map(Some));
            let (status, kind, body) = get(&page, path, "text/html,*/*;q=0.8").await;
            assert_eq!((status, kind.as_str()), (StatusCode::OK, "text/html; charset=utf-8"));
            assert!(
                body.contains("<h2>Members</h2>") && body.contains("<td>one<td>standalone<td>z"),
                "{body}"
            );
        }
    }

    #[test]
    fn programs_get_json_and_browsers_a_page() {
        for (accept, expect) in [
            ("application/json", true),
            ("application/json;q=0.9, */*", true),
            ("text/html,application/xhtml+xml,application/json;q=0.8", false),
            ("*/*", false),
            ("", false),
        ] {
            assert_eq!(wants_json(accept), expect, "{accept}");
        }
    }
}

//! The internal port with certificates: who has one of the cluster is served, who has not is refused, counted, and told why.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hearth_common::SystemClock;
use hearth_internode::tls::Refreshed;
use hearth_internode::{CallError, IngesterClient, Link, LinkOptions, LinkState, Metrics, Tls, TlsFiles};
use hearth_testkit::certificates::rcgen::{SanType, date_time_ymd};
use hearth_testkit::certificates::{Authority, Files};
use prometheus_client::registry::Registry;
use support::{Nothing, Port, append, hello, inbox, member, soon};
use tokio_util::sync::CancellationToken;

const NAME: &str = "hearth-cluster";
const LONG: Duration = Duration::from_secs(10);

fn tls_files(files: Files) -> TlsFiles {
    let Files { cert, key, ca } = files;
    TlsFiles { cert, key, ca, name: NAME.to_owned() }
}

fn open(files: Files) -> Tls {
    Tls::open(tls_files(files), Arc::new(SystemClock::default()), Metrics::default()).unwrap()
}

fn client(port: &Port, tls: Option<Tls>) -> IngesterClient {
    IngesterClient::connect_lazy(&port.address, tls, Metrics::default()).unwrap()
}

async fn port(tls: Tls) -> Port {
    Port::open_tls(tls, Arc::new(Nothing), inbox(false).0).await
}

fn refused(port: &Port, reason: &str) -> u64 {
    port.metric(&format!("hearth_internode_strangers_total{{reason=\"{reason}\"}}"))
}

async fn counted(port: &Port, reason: &str) {
    soon(async {
        while refused(port, reason) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn calls_and_links_pass_between_processes_with_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (sink_b, mut at_b) = inbox(true);
    let port =
        Port::open_tls(open(authority.issue(&dir.path().join("b"), NAME)), Arc::new(Nothing), sink_b).await;
    let tls = open(authority.issue(&dir.path().join("a"), NAME));
    assert!(client(&port, Some(tls.clone())).status(LONG).await.is_ok());
    let (sink_a, mut at_a) = inbox(false);
    let (link, task) = Link::new(LinkOptions {
        address: port.address.clone(),
        local: hello("a"),
        peer: member("b"),
        sink: sink_a,
        tls: Some(tls),
        random: Arc::new(|| 7),
        metrics: Metrics::default(),
    });
    let stop = CancellationToken::new();
    tokio::spawn(task.run(stop.clone()));
    at_a.event(|event| event.state == LinkState::Up).await;
    // Longer than a TLS record and than a window of HTTP/2.
    let sent = append(1, Bytes::from(vec![7; 3 << 20]));
    link.send(sent.clone()).await.unwrap();
    assert!(at_b.frame().await == sent && at_a.frame().await == sent);
    stop.cancel();
    port.close().await;
}

#[tokio::test]
async fn strangers_are_refused_counted_and_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new(), Authority::new());
    let port = port(open(ours.issue(&dir.path().join("b"), NAME))).await;

    let plain = client(&port, None).status(LONG).await.unwrap_err();
    assert!(matches!(plain, CallError::Lost { .. } | CallError::Unreachable { .. }), "{plain:?}");
    counted(&port, "no_tls").await;

    let foreign = client(&port, Some(open(theirs.issue(&dir.path().join("c"), NAME))));
    let error = foreign.status(LONG).await.unwrap_err();
    let CallError::Unreachable { why, .. } = &error else { panic!("{error:?}") };
    assert!(why.contains("no TLS with it") && why.contains("cluster.tls"), "{why}");

    // It trusts us, but its certificate is of others: the port refuses it.
    let theirs = theirs.issue(&dir.path().join("d"), NAME);
    let ours_ca = ours.issue(&dir.path().join("e"), NAME).ca;
    std::fs::write(&theirs.ca, both(&theirs.ca, &ours_ca)).unwrap();
    assert!(client(&port, Some(open(theirs))).status(LONG).await.is_err());
    counted(&port, "certificate").await;
    assert!(client(&port, Some(open(ours.issue(&dir.path().join("f"), NAME)))).status(LONG).await.is_ok());
    port.close().await;
}

fn both(one: &Path, other: &Path) -> String {
    std::fs::read_to_string(one).unwrap() + &std::fs::read_to_string(other).unwrap()
}

#[tokio::test]
async fn a_certificate_of_our_authority_for_another_name_does_not_let_in() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let port = port(open(authority.issue(&dir.path().join("b"), NAME))).await;
    let other = Tls::open(
        TlsFiles {
            name: "payroll".to_owned(),
            ..tls_files(authority.issue_with(&dir.path().join("c"), "payroll", |_| {}))
        },
        Arc::new(SystemClock::default()),
        Metrics::default(),
    );
    // Refused by the client, which looks for its own name at the server, and by the server alone when it does not.
    assert!(client(&port, Some(other.unwrap())).status(LONG).await.is_err());
    let both_names = authority.issue_with(&dir.path().join("d"), NAME, |params| {
        params.subject_alt_names.push(SanType::DnsName("payroll".try_into().unwrap()));
    });
    let lenient = Tls::open(
        TlsFiles { name: "payroll".to_owned(), ..tls_files(both_names.clone()) },
        Arc::new(SystemClock::default()),
        Metrics::default(),
    )
    .unwrap();
    let strict = Port::open_tls(open(both_names), Arc::new(Nothing), inbox(false).0).await;
    assert!(client(&strict, Some(lenient)).status(LONG).await.is_ok());
    let payroll = open_as("payroll", authority.issue(&dir.path().join("e"), "payroll"));
    assert!(client(&strict, Some(payroll)).status(LONG).await.is_err());
    counted(&strict, "certificate").await;
}

fn open_as(name: &str, files: Files) -> Tls {
    let files = TlsFiles { name: name.to_owned(), ..tls_files(files) };
    Tls::open(files, Arc::new(SystemClock::default()), Metrics::default()).unwrap()
}

#[tokio::test]
async fn a_port_without_tls_says_what_it_was_offered() {
    let dir = tempfile::tempdir().unwrap();
    let port = Port::open(hello("b"), Arc::new(Nothing), inbox(false).0).await;
    let tls = open(Authority::new().issue(dir.path(), NAME));
    assert!(client(&port, Some(tls)).status(LONG).await.is_err());
    counted(&port, "tls").await;
    port.close().await;
}

#[tokio::test]
async fn renewed_files_are_used_and_broken_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new(), Authority::new());
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let files = old.issue(&dir.path().join("b"), NAME);
    let tls = Tls::open(tls_files(files.clone()), Arc::new(SystemClock::default()), metrics).unwrap();
    let port = port(tls.clone()).await;
    assert_eq!(tls.refresh().unwrap(), Refreshed::Same);

    std::fs::write(&files.cert, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(tls.refresh().is_err());
    let before = open(old.issue(&dir.path().join("a"), NAME));
    assert!(client(&port, Some(before)).status(LONG).await.is_ok());

    new.issue(&dir.path().join("b"), NAME);
    assert_eq!(tls.refresh().unwrap(), Refreshed::Renewed);
    let after = open(new.issue(&dir.path().join("c"), NAME));
    assert!(client(&port, Some(after)).status(LONG).await.is_ok());
    let late = open(old.issue(&dir.path().join("d"), NAME));
    assert!(client(&port, Some(late)).status(LONG).await.is_err());
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("hearth_internode_tls_refused_files_total 1"), "{text}");
    let expires = format!(
        "hearth_internode_tls_certificate_expires_timestamp_seconds {}",
        tls.expires().0 / 1_000_000_000
    );
    assert!(text.contains(&expires), "{text}");
    port.close().await;
}

#[test]
fn files_that_peers_would_refuse_are_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, other) = (Authority::new(), Authority::new());
    let error = |files: Files| {
        let opened = Tls::open(tls_files(files), Arc::new(SystemClock::default()), Metrics::default());
        hearth_common::error::chain(&opened.unwrap_err())
    };
    let at = |name: &str| dir.path().join(name);
    let missing = Files { cert: at("nowhere"), key: at("nowhere"), ca: at("nowhere") };
    assert!(error(missing).starts_with("cannot read "));

    let mut pair = authority.issue(&at("a"), NAME);
    pair.key = authority.issue(&at("b"), NAME).key;
    assert!(error(pair).contains("does not fit the certificate"));

    let mut signed_by_others = authority.issue(&at("c"), NAME);
    signed_by_others.ca = other.issue(&at("d"), NAME).ca;
    assert!(error(signed_by_others).contains("cannot serve as server"));

    let nameless = authority.issue(&at("e"), "payroll");
    assert!(error(nameless).contains("of a cluster named 'hearth-cluster'"));

    let expired = authority.issue_with(&at("f"), NAME, |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    assert!(error(expired).to_lowercase().contains("expired"));

    let server_only = authority.issue_with(&at("g"), NAME, |params| {
        params.extended_key_usages.truncate(1);
    });
    assert!(error(server_only).contains("cannot serve as client"));

    let mut no_key = authority.issue(&at("h"), NAME);
    no_key.key = no_key.cert.clone();
    assert!(error(no_key).contains("no private key in PEM"));
    let mut no_cert = authority.issue(&at("i"), NAME);
    no_cert.ca = no_cert.key.clone();
    assert!(error(no_cert).contains("no certificate in PEM"));
}

//! Deleted profiles are in no answer from the next query on, over kills and restarts and from every querier; all others are,
//! and so is what is pushed later. A dry run shows what then goes.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hearth_integration_tests::api::CPU;
use hearth_integration_tests::cluster::{Plan, Role};
use hearth_integration_tests::load::turn;
use hearth_integration_tests::process::{Options, binary};
use hearth_integration_tests::{Api, Cluster, Hearth, profile};
use serde_json::{Value, json};

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Profiles of a service, one every millisecond: value 1000 each, and one more for each of `main;leaf`.
fn push(api: &Api, service: &str, at_ms: i64, numbers: std::ops::Range<i64>) {
    for number in numbers {
        let body = profile::cpu((at_ms + number) * 1_000_000, &[(&["main", "leaf"], 1000), (&["main"], 7)]);
        let pod = format!("pod-{}", number % 2);
        let labels = [("__name__", "process_cpu"), ("service_name", service), ("pod", &pod)];
        let answer = api.push(&labels, &body).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// What `count` profiles add up to.
fn sum(count: i64) -> i64 {
    count * 1007
}

fn admin(args: &[&str]) -> (bool, String) {
    let output = Command::new(binary()).arg("admin").args(args).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), format!("{out}{err}"))
}

fn call(api: &Api, body: &Value) -> (u16, Value) {
    let answer = api.post("/api/v1/deletions", "application/json", body.to_string().as_bytes()).unwrap();
    (answer.status, answer.json())
}

struct Asker {
    from_ms: i64,
}

impl Asker {
    fn total(&self, api: &Api, selector: &str) -> i64 {
        api.total(selector, self.from_ms - 60_000, now_ms() + 60_000).unwrap()
    }

    fn services(&self, api: &Api) -> Vec<String> {
        let question =
            json!({"name": "service_name", "start": self.from_ms - 60_000, "end": now_ms() + 60_000});
        let names = api.query("LabelValues", &question).json()["names"].clone();
        names.as_array().into_iter().flatten().map(|name| name.as_str().unwrap().to_owned()).collect()
    }
}

/// Nothing is carried out behind the back of the test.
const WITHOUT_COMPACTOR: &str = "compactor:\n  interval: 0\n";
const SHOP: &str = r#"{service_name="shop"}"#;

#[test]
fn one_process_deletes_at_once_and_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(&dir.path().join("data"));
    options.config.push_str(WITHOUT_COMPACTOR);
    let server = Hearth::start(&options);
    let from_ms = now_ms() - 30_000;
    let asker = Asker { from_ms };
    for tenant in ["one", "two"] {
        let api = server.api(tenant);
        push(&api, "shop", from_ms, 0..6);
        push(&api, "cart", from_ms, 0..4);
    }
    server.api("").flush();
    push(&server.api("one"), "shop", from_ms, 6..10);
    let api = server.api("one");
    assert_eq!((asker.total(&api, SHOP), asker.total(&api, "{}")), (sum(10), sum(14)));

    // What is not meant is refused in words.
    for (body, status, words) in [
        (json!({"selector": ""}), 400, "unexpected end of input"),
        (json!({"selector": "{"}), 400, "parse error"),
        (json!({"selector": "{}"}), 400, "everything"),
        (json!({"selector": r#"{pod=~".*"}"#}), 400, "everything"),
        (json!({"selector": SHOP, "from_ms": 5, "until_ms": 4}), 400, "ends before it starts"),
        (json!({"selektor": SHOP}), 400, "selektor"),
    ] {
        let (got, answer) = call(&api, &body);
        assert!(got == status && answer["message"].as_str().unwrap().contains(words), "{got} {answer}");
    }
    let unknown = format!("/api/v1/deletions/{:032x}", 7);
    assert_eq!(api.get(&unknown).unwrap().status, 404);

    let (status, shown) = call(&api, &json!({"selector": SHOP, "dry_run": true}));
    assert_eq!((status, &shown["state"]), (200, &json!("dry_run")), "{shown}");
    assert_eq!((&shown["profiles"], &shown["samples"]), (&json!(10), &json!(20)), "{shown}");
    assert_eq!((&shown["blocks"], &shown["profiles_unpublished"]), (&json!(1), &json!(4)), "{shown}");
    assert_eq!((&shown["takes"][0]["service"], &shown["takes"][0]["type"]), (&json!("shop"), &json!(CPU)));
    assert_eq!(asker.total(&api, SHOP), sum(10), "a dry run deletes nothing");

    let url = server.url.as_str();
    let base = ["delete", "--url", url, "--tenant", "one", "--selector", SHOP];
    let (success, text) = admin(&base);
    assert!(!success && text.contains("--yes") && text.contains("shop"), "{text}");
    assert_eq!(asker.total(&api, SHOP), sum(10));
    let (success, text) = admin(&[&base[..], &["--yes"]].concat());
    assert!(success && text.contains("deleted 10 profiles"), "{text}");
    let all_but_shop = |api: &Api| {
        assert_eq!((asker.total(api, SHOP), asker.total(api, "{}")), (0, sum(4)));
        assert_eq!(asker.services(api), ["cart"]);
    };
    all_but_shop(&api);
    assert_eq!(asker.total(&server.api("two"), "{}"), sum(10), "another tenant's stay");
    let (success, text) = admin(&["deletions", "--url", url, "--tenant", "one"]);
    assert!(success && text.contains("pending") && text.contains("10 profiles, 20 samples"), "{text}");
    assert!(admin(&["deletions", "--url", url, "--tenant", "two"]).1.contains("no deletions"));

    server.kill();
    let server = Hearth::start(&options);
    let api = server.api("one");
    all_but_shop(&api);
    push(&api, "shop", from_ms, 20..23);
    assert_eq!(asker.total(&api, SHOP), sum(3), "pushed later");
    api.flush();
    assert_eq!((asker.total(&api, SHOP), asker.total(&api, "{}")), (sum(3), sum(7)));

    // On the store alone: not while a server has the folder, and only what is published.
    let data = options.data_dir.to_str().unwrap();
    let on_store =
        ["delete", "--data-dir", data, "--tenant", "one", "--selector", r#"{pod="pod-1"}"#, "--yes"];
    let (success, text) = admin(&on_store);
    assert!(!success && text.contains("--url"), "{text}");
    server.stop();
    let (success, text) = admin(&on_store);
    assert!(success && text.contains("deleted 3 profiles"), "{text}");
    let server = Hearth::start(&options);
    let api = server.api("one");
    assert_eq!(asker.total(&api, "{}"), sum(4), "of cart two, of shop two");

    // Taken back before anything of it is carried out.
    let listed = api.get("/api/v1/deletions").unwrap().json();
    let id = listed["deletions"][0]["id"].as_str().unwrap().to_owned();
    let (success, text) = admin(&["undelete", "--url", &server.url, "--tenant", "one", &id]);
    assert!(success, "{text}");
    assert_eq!(asker.total(&api, "{}"), sum(7));
    assert_eq!(api.get(&format!("/api/v1/deletions/{id}")).unwrap().json()["state"], json!("cancelled"));
    server.stop();
}

#[test]
fn the_number_of_waiting_deletions_and_the_rules_of_retention_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(&dir.path().join("data"));
    options.config.push_str("  max_pending_deletions: 1\n");
    options.config.push_str(WITHOUT_COMPACTOR);
    let server = Hearth::start(&options);
    let api = server.api("one");
    push(&api, "shop", now_ms() - 1000, 0..2);
    let body = json!({"selector": SHOP});
    assert_eq!(call(&api, &body).0, 200);
    let (status, answer) = call(&api, &body);
    assert!(status == 429 && answer["message"].as_str().unwrap().contains("the limit is 1"), "{answer}");
    let metrics = server.api("").get("/metrics").unwrap().text();
    assert!(metrics.contains("hearth_querier_deletions_total{outcome=\"refused\"} 1"), "{metrics}");
    // Carried out: nothing of it was published, so it does not wait any more.
    api.flush();
    assert_eq!(call(&api, &body).0, 200);
    server.stop();

    options.config = "limits: {retention: [{selector: '{env=', period: 7d}]}\n".to_owned();
    let mut refused = Command::new(binary());
    let config = dir.path().join("bad.yaml");
    std::fs::write(&config, &options.config).unwrap();
    refused.arg("serve").arg("--listen").arg("127.0.0.1:0").arg("--config").arg(&config);
    let output = refused.arg("--data-dir").arg(dir.path().join("other")).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && error.contains("limits.retention") && error.contains("{env="),
        "{error}"
    );
}

#[test]
fn a_cluster_deletes_for_every_querier_and_over_changes_of_leaders() {
    let _turn = turn();
    let mut cluster = Cluster::start(Plan::default());
    let from_ms = now_ms() - 30_000;
    let asker = Asker { from_ms };
    let (pusher, other_pusher) = (cluster.api("distributor-0", "one"), cluster.api("distributor-0", "two"));
    push(&pusher, "shop", from_ms, 0..8);
    push(&pusher, "cart", from_ms, 0..4);
    push(&other_pusher, "shop", from_ms, 0..3);
    cluster.flush();
    push(&pusher, "shop", from_ms, 8..14);
    let queriers = cluster.names(Role::Querier);
    for name in &queriers {
        // Each knows the root before the deletion.
        assert_eq!(asker.total(&cluster.api(name, "one"), "{}"), sum(18), "{name}");
    }
    let (status, answer) = call(&cluster.api(&queriers[0], "one"), &json!({"selector": SHOP}));
    assert_eq!((status, &answer["profiles"]), (200, &json!(14)), "{answer}");
    let check = |cluster: &Cluster, shop: i64| {
        for name in &queriers {
            let api = cluster.api(name, "one");
            assert_eq!(
                (asker.total(&api, SHOP), asker.total(&api, "{}")),
                (sum(shop), sum(shop + 4)),
                "{name}"
            );
            assert_eq!(asker.total(&cluster.api(name, "two"), "{}"), sum(3), "{name}");
        }
    };
    check(&cluster, 0);
    for name in cluster.names(Role::Ingester) {
        cluster.kill(&name);
        cluster.restart(&name);
    }
    // Leaders may still be elected: asked until there is an answer, which must be right at once.
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let api = cluster.api(&queriers[0], "one");
    while api.total("{}", from_ms - 60_000, now_ms() + 60_000).is_err() {
        assert!(std::time::Instant::now() < deadline, "no answer");
        std::thread::sleep(Duration::from_millis(100));
    }
    check(&cluster, 0);
    push(&pusher, "shop", from_ms, 30..35);
    check(&cluster, 5);
    cluster.flush();
    check(&cluster, 5);
}

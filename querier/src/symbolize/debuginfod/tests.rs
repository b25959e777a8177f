//! Against a server of this test, over real sockets.

use std::sync::atomic::{AtomicU32, Ordering};

use hearth_common::SystemClock;
use hearth_testkit::HandClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A server whose n-th answer is `answer(n, target)`, from 0 on: the whole of it, headers and all.
async fn server(answer: impl Fn(u32, &str) -> Vec<u8> + Send + Sync + 'static) -> (String, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let url = format!("http://{}", listener.local_addr().expect("has one"));
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut buffer = [0; 1024];
                match socket.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(read) => request.extend_from_slice(&buffer[..read]),
                }
            }
            let text = String::from_utf8_lossy(&request).into_owned();
            let target = text.split(' ').nth(1).unwrap_or_default();
            let number = count.fetch_add(1, Ordering::SeqCst);
            // A client that had enough is gone.
            let _ = socket.write_all(&answer(number, target)).await;
            let _ = socket.shutdown().await;
        }
    });
    (url, asked)
}

fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    let mut whole =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len())
            .into_bytes();
    whole.extend_from_slice(body);
    whole
}

fn client(url: &str) -> (Debuginfod, Arc<HandClock>) {
    let clock = Arc::new(HandClock::default());
    let made = Debuginfod::new(url, Arc::<HandClock>::clone(&clock), Arc::default());
    (made.expect("a URL"), clock)
}

fn id() -> BuildId {
    BuildId::parse("0badcafe").expect("valid")
}

async fn fetch(client: &Debuginfod, bytes_max: u64) -> Result<Bytes, &'static str> {
    let files = Semaphore::new(1);
    match client.fetch(&id(), bytes_max, &files).await {
        Fetched::File(file, _) => Ok(file),
        Fetched::Absent => Err("absent"),
        Fetched::TooLarge => Err("too large"),
        Fetched::Failed => Err("failed"),
    }
}

#[test]
fn without_a_url_nobody_is_asked() {
    assert!(Debuginfod::new("", Arc::new(SystemClock::default()), Arc::default()).is_none());
}

#[tokio::test]
async fn a_file_is_fetched_by_its_build_id() {
    let (url, asked) = server(|_, target| match target {
        "/base/buildid/0badcafe/debuginfo" => answer("200 OK", b"the file"),
        _ => answer("400 Bad Request", b""),
    })
    .await;
    let (client, _) = client(&format!("{url}/base/"));
    assert_eq!(fetch(&client, 8).await, Ok(Bytes::from_static(b"the file")));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_is_not_there_is_not_asked_for_again_for_a_week() {
    let (url, asked) = server(|_, _| answer("404 Not Found", b"no")).await;
    let (client, clock) = client(&url);
    assert_eq!(fetch(&client, 100).await, Err("absent"));
    clock.pass(ABSENT_FOR - Duration::from_millis(1));
    assert_eq!(fetch(&client, 100).await, Err("absent"));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    clock.pass(Duration::from_millis(1));
    assert_eq!(fetch(&client, 100).await, Err("absent"));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_failure_is_tried_again_and_a_refusal_is_not() {
    let (url, asked) = server(|number, _| match number {
        0 => answer("503 Service Unavailable", b""),
        // Breaks off.
        1 => answer("200 OK", b"the file")[..50].to_vec(),
        2 => answer("200 OK", b"the file"),
        _ => answer("403 Forbidden", b""),
    })
    .await;
    let (client, _) = client(&url);
    assert_eq!(fetch(&client, 100).await, Ok(Bytes::from_static(b"the file")));
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    assert_eq!(fetch(&client, 100).await, Err("failed"));
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_server_that_fails_is_left_alone_for_a_minute() {
    let (url, asked) = server(|number, _| match number {
        0..6 => answer("500 Internal Server Error", b""),
        _ => answer("200 OK", b"the file"),
    })
    .await;
    let (client, clock) = client(&url);
    assert_eq!(fetch(&client, 100).await, Err("failed"));
    assert_eq!(fetch(&client, 100).await, Err("failed"));
    assert_eq!(asked.load(Ordering::SeqCst), 5, "the sixth is held back");
    clock.pass(Duration::from_secs(59));
    assert_eq!(fetch(&client, 100).await, Err("failed"));
    assert_eq!(asked.load(Ordering::SeqCst), 5);
    clock.pass(Duration::from_secs(1));
    assert_eq!(fetch(&client, 100).await, Err("failed"));
    assert_eq!(asked.load(Ordering::SeqCst), 6, "one to see");
    clock.pass(Duration::from_secs(60));
    assert_eq!(fetch(&client, 100).await, Ok(Bytes::from_static(b"the file")));
}

#[tokio::test]
async fn a_file_that_is_too_large_is_not_read() {
    let long = vec![7u8; 5000];
    let without_length = [&b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"[..], &long].concat();
    let (url, asked) = server(move |number, _| match number {
        0 => answer("200 OK", &long),
        _ => without_length.clone(),
    })
    .await;
    let (client, _) = client(&url);
    assert_eq!(fetch(&client, 4999).await, Err("too large"), "it says so");
    assert_eq!(fetch(&client, 4999).await, Err("too large"), "it turns out so");
    assert_eq!(fetch(&client, 5000).await.map(|file| file.len()), Ok(5000));
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

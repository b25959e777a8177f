//! One address in front of a cluster, for clients that know one: each connection goes where the path of its first request
//! belongs. Good for clients that close after each request, or speak to one role only.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

/// Paths that a distributor takes; all others are a querier's.
const PUSHES: [&str; 6] = [
    "/push.v1.",
    "/ingest",
    "/pyroscope/ingest",
    "/v1development/profiles",
    "/opentelemetry.",
    "/debuginfo.",
];
/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Starts it on a free port; gives its base URL. It lives as long as the test program.
pub fn start(distributor: u16, querier: u16) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || drop(serve(client, distributor, querier)));
        }
    });
    url
}

fn serve(mut client: TcpStream, distributor: u16, querier: u16) -> std::io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.contains(&b'\n') && head.len() < HEAD_BYTES_MAX {
        let size = client.read(&mut buffer)?;
        if size == 0 {
            return Ok(());
        }
        head.extend_from_slice(&buffer[..size]);
    }
    let line = String::from_utf8_lossy(&head);
    let path = line.split(' ').nth(1).unwrap_or_default();
    let port = if PUSHES.iter().any(|push| path.starts_with(push)) { distributor } else { querier };
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    server.write_all(&head)?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let up = std::thread::spawn(move || {
        drop(std::io::copy(&mut from_client, &mut to_server));
        drop(to_server.shutdown(Shutdown::Write));
    });
    std::io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Both)?;
    drop(up.join());
    Ok(())
}

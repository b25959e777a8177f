//! A proxy before an HTTP server on loopback that fails as a test says: it refuses, stalls, loses answers, cuts bodies off and
//! lies about their length.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Error, Read, Result, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Most bytes of a request's or an answer's head.
const HEAD_BYTES_MAX: u64 = 64 << 10;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing.
    None,
    /// 503; the server never sees it.
    Refuse,
    /// The server carries it out; the client is told 503.
    RefuseAfter,
    /// The server carries it out; the connection ends without an answer.
    LoseAnswer,
    /// It waits before it is passed on.
    Stall(Duration),
    /// The answer's body ends in the middle, and so does the connection.
    CutBody,
    /// The answer's body ends in the middle, and its length is said to be just that.
    ShortBody,
    /// The answer is one of the whole object, although a range was asked for.
    WholeObject,
    /// The range that is sent begins one byte later than the one that was asked for.
    OtherRange,
}

impl Fault {
    /// Its name in counts.
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Refuse => "refuse",
            Self::RefuseAfter => "refuse-after",
            Self::LoseAnswer => "lose-answer",
            Self::Stall(_) => "stall",
            Self::CutBody => "cut-body",
            Self::ShortBody => "short-body",
            Self::WholeObject => "whole-object",
            Self::OtherRange => "other-range",
        }
    }
}

/// What is known of a request when its fault is decided.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// Which request of the proxy it is, from 0.
    pub number: u64,
}

/// Decides.
pub type Decide = dyn Fn(&Asked<'_>) -> Fault + Send + Sync;

/// The proxy. Its threads end with the process.
pub struct FaultProxy {
    port: u16,
    state: Arc<State>,
}

struct State {
    upstream: u16,
    decide: Mutex<Arc<Decide>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultProxy").field("port", &self.port).finish_non_exhaustive()
    }
}

/// A request or an answer.
struct Message {
    first: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl FaultProxy {
    /// Listens before a port on loopback; nothing fails yet.
    pub fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let decide: Arc<Decide> = Arc::new(|_| Fault::None);
        let state = Arc::new(State { upstream, decide: Mutex::new(decide), counts: Mutex::default() });
        let of = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = Arc::clone(&of);
                // A connection that ends is its own reason.
                std::thread::spawn(move || drop(state.serve(client)));
            }
        });
        Self { port, state }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From the next request on, faults are decided by this.
    pub fn set(&self, decide: impl Fn(&Asked<'_>) -> Fault + Send + Sync + 'static) {
        *self.state.decide.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(decide);
    }

    /// Requests by what happened to them.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.state.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl State {
    fn serve(&self, client: TcpStream) -> Result<()> {
        client.set_nodelay(true)?;
        let mut reader = BufReader::new(client.try_clone()?);
        let mut writer = client;
        while let Some(request) = Message::read(&mut reader, false, true)? {
            let goes_on = self.answer(&request, &mut writer)?;
            if !goes_on {
                writer.shutdown(Shutdown::Both)?;
                break;
            }
        }
        Ok(())
    }

    /// Decides the fault of a request, and counts it.
    fn fault(&self, method: &str, target: &str) -> Fault {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let number = counts.values().sum();
        let decide = Arc::clone(&self.decide.lock().unwrap_or_else(PoisonError::into_inner));
        let fault = decide(&Asked { method, target, number });
        *counts.entry(fault.name()).or_default() += 1;
        fault
    }

    /// Whether the connection goes on.
    fn answer(&self, request: &Message, client: &mut TcpStream) -> Result<bool> {
        let mut words = request.first.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let fault = self.fault(method, target);
        if fault == Fault::Refuse {
            return refuse(client);
        }
        if let Fault::Stall(time) = fault {
            std::thread::sleep(time);
        }
        let mut answer = self.pass_on(request, method, fault)?;
        let (all, is_head) = (answer.body.len(), method == "HEAD");
        match fault {
            Fault::RefuseAfter => return refuse(client),
            Fault::LoseAnswer => return Ok(false),
            Fault::ShortBody if !is_head => answer.body.truncate(all / 2),
            _ => {}
        }
        let length = if is_head { None } else { Some(answer.body.len()) };
        if fault == Fault::CutBody && all > 0 {
            answer.body.truncate(all / 2);
            answer.write(client, Some(all))?;
            return Ok(false);
        }
        answer.write(client, length)?;
        Ok(true)
    }

    fn pass_on(&self, request: &Message, method: &str, fault: Fault) -> Result<Message> {
        let mut upstream = TcpStream::connect(("127.0.0.1", self.upstream))?;
        upstream.set_nodelay(true)?;
        let keep = |name: &str| !matches!(name, "connection" | "content-length" | "transfer-encoding");
        let mut head =
            format!("{}\r\nconnection: close\r\ncontent-length: {}\r\n", request.first, request.body.len());
        for (name, value) in request.headers.iter().filter(|(name, _)| keep(name)) {
            if name == "range" && fault == Fault::WholeObject {
                continue;
            }
            let value = match name == "range" && fault == Fault::OtherRange {
                true => later(value),
                false => value.clone(),
            };
            head += &format!("{name}: {value}\r\n");
        }
        upstream.write_all(format!("{head}\r\n").as_bytes())?;
        upstream.write_all(&request.body)?;
        let answer = Message::read(&mut BufReader::new(upstream), method == "HEAD", false)?;
        answer.ok_or_else(|| Error::other("no answer"))
    }
}

/// `bytes=1-9` becomes `bytes=2-9`.
fn later(range: &str) -> String {
    let parts = range.strip_prefix("bytes=").and_then(|rest| rest.split_once('-'));
    let moved =
        parts.and_then(|(start, end)| Some(format!("bytes={}-{end}", start.parse::<u64>().ok()? + 1)));
    moved.unwrap_or_else(|| range.to_owned())
}

fn refuse(client: &mut TcpStream) -> Result<bool> {
    let body = "<Error><Code>SlowDown</Code></Error>";
    let head = format!("HTTP/1.1 503 Service Unavailable\r\ncontent-length: {}\r\n\r\n", body.len());
    client.write_all((head + body).as_bytes())?;
    Ok(true)
}

impl Message {
    /// The next one; `None` at the end of the connection. An answer without a length ends with its connection.
    fn read(reader: &mut impl BufRead, is_head: bool, is_request: bool) -> Result<Option<Self>> {
        let mut lines = Vec::new();
        let mut limited = reader.take(HEAD_BYTES_MAX);
        loop {
            let mut line = String::new();
            if limited.read_line(&mut line)? == 0 {
                return if lines.is_empty() { Ok(None) } else { Err(Error::other("cut off")) };
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            lines.push(line.to_owned());
        }
        let first = lines.first().cloned().ok_or_else(|| Error::other("an empty head"))?;
        let header =
            |line: &String| line.split_once(':').map(|(n, v)| (n.trim().to_lowercase(), v.trim().to_owned()));
        let headers: Vec<(String, String)> = lines.iter().skip(1).filter_map(header).collect();
        let length =
            headers.iter().find(|(name, _)| name == "content-length").map(|(_, value)| value.parse());
        let length: Option<u64> = length.transpose().map_err(Error::other)?;
        let mut body = Vec::new();
        match length {
            _ if is_head => {}
            Some(length) if reader.take(length).read_to_end(&mut body)? as u64 == length => {}
            Some(_) => return Err(Error::other("cut off")),
            None if is_request => {}
            None => _ = reader.read_to_end(&mut body)?,
        }
        Ok(Some(Self { first, headers, body }))
    }

    /// With this length in place of its own; `None`: its own.
    fn write(&self, to: &mut TcpStream, length: Option<usize>) -> Result<()> {
        let mut head = format!("{}\r\n", self.first.replacen("HTTP/1.0", "HTTP/1.1", 1));
        for (name, value) in &self.headers {
            if name != "connection" && (name != "content-length" || length.is_none()) {
                head += &format!("{name}: {value}\r\n");
            }
        }
        if let Some(length) = length {
            head += &format!("content-length: {length}\r\n");
        }
        to.write_all(format!("{head}\r\n").as_bytes())?;
        to.write_all(&self.body)
    }
}

//! A collector of traces: takes spans over OTLP, in HTTP or in gRPC, as backends do, and keeps them.

mod grpc;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A span as it came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Span {
    /// `service.name` of the process.
    pub service: String,
    /// In hex, as are the next two.
    pub trace_id: String,
    /// Of this span.
    pub span_id: String,
    /// Empty: none.
    pub parent_id: String,
    /// What it is called.
    pub name: String,
    /// 2: of a server, 3: of a client.
    pub kind: u64,
    /// Texts and whole numbers.
    pub attributes: BTreeMap<String, String>,
}

/// The collector; it lives as long as the test program.
#[derive(Debug, Clone)]
pub struct Collector {
    /// Its base URL.
    pub url: String,
    spans: Arc<Mutex<Vec<Span>>>,
    headers: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    /// Starts it on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let collector = Self { url, spans: Arc::default(), headers: Arc::default() };
        let spans = Arc::clone(&collector.spans);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let spans = Arc::clone(&spans);
                std::thread::spawn(move || drop(serve(stream, &spans)));
            }
        });
        collector
    }

    /// Starts one that speaks gRPC.
    pub fn start_grpc() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let collector = Self { url, spans: Arc::default(), headers: Arc::default() };
        let (spans, headers) = (Arc::clone(&collector.spans), Arc::clone(&collector.headers));
        std::thread::spawn(move || grpc::serve(listener, spans, headers));
        collector
    }

    /// `name: value` of all headers that came with gRPC.
    pub fn headers(&self) -> Vec<String> {
        self.headers.lock().expect("not poisoned").clone()
    }

    /// What has come of a trace.
    pub fn spans(&self, trace_id: &str) -> Vec<Span> {
        let spans = self.spans.lock().expect("not poisoned");
        spans.iter().filter(|span| span.trace_id == trace_id).cloned().collect()
    }

    /// The traces of which anything has come.
    pub fn trace_ids(&self) -> Vec<String> {
        let spans = self.spans.lock().expect("not poisoned");
        let mut ids: Vec<String> = spans.iter().map(|span| span.trace_id.clone()).collect();
        ids.sort();
        ids.dedup();
        ids
    }
}

fn serve(stream: TcpStream, spans: &Mutex<Vec<Span>>) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        assert_eq!(line.trim_end(), "POST /v1/traces HTTP/1.1");
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            if header.trim_end().is_empty() {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        spans.lock().expect("not poisoned").extend(decode(&body));
        writer.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n",
        )?;
    }
}

/// A field of a message: its number, and its value: bytes, or a number.
type Field<'a> = (u64, Result<&'a [u8], u64>);

fn fields(mut message: &[u8]) -> Vec<Field<'_>> {
    fn varint(message: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (byte, rest) = message.split_first().expect("a varint ends");
            *message = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let value = match key & 7 {
            0 => Err(varint(&mut message)),
            wire @ (1 | 2 | 5) => {
                let size = match wire {
                    1 => 8,
                    2 => varint(&mut message) as usize,
                    _ => 4,
                };
                let (bytes, rest) = message.split_at(size);
                message = rest;
                Ok(bytes)
            }
            other => panic!("no wire type: {other}"),
        };
        found.push((key >> 3, value));
    }
    found
}

fn messages(message: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    fields(message).into_iter().filter(move |(found, _)| *found == number).filter_map(|(_, value)| value.ok())
}

fn attributes(message: &[u8], number: u64) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    messages(message, number)
        .map(|pair| {
            let key = messages(pair, 1).next().map(text).unwrap_or_default();
            let value = messages(pair, 2).next().map(fields).unwrap_or_default();
            let value = value.first().map(|(_, value)| value.map_or_else(|n| n.to_string(), text));
            (key, value.unwrap_or_default())
        })
        .collect()
}

fn decode(request: &[u8]) -> Vec<Span> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut spans = Vec::new();
    for of_process in messages(request, 1) {
        let resource = messages(of_process, 1).next().unwrap_or_default();
        let service = attributes(resource, 1).remove("service.name").unwrap_or_default();
        for span in messages(of_process, 2).flat_map(|scope| messages(scope, 2)) {
            let bytes = |number| messages(span, number).next().unwrap_or_default();
            let number = |wanted| fields(span).into_iter().find(|(number, _)| *number == wanted);
            spans.push(Span {
                service: service.clone(),
                trace_id: hex(bytes(1)),
                span_id: hex(bytes(2)),
                parent_id: hex(bytes(4)),
                name: String::from_utf8_lossy(bytes(5)).into_owned(),
                kind: number(6).and_then(|(_, value)| value.err()).unwrap_or_default(),
                attributes: attributes(span, 9),
            });
        }
    }
    spans
}

//! gzip on the wire: inflating requests within a cap, deflating answers cheaply.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use connectrpc::{CompressionProvider, CompressionRegistry, ConnectError};
use flate2::Compression;
use flate2::write::GzEncoder;
use hearth_formats::gunzip::{InflateError, inflate_capped};
use http::{HeaderMap, HeaderValue, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::blocking::may_block;
use crate::body::{BodyFault, Held};

/// Answers smaller than this are not compressed.
const COMPRESS_BYTES_MIN: usize = 1024;
/// Work on more bytes than this leaves the threads that answer requests.
const INLINE_BYTES_MAX: usize = 512 << 10;
/// So does what inflates to more than this, however short it is.
const INFLATED_INLINE_MAX: usize = 4 << 20;
/// Larger plain answers go out as they are: compressing needs them whole.
const COMPRESS_BYTES_MAX: usize = 256 << 20;

/// Whether the client takes gzip.
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        named && !parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

/// Why a request is not inflated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Gunzip {
    #[error(transparent)]
    Inflate(#[from] InflateError),
    #[error(transparent)]
    Held(#[from] BodyFault),
}

/// Inflates a request, at most `limit` bytes, and counts them. What becomes large is inflated in a turn, aside; before it is
/// counted, no more than the turns can take memory. The job keeps both, whether somebody still waits or not.
pub(crate) async fn gunzip(bytes: Bytes, limit: usize, held: Option<&Arc<Held>>) -> Result<Bytes, Gunzip> {
    if let Some(inflated) = inflate_small(&bytes, limit) {
        let inflated = inflated?;
        held.map_or(Ok(()), |held| held.take(inflated.len()))?;
        return Ok(inflated);
    }
    let held = held.map(Arc::clone);
    let turn = match &held {
        // It is never closed.
        Some(held) => Arc::clone(&held.budget.inflating).acquire_owned().await.ok(),
        None => None,
    };
    let work = move || {
        let inflated = inflate(&bytes, limit)?;
        held.map_or(Ok(()), |held| held.take(inflated.len()))?;
        drop(turn);
        Ok(inflated)
    };
    // A task that did not end was cut off by the end of the process.
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Gunzip::Inflate(InflateError::Corrupt)))
}

/// Inflates what is small, and becomes nothing large; nothing: it is, or does.
fn inflate_small(bytes: &[u8], limit: usize) -> Option<Result<Bytes, InflateError>> {
    if bytes.len() > INLINE_BYTES_MAX {
        return None;
    }
    match inflate(bytes, limit.min(INFLATED_INLINE_MAX)) {
        Err(InflateError::TooLarge { .. }) if limit > INFLATED_INLINE_MAX => None,
        done => Some(done),
    }
}

fn inflate(bytes: &[u8], limit: usize) -> Result<Bytes, InflateError> {
    let mut out = Vec::new();
    inflate_capped(bytes, limit, &mut out)?;
    Ok(Bytes::from(out))
}

fn deflate(bytes: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4 + 64), Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes)?;
    Ok(Bytes::from(encoder.finish()?))
}

/// Gzips an answer that is whole, large enough and not compressed yet.
pub(crate) async fn gzip_response(response: Response) -> Response {
    let whole = response.body().size_hint().exact().and_then(|size| usize::try_from(size).ok());
    let fits = whole.is_some_and(|size| (COMPRESS_BYTES_MIN..=COMPRESS_BYTES_MAX).contains(&size));
    if !fits || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(collected) = body.collect().await else {
        // A body of known size that breaks off: its length would be a lie, so the connection has to end.
        return Response::from_parts(
            parts,
            Body::from_stream(futures::stream::iter([Err::<Bytes, _>(std::io::Error::other(
                "the answer broke off",
            ))])),
        );
    };
    let bytes = collected.to_bytes();
    let packed = if bytes.len() <= INLINE_BYTES_MAX {
        deflate(&bytes)
    } else {
        let input = bytes.clone();
        tokio::task::spawn_blocking(move || deflate(&input)).await.unwrap_or_else(|e| Err(e.into()))
    };
    let Ok(packed) = packed else {
        return Response::from_parts(parts, Body::from(bytes));
    };
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(packed))
}

/// gzip inside gRPC's frames; Connect's bodies are inflated and deflated around the library.
struct Gzip {
    /// Turns for what becomes large.
    inflating: Arc<Semaphore>,
}

impl Gzip {
    /// Waits for a turn where that holds up no other request.
    fn inflate(&self, data: &[u8], limit: usize) -> Result<Bytes, InflateError> {
        if let Some(inflated) = inflate_small(data, limit) {
            return inflated;
        }
        if !may_block() {
            return inflate(data, limit);
        }
        tokio::task::block_in_place(|| {
            // It is never closed.
            let _turn = Handle::current().block_on(self.inflating.acquire());
            inflate(data, limit)
        })
    }
}

/// The codings that the port speaks: gzip alone.
pub(crate) fn registry(inflating: Arc<Semaphore>) -> CompressionRegistry {
    CompressionRegistry::new().register(Gzip { inflating })
}

impl CompressionProvider for Gzip {
    fn name(&self) -> &'static str {
        "gzip"
    }

    fn compress(&self, data: &[u8]) -> Result<Bytes, ConnectError> {
        deflate(data)
            .map_err(|error| ConnectError::internal(format!("the answer does not compress: {error}")))
    }

    fn decompressor<'a>(&self, _data: &'a [u8]) -> Result<Box<dyn std::io::Read + 'a>, ConnectError> {
        // Nobody asks: only streams do, and there are none.
        Err(ConnectError::unimplemented("compressed streams are not supported"))
    }

    fn decompress_with_limit(&self, data: &[u8], max_size: usize) -> Result<Bytes, ConnectError> {
        self.inflate(data, max_size).map_err(|error| match error {
            InflateError::TooLarge { limit } => ConnectError::resource_exhausted(format!(
                "message size is larger than configured max {limit} bytes: send less at once"
            )),
            InflateError::Corrupt => ConnectError::invalid_argument(error.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::body::Budget;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_becomes_large_is_inflated_in_turns_and_counted() {
        let zeros = |bytes: usize| deflate(&vec![0; bytes]).expect("memory");
        let (small, large) = (zeros(1 << 20), zeros(8 << 20));
        assert!(inflate_small(&small, 16 << 20).is_some_and(|done| done.is_ok_and(|b| b.len() == 1 << 20)));
        assert!(inflate_small(&large, 16 << 20).is_none(), "{} bytes become 8 MiB", large.len());
        assert_eq!(
            inflate_small(&large, 2 << 20),
            Some(Err(InflateError::TooLarge { limit: 2 << 20 })),
            "no turn is needed to say so"
        );
        let budget = Budget::new(9 << 20);
        let held = Held::new(&budget, None);
        let all = budget.inflating.available_permits() as u32;
        let turns = Arc::clone(&budget.inflating).acquire_many_owned(all).await.expect("open");
        let waiting = tokio::spawn({
            let (large, held) = (large.clone(), Arc::clone(&held));
            async move { gunzip(large, 16 << 20, Some(&held)).await }
        });
        assert!(gunzip(small, 16 << 20, Some(&held)).await.is_ok(), "what is small waits for none");
        assert!(!waiting.is_finished());
        drop(turns);
        assert_eq!(waiting.await.expect("ends").expect("fits").len(), 8 << 20);
        let refused = gunzip(large.clone(), 16 << 20, Some(&held)).await;
        assert!(matches!(refused, Err(Gunzip::Held(BodyFault::Busy { .. }))), "{refused:?}");
        let gzip = Gzip { inflating: Arc::clone(&budget.inflating) };
        assert_eq!(gzip.inflate(&large, 16 << 20).map(|bytes| bytes.len()), Ok(8 << 20));
        assert_eq!(budget.inflating.available_permits() as u32, all, "turns come back");
    }

    #[test]
    fn who_takes_gzip() {
        let check = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(text));
            accepts_gzip(&headers)
        };
        assert!(check("gzip") && check("deflate, gzip;q=1.0, br") && check("GZIP;q=0.5"));
        assert!(!check("identity") && !check("gzip;q=0") && !check("br, gzip; q=0.0"));
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}

//! gzip on the wire: inflating requests within a cap, deflating answers cheaply.

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

/// Answers smaller than this are not compressed.
const COMPRESS_BYTES_MIN: usize = 1024;
/// Work on more bytes than this leaves the threads that answer requests.
const INLINE_BYTES_MAX: usize = 512 << 10;
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

/// Inflates a request, at most `limit` bytes.
pub(crate) async fn gunzip(bytes: Bytes, limit: usize) -> Result<Bytes, InflateError> {
    if bytes.len() <= INLINE_BYTES_MAX {
        return inflate(&bytes, limit);
    }
    let inflated = tokio::task::spawn_blocking(move || inflate(&bytes, limit)).await;
    // A task that did not end was cut off by the end of the process.
    inflated.unwrap_or(Err(InflateError::Corrupt))
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
struct Gzip;

/// The codings that the port speaks: gzip alone.
pub(crate) fn registry() -> CompressionRegistry {
    CompressionRegistry::new().register(Gzip)
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
        inflate(data, max_size).map_err(|error| match error {
            InflateError::TooLarge { limit } => ConnectError::resource_exhausted(format!(
                "message size is larger than configured max {limit} bytes: send less at once"
            )),
            InflateError::Corrupt => ConnectError::invalid_argument(error.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

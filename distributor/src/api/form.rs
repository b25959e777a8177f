//! Multipart forms: the file parts of a body that is in memory already.

use std::convert::Infallible;

use bytes::Bytes;

/// Parts of one form.
const PARTS_MAX: usize = 64;

/// The file parts (those with a file name) by field name; parts that are no files are ignored, as in the reference.
pub async fn files(content_type: &str, body: Bytes) -> Result<Vec<(String, Bytes)>, String> {
    let boundary = multer::parse_boundary(content_type).map_err(|error| error.to_string())?;
    let stream = futures::stream::once(std::future::ready(Ok::<_, Infallible>(body)));
    let mut form = multer::Multipart::new(stream, boundary);
    let mut files = Vec::new();
    let mut parts = 0;
    while let Some(field) = form.next_field().await.map_err(|error| error.to_string())? {
        parts += 1;
        if parts > PARTS_MAX {
            return Err(format!("the form has more than {PARTS_MAX} parts"));
        }
        let name = field.name().unwrap_or_default().to_owned();
        let is_file = field.file_name().is_some();
        let bytes = field.bytes().await.map_err(|error| error.to_string())?;
        if is_file {
            files.push((name, bytes));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_file_parts_count() {
        let body = "--x\r\nContent-Disposition: form-data; name=\"a\"; filename=\"f\"\r\n\r\nA\r\n\
                    --x\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\nB\r\n--x--\r\n";
        let got = files("multipart/form-data; boundary=x", Bytes::from(body)).await;
        assert_eq!(got, Ok(vec![("a".to_owned(), Bytes::from("A"))]));
        assert!(files("multipart/form-data", Bytes::from(body)).await.is_err());
        assert!(files("multipart/form-data; boundary=x", Bytes::from("--x\r\ncut")).await.is_err());
    }
}

//! The body of a response: bounded, decompressed.

use std::io::Read;

use super::{Buffer, FetchError};

/// Bytes that are decompressed at a time.
const PIECE_BYTES: u64 = 64 << 10;

/// Decompresses `packed` into `page`. COMPAT: as in Prometheus a page that reaches the limit is
/// too large.
pub(super) async fn inflate(
    packed: &[u8],
    page: &mut Buffer,
    bytes_max: u64,
) -> Result<(), FetchError> {
    let mut decoder = flate2::bufread::MultiGzDecoder::new(packed).take(bytes_max);
    loop {
        page.allow(page.len() + PIECE_BYTES as usize).await;
        let read = (&mut decoder).take(PIECE_BYTES).read_to_end(page).map_err(|error| {
            FetchError::Body(match error.kind() {
                std::io::ErrorKind::UnexpectedEof => "unexpected EOF".to_owned(),
                _ => format!("gzip: {error}"),
            })
        })?;
        if read == 0 {
            return check_size(page.len(), bytes_max);
        }
        // A bomb must not hold up the others of this thread.
        tokio::task::consume_budget().await;
    }
}

/// Refuses a body of `len` bytes at the limit or beyond.
pub(super) fn check_size(len: usize, bytes_max: u64) -> Result<(), FetchError> {
    if len as u64 >= bytes_max {
        return Err(FetchError::BodyTooLarge { bytes_max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_client::BufferPool;
    use std::io::Write;

    fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn a_page_below_the_limit_comes_out() {
        let pool = BufferPool::new();
        for len in [0, 1000, 200_000] {
            let mut page = pool.take();
            inflate(&pack(&vec![b'x'; len]), &mut page, len as u64 + 1).await.unwrap();
            assert_eq!(page.len(), len);
        }
    }

    #[tokio::test]
    async fn a_bomb_stops_at_the_limit() {
        let pool = BufferPool::new();
        let mut page = pool.take();
        let error = inflate(&pack(&vec![0; 10 << 20]), &mut page, 1000).await.unwrap_err();
        assert_eq!(error.to_string(), "body size limit exceeded (limit: 1000 bytes)");
        assert!(page.len() <= 1000);
    }

    #[tokio::test]
    async fn what_is_not_gzip_is_told() {
        let pool = BufferPool::new();
        let packed = pack(b"abc");
        for bad in [&b"no gzip at all"[..], &packed[..packed.len() - 3], &[]] {
            let error = inflate(bad, &mut pool.take(), 1000).await;
            assert!(matches!(error, Err(FetchError::Body(_))), "{error:?}");
        }
    }
}

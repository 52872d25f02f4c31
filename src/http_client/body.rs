//! The body of a response: bounded, decompressed.

use super::gunzip::Gunzip;
use super::{Buffer, FetchError};

/// Bytes that are decompressed at a time beyond what was likely.
const PIECE_BYTES: usize = 64 << 10;

/// Decompresses `packed` into `page`. COMPAT: as in Prometheus a page that reaches the limit is
/// too large.
pub(super) async fn inflate(
    packed: &[u8],
    page: &mut Buffer,
    bytes_max: u64,
) -> Result<(), FetchError> {
    let mut body = Gunzip::new(packed);
    let mut inflater = page.pool().inflater();
    let mut room = body.likely_len();
    loop {
        room = room.min(usize::try_from(bytes_max).unwrap_or(usize::MAX)).max(1);
        page.allow(page.len() + room).await;
        page.reserve(room);
        let more = body.step(&mut inflater, page).map_err(FetchError::Body)?;
        if let Err(error) = check_size(page.len(), bytes_max) {
            page.truncate(usize::try_from(bytes_max).unwrap_or(usize::MAX));
            return Err(error);
        }
        if !more {
            page.pool().keep_inflater(inflater);
            return Ok(());
        }
        room = PIECE_BYTES;
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

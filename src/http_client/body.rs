//! The body of a response: bounded, decompressed.

use std::io::Read;

use super::{Buffer, FetchError};

/// Decompresses `packed` into `page`. COMPAT: as in Prometheus a page that reaches the limit is
/// too large.
pub(super) fn inflate(packed: &[u8], page: &mut Buffer, bytes_max: u64) -> Result<(), FetchError> {
    let decoder = flate2::bufread::MultiGzDecoder::new(packed);
    decoder.take(bytes_max).read_to_end(page).map_err(|error| {
        FetchError::Body(match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "unexpected EOF".to_owned(),
            _ => format!("gzip: {error}"),
        })
    })?;
    check_size(page.len(), bytes_max)
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

    #[test]
    fn a_page_below_the_limit_comes_out() {
        let pool = BufferPool::new();
        let mut page = pool.take();
        inflate(&pack(&[b'x'; 1000]), &mut page, 1001).unwrap();
        assert_eq!(page.len(), 1000);
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let pool = BufferPool::new();
        let mut page = pool.take();
        let error = inflate(&pack(&vec![0; 10 << 20]), &mut page, 1000).unwrap_err();
        assert_eq!(error.to_string(), "body size limit exceeded (limit: 1000 bytes)");
        assert!(page.len() <= 1000);
    }

    #[test]
    fn what_is_not_gzip_is_told() {
        let pool = BufferPool::new();
        let packed = pack(b"abc");
        for bad in [&b"no gzip at all"[..], &packed[..packed.len() - 3], &[]] {
            let error = inflate(bad, &mut pool.take(), 1000);
            assert!(matches!(error, Err(FetchError::Body(_))), "{error:?}");
        }
    }
}

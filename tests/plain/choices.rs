//! Choices that bytes make: shorter bytes and lesser bytes make simpler things, so that what a
//! property test or a fuzzer shrinks is what is compared.

/// Bytes, read one by one; behind the last one there are zeros.
#[derive(Debug)]
pub(crate) struct Choices<'a> {
    bytes: std::slice::Iter<'a, u8>,
    /// The step of the query; 0 where it has one time only.
    pub(crate) step_ms: i64,
}

impl<'a> Choices<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: bytes.iter(), step_ms: 0 }
    }

    /// A number below `count`.
    pub(crate) fn pick(&mut self, count: usize) -> usize {
        usize::from(self.bytes.next().copied().unwrap_or(0)) % count
    }

    /// One of `all`.
    pub(crate) fn one<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.pick(all.len())]
    }
}

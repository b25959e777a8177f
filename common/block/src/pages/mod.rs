//! Pages of Parquet column chunks for required integer columns: our own encoders and decoders of the public page format.
//!
//! The parquet crate writes footers and the columns that no query reads; these columns are the hot path of every query and
//! of every flush, where its generic readers cost two to three times as much. Must not know: what the columns mean.

mod bits;
pub(crate) mod chunk;
pub(crate) mod decode;
mod delta;
mod hybrid;
mod split;
#[cfg(test)]
mod tests;
mod thrift;

/// Most rows in a page.
pub(crate) const PAGE_ROWS: usize = 20_000;
/// Most bytes of a page (or dictionary) after decompression that a reader accepts.
pub(crate) const PAGE_RAW_MAX: usize = 1 << 20;
/// Most distinct values of a dictionary.
pub(crate) const DICT_MAX: usize = 16_384;

/// What is wrong with a page; the caller knows where it lies.
pub(crate) type PageResult<T> = Result<T, String>;

/// An integer of a column, on its way through 64-bit arithmetic that wraps.
pub(crate) trait Word: Copy + Default + Eq + std::hash::Hash + Ord + 'static {
    /// Bytes of the plain encoding.
    const BYTES: usize;
    /// The lowest bits.
    fn from_bits(bits: u64) -> Self;
    /// Sign-extended as the physical type is.
    fn to_i64(self) -> i64;
    /// The difference as the physical type wraps, sign-extended.
    fn wrapping_delta(self, before: Self) -> i64;
}

impl Word for u32 {
    const BYTES: usize = 4;
    #[inline(always)]
    fn from_bits(bits: u64) -> Self {
        bits as u32
    }
    #[inline(always)]
    fn to_i64(self) -> i64 {
        i64::from(self as i32)
    }
    #[inline(always)]
    fn wrapping_delta(self, before: Self) -> i64 {
        i64::from(self.wrapping_sub(before) as i32)
    }
}

impl Word for i64 {
    const BYTES: usize = 8;
    #[inline(always)]
    fn from_bits(bits: u64) -> Self {
        bits as i64
    }
    #[inline(always)]
    fn to_i64(self) -> i64 {
        self
    }
    #[inline(always)]
    fn wrapping_delta(self, before: Self) -> i64 {
        self.wrapping_sub(before)
    }
}

impl Word for u64 {
    const BYTES: usize = 8;
    #[inline(always)]
    fn from_bits(bits: u64) -> Self {
        bits
    }
    #[inline(always)]
    fn to_i64(self) -> i64 {
        self as i64
    }
    #[inline(always)]
    fn wrapping_delta(self, before: Self) -> i64 {
        self.wrapping_sub(before) as i64
    }
}

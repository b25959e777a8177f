//! Names as people write them.

use std::borrow::Cow;
use std::fmt::Write;

use cpp_demangle::{DemangleOptions, ParseOptions, Symbol};

/// Bytes of a name that are kept.
pub(crate) const NAME_BYTES_MAX: usize = 4096;
/// How deep names of C++ are followed.
const RECURSION_MAX: u32 = 96;

/// A text of a bounded length: what is beyond it is an error, which ends the demangling.
#[derive(Debug, Default)]
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        if self.0.len() + text.len() > NAME_BYTES_MAX {
            return Err(std::fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// The name of a function: of Rust without its hash, of C++ without parameters and return type; any other as it is, up to
/// [`NAME_BYTES_MAX`].
pub(crate) fn demangled(name: &str) -> Cow<'_, str> {
    if let Ok(symbol) = rustc_demangle::try_demangle(name) {
        let mut out = Bounded::default();
        if write!(out, "{symbol:#}").is_ok() {
            return Cow::Owned(out.0);
        }
    } else if (name.starts_with("_Z") || name.starts_with("__Z")) && name.len() <= NAME_BYTES_MAX {
        let parse = ParseOptions::default().recursion_limit(RECURSION_MAX);
        let options = DemangleOptions::new().no_params().no_return_type().recursion_limit(RECURSION_MAX);
        let mut out = Bounded::default();
        if let Ok(symbol) = Symbol::new_with_options(name, &parse)
            && symbol.structured_demangle(&mut out, &options).is_ok()
        {
            return Cow::Owned(out.0);
        }
    }
    Cow::Borrowed(cut(name))
}

/// A name within its limit.
pub(crate) fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_people_write_them() {
        let check = |name: &str, want: &str| assert_eq!(demangled(name), want);
        check("main", "main");
        check("main.(*Server).serve", "main.(*Server).serve");
        check("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE", "core::fmt::Write::write_fmt");
        check("_RNvCs1234_7mycrate3foo", "mycrate::foo");
        check("_ZN3foo3barEi", "foo::bar");
        check("_ZNSt6vectorIiSaIiEE9push_backEOi", "std::vector<int, std::allocator<int> >::push_back");
        check("_Z", "_Z");
    }

    #[test]
    fn names_that_grow_are_left_as_they_are() {
        // Each substitution doubles what stands before it.
        let bomb = format!("_Z1f{}", "S_".repeat(1000));
        assert!(demangled(&bomb).len() <= NAME_BYTES_MAX);
        let deep = format!("_Z1f{}i", "P".repeat(3000));
        assert!(demangled(&deep).len() <= NAME_BYTES_MAX);
        let long = "ä".repeat(3000);
        assert_eq!(demangled(&long).len(), NAME_BYTES_MAX);
    }
}

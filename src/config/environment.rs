//! `$NAME` and `${NAME}` in external labels. COMPAT: Go's `os.Expand`.

/// Replaces references by what `look_up` gives for the name; `$$` is a dollar sign.
pub(super) fn expand(text: &str, mut look_up: impl FnMut(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if rest.is_empty() {
            out.push('$');
            break;
        }
        match reference(rest) {
            (Some("$"), width) => {
                out.push('$');
                rest = &rest[width..];
            }
            (Some(name), width) => {
                out.push_str(&look_up(name));
                rest = &rest[width..];
            }
            (None, 0) => out.push('$'),
            // A brace that names nothing is dropped.
            (None, width) => rest = &rest[width..],
        }
    }
    out.push_str(rest);
    out
}

/// The name behind a dollar sign and how many bytes it takes; without a name the bytes that are
/// to be dropped.
fn reference(rest: &str) -> (Option<&str>, usize) {
    let is_special = |c: char| "*#$@!?-".contains(c) || c.is_ascii_digit();
    if let Some(braced) = rest.strip_prefix('{') {
        return match braced.find('}') {
            Some(0) => (None, 2),
            Some(end) => (Some(&braced[..end]), end + 2),
            None => (None, 1),
        };
    }
    if rest.starts_with(is_special) {
        return (Some(&rest[..1]), 1);
    }
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
    ((end > 0).then(|| &rest[..end]), end)
}

#[cfg(test)]
mod tests {
    use super::expand;

    /// Right sides as Go expands them with A=1 and every other name empty.
    #[test]
    fn references_are_replaced() {
        let table = [
            ("$A-${A}", "1-1"),
            ("$$A", "$A"),
            ("${B}x", "x"),
            ("a$", "a$"),
            ("$ A", "$ A"),
            ("${}x", "x"),
            ("${A", "A"),
            ("$Ab", ""),
            ("${$}", "$"),
            ("plain", "plain"),
        ];
        for (text, expected) in table {
            let look_up = |name: &str| if name == "A" { "1".to_owned() } else { String::new() };
            assert_eq!(expand(text, look_up), expected, "{text}");
        }
    }
}

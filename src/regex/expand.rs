//! Replacement templates: `$1`, `${1}`, `$name`, `${name}`, `$$`, as Go's `Regexp.Expand` reads
//! them.

/// A reference read from behind a `$`.
enum Reference<'t> {
    Number(usize),
    Name(&'t str),
}

/// Fills `template` in; `group(i)` gives the text of group `i` where it took part in the match,
/// `names[i]` is the name of group `i + 1`.
pub(super) fn expand<'s>(
    template: &str,
    names: &[String],
    group: impl Fn(usize) -> Option<&'s str>,
) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        if let Some(behind) = after.strip_prefix('$') {
            text.push('$');
            rest = behind;
            continue;
        }
        let Some((reference, behind)) = reference(after) else {
            text.push('$');
            rest = after;
            continue;
        };
        rest = behind;
        let value = match reference {
            Reference::Number(index) => group(index),
            Reference::Name(name) => {
                (1..=names.len()).filter(|&index| names[index - 1] == name).find_map(&group)
            }
        };
        text.push_str(value.unwrap_or(""));
    }
    text.push_str(rest);
    text
}

/// Reads `name` or `{name}`; `None` where the text is no reference and the `$` stands for itself.
fn reference(text: &str) -> Option<(Reference<'_>, &str)> {
    let braced = text.strip_prefix('{');
    let inner = braced.unwrap_or(text);
    let end = inner
        .find(|c: char| !(c.is_alphabetic() || c.is_numeric() || c == '_'))
        .unwrap_or(inner.len());
    let (name, mut rest) = inner.split_at(end);
    if name.is_empty() {
        return None;
    }
    if braced.is_some() {
        rest = rest.strip_prefix('}')?;
    }
    let is_number = name.len() <= 9
        && name.bytes().all(|b| b.is_ascii_digit())
        && (name.len() == 1 || !name.starts_with('0'));
    let reference = match name.parse() {
        Ok(number) if is_number => Reference::Number(number),
        _ => Reference::Name(name),
    };
    Some((reference, rest))
}

//! As much of XML as the answers of AWS have: elements and text. No document types, so no
//! entities but the five that XML itself knows, and numbers.

use std::fmt;

/// Elements within elements.
const DEPTH_MAX: usize = 64;

/// An element: its text, without that of its children, and its children.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in super::super) struct Element {
    pub(in super::super) name: String,
    pub(in super::super) text: String,
    pub(in super::super) children: Vec<Element>,
}

/// Text that is no such XML: what is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct XmlError(&'static str);

impl fmt::Display for XmlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reading XML: {}", self.0)
    }
}

impl Element {
    /// The element that the text is.
    pub(in super::super) fn parse(text: &str) -> Result<Self, XmlError> {
        let mut open: Vec<Self> = Vec::new();
        let mut rest = text.trim_start_matches('\u{feff}');
        loop {
            let Some(at) = rest.find('<') else { return Err(XmlError("it ends too early")) };
            if let Some(element) = open.last_mut() {
                push_text(&rest[..at], &mut element.text)?;
            } else if !rest[..at].trim().is_empty() {
                return Err(XmlError("text outside of elements"));
            }
            rest = &rest[at + 1..];
            if let Some(comment) = rest.strip_prefix("!--") {
                let end = comment.find("-->").ok_or(XmlError("a comment without an end"))?;
                rest = &comment[end + 3..];
                continue;
            }
            if rest.starts_with('!') {
                return Err(XmlError("a document type"));
            }
            let end = rest.find('>').ok_or(XmlError("a tag without an end"))?;
            let tag = &rest[..end];
            rest = &rest[end + 1..];
            if tag.starts_with('?') {
                continue;
            }
            let is_end = tag.starts_with('/');
            let is_empty = tag.ends_with('/');
            let name = tag.trim_matches('/').split_ascii_whitespace().next().unwrap_or("");
            if !is_end {
                if open.len() >= DEPTH_MAX {
                    return Err(XmlError("elements within elements beyond 64"));
                }
                open.push(Self { name: name.to_owned(), ..Self::default() });
            }
            if is_end || is_empty {
                let closed = open.pop().filter(|element| element.name == name);
                let closed = closed.ok_or(XmlError("an end tag without its beginning"))?;
                match open.last_mut() {
                    Some(parent) => parent.children.push(closed),
                    None => return Ok(closed),
                }
            }
        }
    }

    /// The first child of that name.
    pub(in super::super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The element at the end of a path of names.
    pub(in super::super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |element, name| element.child(name))
    }

    /// Its text, trimmed; empty where there is no such element.
    pub(in super::super) fn text_at(&self, path: &[&str]) -> &str {
        self.at(path).map_or("", |element| element.text.trim())
    }

    /// The entries of a list: the children `item` of the child `name`.
    pub(in super::super) fn items(&self, name: &str) -> impl Iterator<Item = &Self> {
        let list = self.child(name).map_or(&[][..], |list| &list.children);
        list.iter().filter(|child| child.name == "item")
    }
}

fn push_text(raw: &str, out: &mut String) -> Result<(), XmlError> {
    let mut rest = raw;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let end = rest[at..].find(';').ok_or(XmlError("an entity without an end"))?;
        let name = &rest[at + 1..at + end];
        let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok();
        out.push(match name {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let code = match name.strip_prefix("#x") {
                    Some(digits) => number(digits, 16),
                    None => name.strip_prefix('#').and_then(|digits| number(digits, 10)),
                };
                code.and_then(char::from_u32).ok_or(XmlError("an unknown entity"))?
            }
        });
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_and_entities_are_read() {
        let text = "<?xml version=\"1.0\"?>\n<!-- x --><a x=\"y\"><b> 1 &amp;&#x41;&lt;</b><c/>\
                    <l><item>1</item><item/></l></a>";
        let root = Element::parse(text).unwrap();
        assert_eq!(root.text_at(&["b"]), "1 &A<");
        assert_eq!(root.items("l").count(), 2);
        assert!(root.child("c").is_some() && root.at(&["c", "d"]).is_none());
        for bad in [
            "",
            "x",
            "<a>",
            "<a></b>",
            "<a",
            "<a>&x;</a>",
            "<a>&lt</a>",
            "<!DOCTYPE a><a/>",
            "</a>",
            &"<a>".repeat(70),
        ] {
            assert!(Element::parse(bad).is_err(), "{bad}");
        }
    }
}

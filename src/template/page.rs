//! Pages of HTML: where in the page an expansion is, and what that asks of a value.
//!
//! The text of the templates is trusted and followed character by character: elements, attributes,
//! scripts, styles, URLs. A value is escaped for the place where it appears ([`escape`]), so that
//! it can end neither attribute nor script nor element, and begins no script.
//!
//! COMPAT: Go's `html/template` decides on places before it expands, and refuses templates whose
//! branches end in different ones; here the place is the one that the expansion has come to.
//! Escaped texts are the same. Comments of HTML are left out, as there; those of scripts and
//! styles stay.

mod escape;
#[cfg(test)]
mod tests;

use super::print::Room;
use super::tree::{Pipe, Term};
use super::value::Value;

/// Where a page stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Between elements.
    Text,
    /// Within `<!-- -->`.
    Comment,
    /// Behind `<`, in the element's name.
    Name,
    /// Between the attributes of an element.
    Tag,
    AttributeName,
    AfterName,
    BeforeValue,
    Value,
    /// Within script, style, textarea or title.
    Content,
}

/// Elements whose content is not HTML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    Plain,
    Script,
    Style,
    /// `textarea` and `title`: text without elements.
    Words(&'static str),
}

impl Element {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Script => "script",
            Self::Style => "style",
            Self::Words(name) => name,
        }
    }
}

/// What the value of an attribute is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Plain,
    Url,
    Script,
    Style,
}

/// Where a script or style stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Plain,
    /// In a string or pattern that ends with this character.
    Quoted(char),
    LineComment,
    BlockComment,
}

/// Where a URL stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UrlPart {
    Start,
    Path,
    Query,
}

/// A page being written.
#[derive(Debug)]
pub(super) struct Page {
    out: String,
    place: Place,
    element: Element,
    /// Of the element or attribute being read.
    name: String,
    language: Language,
    /// Ends the value: a quote, or none where it is not quoted.
    quote: Option<char>,
    code: Code,
    is_escaped: bool,
    /// A slash begins a pattern rather than dividing.
    expects_operand: bool,
    url: UrlPart,
    /// The last characters, in lower case, for what takes several to tell.
    recent: String,
}

/// Characters that are remembered: as many as the longest closing tag has.
const RECENT_MAX: usize = 12;

impl Page {
    pub(super) fn new() -> Self {
        Self {
            out: String::new(),
            place: Place::Text,
            element: Element::Plain,
            name: String::new(),
            language: Language::Plain,
            quote: None,
            code: Code::Plain,
            is_escaped: false,
            expects_operand: true,
            url: UrlPart::Start,
            recent: String::new(),
        }
    }

    pub(super) fn length(&self) -> usize {
        self.out.len()
    }

    pub(super) fn finish(self) -> String {
        self.out
    }

    /// Text of the template.
    pub(super) fn text(&mut self, text: &str) {
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let begins_tag =
                chars.peek().is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '/' | '!'));
            if self.place == Place::Text && c == '<' && !begins_tag {
                self.recent.clear();
                self.out.push_str("&lt;");
                continue;
            }
            self.remember(c);
            let was_comment = self.place == Place::Comment;
            self.follow(c);
            if self.place == Place::Comment && !was_comment {
                // What has been written of it is taken back.
                self.out.truncate(self.out.len() - "<!-".len());
            } else if !was_comment {
                self.out.push(c);
            }
        }
    }

    fn remember(&mut self, c: char) {
        self.recent.extend(c.to_lowercase());
        if self.recent.len() > RECENT_MAX * 4 {
            let keep = self.recent.char_indices().rev().nth(RECENT_MAX).map_or(0, |(i, _)| i);
            self.recent.drain(..keep);
        }
    }

    fn follow(&mut self, c: char) {
        match self.place {
            Place::Text => {
                if self.recent.ends_with("<!--") {
                    self.place = Place::Comment;
                } else if c.is_ascii_alphabetic()
                    && (self.recent.ends_with(&format!("<{}", c.to_ascii_lowercase()))
                        || self.recent.ends_with(&format!("</{}", c.to_ascii_lowercase())))
                {
                    let is_end = self.recent[..self.recent.len() - 1].ends_with('/');
                    self.name.clear();
                    self.name.push(if is_end { '/' } else { c.to_ascii_lowercase() });
                    self.place = Place::Name;
                }
            }
            Place::Comment if self.recent.ends_with("-->") => self.place = Place::Text,
            Place::Comment => {}
            Place::Name if c.is_whitespace() || matches!(c, '/' | '>') => {
                self.element = match self.name.as_str() {
                    "script" => Element::Script,
                    "style" => Element::Style,
                    "textarea" => Element::Words("textarea"),
                    "title" => Element::Words("title"),
                    _ => Element::Plain,
                };
                self.place = Place::Tag;
                self.tag(c);
            }
            Place::Name => self.name.push(c.to_ascii_lowercase()),
            Place::Tag | Place::AttributeName | Place::AfterName | Place::BeforeValue => {
                self.tag(c);
            }
            Place::Value => self.value_text(c),
            Place::Content => self.content(c),
        }
    }

    /// Between the name of an element and its end, outside of values.
    fn tag(&mut self, c: char) {
        match (self.place, c) {
            (Place::BeforeValue, '"' | '\'') => self.begin_value(Some(c)),
            (_, '>') => {
                self.place =
                    if self.element == Element::Plain { Place::Text } else { Place::Content };
                self.code = Code::Plain;
                self.is_escaped = false;
                self.expects_operand = true;
            }
            (Place::BeforeValue, _) if c.is_whitespace() => {}
            (Place::BeforeValue, _) => {
                self.begin_value(None);
                self.value_text(c);
            }
            (Place::AttributeName | Place::AfterName, '=') => self.place = Place::BeforeValue,
            (Place::AttributeName, _) if c.is_whitespace() => self.place = Place::AfterName,
            (Place::AfterName, _) if c.is_whitespace() => {}
            (Place::AttributeName, _) if c != '/' => self.name.push(c.to_ascii_lowercase()),
            _ if c.is_whitespace() || c == '/' => self.place = Place::Tag,
            _ => {
                self.name.clear();
                self.name.push(c.to_ascii_lowercase());
                self.place = Place::AttributeName;
            }
        }
    }

    fn begin_value(&mut self, quote: Option<char>) {
        self.place = Place::Value;
        self.quote = quote;
        self.language = language_of(&self.name);
        self.code = Code::Plain;
        self.is_escaped = false;
        self.expects_operand = true;
        self.url = UrlPart::Start;
    }

    fn value_text(&mut self, c: char) {
        let ends = match self.quote {
            Some(quote) => c == quote,
            None => c.is_whitespace() || c == '>',
        };
        if ends {
            self.place = Place::Tag;
            if self.quote.is_none() {
                self.tag(c);
            }
            return;
        }
        match self.language {
            Language::Plain => {}
            Language::Url => {
                if matches!(c, '?' | '#') {
                    self.url = UrlPart::Query;
                } else if !c.is_whitespace() && self.url == UrlPart::Start {
                    self.url = UrlPart::Path;
                }
            }
            Language::Script | Language::Style => self.code_text(c),
        }
    }

    /// Content of script, style, textarea or title.
    fn content(&mut self, c: char) {
        let name = self.element.name();
        let closing = self.recent.rfind("</");
        if closing.is_some_and(|at| &self.recent[at + 2..] == name) {
            self.element = Element::Plain;
            self.name.clear();
            self.name.push('/');
            self.place = Place::Name;
        } else if matches!(self.element, Element::Script | Element::Style) {
            self.code_text(c);
        }
    }

    fn is_script(&self) -> bool {
        match self.place {
            Place::Content => self.element == Element::Script,
            _ => self.language == Language::Script,
        }
    }

    fn code_text(&mut self, c: char) {
        match self.code {
            Code::Plain => self.plain_code(c),
            Code::Quoted(_) if std::mem::take(&mut self.is_escaped) => {}
            Code::Quoted(_) if c == '\\' => self.is_escaped = true,
            Code::Quoted(end) if c == end || (c == '\n' && end != '`') => {
                self.code = Code::Plain;
                self.expects_operand = false;
            }
            Code::LineComment if c == '\n' => self.code = Code::Plain,
            Code::BlockComment if self.recent.ends_with("*/") => self.code = Code::Plain,
            Code::Quoted(_) => self.url = UrlPart::Path,
            Code::LineComment | Code::BlockComment => {}
        }
    }

    fn plain_code(&mut self, c: char) {
        let is_script = self.is_script();
        match c {
            '"' | '\'' => {
                self.code = Code::Quoted(c);
                self.url = UrlPart::Start;
            }
            '`' if is_script => self.code = Code::Quoted('`'),
            '*' if self.recent.ends_with("/*") => self.code = Code::BlockComment,
            '/' if is_script && self.recent.ends_with("//") => self.code = Code::LineComment,
            _ if c.is_whitespace() || c == '/' => {}
            // A slash before this one began a pattern.
            _ if is_script && self.expects_operand && self.begins_pattern() => {
                self.code = Code::Quoted('/');
                self.code_text(c);
            }
            _ => {
                self.expects_operand = !(c.is_alphanumeric() || matches!(c, '_' | '$' | ')' | ']'));
            }
        }
    }

    fn begins_pattern(&self) -> bool {
        let mut before = self.recent.chars().rev().skip(1);
        before.next() == Some('/')
    }

    /// Writes the value of an action, escaped for this place.
    pub(super) fn value(&mut self, value: &Value, pipe: &Pipe, room: Room) {
        match self.place {
            Place::AfterName | Place::Name => self.place = Place::Tag,
            Place::BeforeValue => self.begin_value(None),
            _ => {}
        }
        let last = pipe.commands.last().and_then(|command| command.words.first());
        let escaper = match last.map(|word| &word.term) {
            Some(Term::Function(name)) if name == "html" || name == "urlquery" => name.as_str(),
            _ => "",
        };
        let text = self.escaped(value, escaper, room);
        self.out.push_str(&text);
        self.recent.clear();
        match self.place {
            Place::Value | Place::Content if self.url == UrlPart::Start => {
                self.url = UrlPart::Path;
            }
            Place::Tag => self.place = Place::AttributeName,
            _ => {}
        }
        if self.code == Code::Plain {
            self.expects_operand = false;
        }
    }

    /// The value for this place; `escaper` is the function that has made it, where that is one
    /// that escapes.
    fn escaped(&self, value: &Value, escaper: &str, room: Room) -> String {
        let plain = escape::text_of(value, room);
        let is_html = matches!(value, Value::Html(_)) || escaper == "html";
        match self.place {
            Place::Comment => String::new(),
            Place::Text if is_html => plain,
            Place::Text => escape::html(&plain),
            Place::Name
            | Place::Tag
            | Place::AttributeName
            | Place::AfterName
            | Place::BeforeValue => escape::name(&plain, language_of(&plain.to_lowercase())),
            Place::Content => match self.element {
                Element::Script | Element::Style => self.escaped_code(value, &plain, room),
                _ if is_html => escape::normal_html(&plain),
                _ => escape::html(&plain),
            },
            Place::Value => {
                let (inner, is_done) = match self.language {
                    Language::Plain => (plain, is_html),
                    Language::Url => (self.escaped_url(&plain, escaper), false),
                    Language::Script | Language::Style => {
                        (self.escaped_code(value, &plain, room), false)
                    }
                };
                match self.quote {
                    None if is_done => escape::unquoted_html(&escape::without_tags(&inner)),
                    None => escape::unquoted(&inner),
                    Some(_) if escaper == "html" => inner,
                    Some(_) if is_done => escape::normal_html(&escape::without_tags(&inner)),
                    Some(_) => escape::html(&inner),
                }
            }
        }
    }

    fn escaped_url(&self, plain: &str, escaper: &str) -> String {
        match self.url {
            UrlPart::Start => escape::url(&escape::safe_url(plain), true),
            UrlPart::Path => escape::url(plain, true),
            UrlPart::Query if escaper == "urlquery" => plain.to_owned(),
            UrlPart::Query => escape::url(plain, false),
        }
    }

    fn escaped_code(&self, value: &Value, plain: &str, room: Room) -> String {
        match (self.code, self.is_script()) {
            (Code::LineComment | Code::BlockComment, _) => String::new(),
            (Code::Plain, true) => escape::script_value(value, room),
            (Code::Plain, false) => escape::style_value(plain),
            (Code::Quoted('/'), true) => escape::pattern(plain),
            (Code::Quoted('`'), true) => escape::script_template(plain),
            (Code::Quoted(_), true) => escape::script_text(plain),
            // What begins a string may be the beginning of a URL.
            (Code::Quoted(_), false) if self.url == UrlPart::Start => {
                escape::style_text(&escape::safe_url(plain))
            }
            (Code::Quoted(_), false) => escape::style_text(plain),
        }
    }
}

/// What the attribute's value is; names say it.
fn language_of(attribute: &str) -> Language {
    let name = match (attribute.strip_prefix("data-"), attribute.split_once(':')) {
        (None, Some(("xmlns", _))) => return Language::Url,
        (Some(rest), _) | (None, Some((_, rest))) => rest,
        (None, None) => attribute,
    };
    match name {
        "style" => Language::Style,
        "action" | "archive" | "background" | "cite" | "classid" | "codebase" | "data"
        | "formaction" | "href" | "icon" | "longdesc" | "manifest" | "poster" | "profile"
        | "src" | "srcset" | "usemap" => Language::Url,
        _ if name.starts_with("on") => Language::Script,
        _ if ["src", "uri", "url"].iter().any(|part| name.contains(part)) => Language::Url,
        _ => Language::Plain,
    }
}

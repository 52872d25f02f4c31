//! Formats of `printf`: flags, widths, precisions, argument numbers, verbs.

use std::fmt::Write as _;

use super::{Flags, Printer, Room};
use crate::template::value::Value;

/// Greatest width and precision that Go takes.
const WIDTH_MAX: usize = 1_000_000;

/// Go's `Sprintf`.
pub(in crate::template) fn sprintf(format: &str, values: &[Value], room: Room) -> String {
    let mut printer = Printer::new(room);
    Formatting { printer: &mut printer, values, next: 0, is_reordered: false }.run(format);
    printer.out
}

/// A format on its way through its arguments.
struct Formatting<'a> {
    printer: &'a mut Printer,
    values: &'a [Value],
    next: usize,
    is_reordered: bool,
}

impl Formatting<'_> {
    fn run(mut self, format: &str) {
        let mut rest = format;
        while let Some(at) = rest.find('%') {
            self.printer.out.push_str(&rest[..at]);
            if self.printer.is_full() {
                return;
            }
            rest = self.directive(&rest[at + 1..]);
        }
        self.printer.out.push_str(rest);
        if !self.is_reordered && self.next < self.values.len() {
            self.printer.flags = Flags::default();
            self.printer.out.push_str("%!(EXTRA ");
            for (i, value) in self.values[self.next..].iter().enumerate() {
                if i > 0 {
                    self.printer.out.push_str(", ");
                }
                if value.is_nil() && !matches!(value, Value::Sample(_)) {
                    self.printer.out.push_str("<nil>");
                } else {
                    self.printer.out.push_str(value.type_name());
                    self.printer.out.push('=');
                    self.printer.argument(value, 'v');
                }
            }
            self.printer.out.push(')');
        }
    }

    /// Writes one directive, whose text begins behind the `%`; gives what follows it.
    fn directive<'f>(&mut self, format: &'f str) -> &'f str {
        let mut flags = Flags::default();
        let mut rest = format;
        while let Some(c) = rest.chars().next() {
            match c {
                '#' => flags.sharp = true,
                '0' => flags.zero = true,
                '+' => flags.plus = true,
                '-' => flags.minus = true,
                ' ' => flags.space = true,
                _ => break,
            }
            rest = &rest[1..];
        }
        let mut is_good = true;
        let mut is_numbered = self.argument_number(&mut rest, &mut is_good);
        if let Some(behind) = rest.strip_prefix('*') {
            rest = behind;
            is_numbered = false;
            match self.number_argument() {
                Some(width) => {
                    flags.width = Some(width.unsigned_abs() as usize);
                    if width < 0 {
                        flags.minus = true;
                        flags.zero = false;
                    }
                }
                None => self.printer.out.push_str("%!(BADWIDTH)"),
            }
        } else {
            flags.width = parse_count(&mut rest);
            is_good &= !(is_numbered && flags.width.is_some());
        }
        if rest.len() > 1 && rest.starts_with('.') {
            rest = &rest[1..];
            is_good &= !is_numbered;
            is_numbered = self.argument_number(&mut rest, &mut is_good);
            if let Some(behind) = rest.strip_prefix('*') {
                rest = behind;
                is_numbered = false;
                let precision = self.number_argument().and_then(|p| usize::try_from(p).ok());
                flags.precision = precision;
                if precision.is_none() {
                    self.printer.out.push_str("%!(BADPREC)");
                }
            } else {
                flags.precision = Some(parse_count(&mut rest).unwrap_or(0));
            }
        }
        if !is_numbered {
            self.argument_number(&mut rest, &mut is_good);
        }
        let Some(verb) = rest.chars().next() else {
            self.printer.out.push_str("%!(NOVERB)");
            return rest;
        };
        self.verb(verb, flags, is_good);
        &rest[verb.len_utf8()..]
    }

    fn verb(&mut self, verb: char, mut flags: Flags, is_good: bool) {
        if verb == '%' {
            self.printer.out.push('%');
        } else if !is_good {
            let _ = write!(self.printer.out, "%!{verb}(BADINDEX)");
        } else if let Some(value) = self.values.get(self.next) {
            if verb == 'v' {
                flags.sharp_v = std::mem::take(&mut flags.sharp);
                flags.plus_v = std::mem::take(&mut flags.plus);
            }
            self.printer.flags = flags;
            self.printer.argument(value, verb);
            self.next += 1;
        } else {
            let _ = write!(self.printer.out, "%!{verb}(MISSING)");
        }
    }

    /// Reads `[n]`, if it is there; gives whether it was.
    fn argument_number(&mut self, rest: &mut &str, is_good: &mut bool) -> bool {
        if !rest.starts_with('[') {
            return false;
        }
        self.is_reordered = true;
        let Some(end) = rest.find(']').filter(|_| rest.len() >= 3) else {
            *rest = &rest[1..];
            *is_good = false;
            return false;
        };
        let mut inner = &rest[1..end];
        *rest = &rest[end + 1..];
        let number = parse_count(&mut inner).filter(|_| inner.is_empty());
        match number.and_then(|number| number.checked_sub(1)) {
            Some(at) if at < self.values.len() => {
                self.next = at;
                true
            }
            _ => {
                *is_good = false;
                number.is_some()
            }
        }
    }

    /// The next argument, as a width or precision.
    fn number_argument(&mut self) -> Option<i64> {
        let value = self.values.get(self.next)?;
        self.next += 1;
        let number = match value {
            Value::Int(number, _) => *number,
            Value::Byte(number) => i64::from(*number),
            _ => return None,
        };
        (number.unsigned_abs() <= WIDTH_MAX as u64).then_some(number)
    }
}

/// Digits at the beginning of the text; a number that is too large takes all of the text.
fn parse_count(rest: &mut &str) -> Option<usize> {
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    if end == 0 {
        return None;
    }
    // COMPAT: Go looks before the last digit.
    let number = rest[..end].parse().ok().filter(|number: &usize| number / 10 <= WIDTH_MAX);
    *rest = if number.is_some() { &rest[end..] } else { "" };
    number
}

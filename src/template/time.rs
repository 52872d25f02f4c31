//! Times in UTC: parts of the calendar, Go's layouts, Go's methods' results.
//!
//! COMPAT: `Format` understands the layouts of Go's `time` package; the zone is always UTC.

use std::fmt::Write as _;

/// Nanoseconds of a second.
pub(super) const SECOND_NS: i64 = 1_000_000_000;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The English name of a month, from 1.
pub(super) fn month_name(month: i64) -> String {
    let at = usize::try_from(month - 1).ok();
    at.and_then(|at| MONTHS.get(at))
        .map_or_else(|| format!("%!Month({month})"), |name| (*name).to_owned())
}

/// The English name of a day, from Sunday, 0.
pub(super) fn day_name(day: i64) -> String {
    let at = usize::try_from(day).ok();
    at.and_then(|at| DAYS.get(at))
        .map_or_else(|| format!("%!Weekday({day})"), |name| (*name).to_owned())
}

/// A time in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time {
    seconds: i64,
    nanoseconds: u32,
}

/// A time's parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    pub(super) year: i64,
    /// From 1.
    pub(super) month: i64,
    /// From 1.
    pub(super) day: i64,
    pub(super) hour: i64,
    pub(super) minute: i64,
    pub(super) second: i64,
    pub(super) nanosecond: i64,
    /// From Sunday, 0.
    pub(super) weekday: i64,
    /// From 1.
    pub(super) day_of_year: i64,
}

impl Time {
    pub(super) fn from_ms(t_ms: i64) -> Self {
        let nanoseconds = (t_ms.rem_euclid(1000) * 1_000_000) as u32;
        Self { seconds: t_ms.div_euclid(1000), nanoseconds }
    }

    fn total_ns(self) -> i128 {
        i128::from(self.seconds) * i128::from(SECOND_NS) + i128::from(self.nanoseconds)
    }

    fn from_total_ns(total: i128) -> Self {
        let second = i128::from(SECOND_NS);
        let seconds = i64::try_from(total.div_euclid(second)).unwrap_or(i64::MAX / 2);
        Self { seconds, nanoseconds: total.rem_euclid(second) as u32 }
    }

    pub(super) fn seconds(self) -> i64 {
        self.seconds
    }

    /// Since the epoch, in units of `unit_ns`; wraps as Go's do.
    pub(super) fn since_epoch(self, unit_ns: i64) -> i64 {
        self.total_ns().div_euclid(i128::from(unit_ns)) as i64
    }

    pub(super) fn add(self, duration_ns: i64) -> Self {
        Self::from_total_ns(self.total_ns() + i128::from(duration_ns))
    }

    /// How long after `other`, as far as a duration reaches.
    pub(super) fn since(self, other: Self) -> i64 {
        let difference = self.total_ns() - other.total_ns();
        difference.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    /// Rounded down to a multiple of the duration, counted from the year 1.
    pub(super) fn truncate(self, duration_ns: i64) -> Self {
        if duration_ns <= 0 {
            return self;
        }
        let total = self.total_ns() + i128::from(YEAR_1_SECONDS) * i128::from(SECOND_NS);
        self.add_wide(-(total.rem_euclid(i128::from(duration_ns))))
    }

    /// Rounded to the nearest multiple, half away from zero.
    pub(super) fn round(self, duration_ns: i64) -> Self {
        if duration_ns <= 0 {
            return self;
        }
        let total = self.total_ns() + i128::from(YEAR_1_SECONDS) * i128::from(SECOND_NS);
        let rest = total.rem_euclid(i128::from(duration_ns));
        let wide = i128::from(duration_ns);
        self.add_wide(if rest * 2 < wide { -rest } else { wide - rest })
    }

    fn add_wide(self, ns: i128) -> Self {
        Self::from_total_ns(self.total_ns() + ns)
    }

    pub(super) fn add_date(self, years: i64, months: i64, days: i64) -> Self {
        let parts = self.parts();
        let month = parts.month - 1 + months.clamp(-1_000_000, 1_000_000);
        let year = parts.year + years.clamp(-1_000_000, 1_000_000) + month.div_euclid(12);
        let first = days_of(year, month.rem_euclid(12) + 1, 1);
        let day = first + parts.day - 1 + days.clamp(-1_000_000_000, 1_000_000_000);
        let seconds = day * 86_400 + self.seconds.rem_euclid(86_400);
        Self { seconds, nanoseconds: self.nanoseconds }
    }

    pub(super) fn is_zero(self) -> bool {
        self.seconds == -YEAR_1_SECONDS && self.nanoseconds == 0
    }

    pub(super) fn parts(self) -> Parts {
        let days = self.seconds.div_euclid(86_400);
        let of_day = self.seconds.rem_euclid(86_400);
        let (year, month, day) = date_of(days);
        Parts {
            year,
            month,
            day,
            hour: of_day / 3600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            nanosecond: i64::from(self.nanoseconds),
            // 1970-01-01 was a Thursday.
            weekday: (days + 4).rem_euclid(7),
            day_of_year: days - days_of(year, 1, 1) + 1,
        }
    }

    /// As `String` gives it.
    pub(super) fn text(self) -> String {
        self.format("2006-01-02 15:04:05.999999999 -0700 MST")
    }

    /// As `Format` gives it.
    pub(super) fn format(self, layout: &str) -> String {
        let parts = self.parts();
        let mut text = String::with_capacity(layout.len() + 10);
        let mut rest = layout;
        while let Some(c) = rest.chars().next() {
            if let Some(length) = parts.push_chunk(&mut text, rest) {
                rest = &rest[length..];
            } else {
                text.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
        text
    }
}

/// Seconds from the year 1 to the epoch.
const YEAR_1_SECONDS: i64 = 62_135_596_800;

impl Parts {
    /// Writes what the chunk at the beginning of `layout` stands for and gives its length;
    /// `None` where there is no chunk.
    fn push_chunk(&self, text: &mut String, layout: &str) -> Option<usize> {
        if let Some(length) = self.push_fraction(text, layout) {
            return Some(length);
        }
        let month = month_name(self.month);
        let weekday = day_name(self.weekday);
        let hour_12 = if self.hour % 12 == 0 { 12 } else { self.hour % 12 };
        let is_word_end = |at: usize| !layout[at..].starts_with(|c: char| c.is_ascii_lowercase());
        let year_of_century = self.year.rem_euclid(100);
        let noon = if self.hour < 12 { "AM" } else { "PM" };
        let table: [(&str, String); 31] = [
            ("January", month.clone()),
            ("Jan", month[..3].to_owned()),
            ("Monday", weekday.clone()),
            ("Mon", weekday[..3].to_owned()),
            ("MST", "UTC".to_owned()),
            ("002", format!("{:03}", self.day_of_year)),
            ("01", format!("{:02}", self.month)),
            ("02", format!("{:02}", self.day)),
            ("03", format!("{hour_12:02}")),
            ("04", format!("{:02}", self.minute)),
            ("05", format!("{:02}", self.second)),
            ("06", format!("{year_of_century:02}")),
            ("15", format!("{:02}", self.hour)),
            ("2006", year_text(self.year)),
            ("__2", format!("{:3}", self.day_of_year)),
            ("_2006", format!("_{}", year_text(self.year))),
            ("_2", format!("{:2}", self.day)),
            ("PM", noon.to_owned()),
            ("pm", noon.to_lowercase()),
            ("-070000", "+000000".to_owned()),
            ("-07:00:00", "+00:00:00".to_owned()),
            ("-0700", "+0000".to_owned()),
            ("-07:00", "+00:00".to_owned()),
            ("-07", "+00".to_owned()),
            ("Z070000", "Z".to_owned()),
            ("Z07:00:00", "Z".to_owned()),
            ("Z0700", "Z".to_owned()),
            ("Z07:00", "Z".to_owned()),
            ("Z07", "Z".to_owned()),
            ("1", self.month.to_string()),
            ("2", self.day.to_string()),
        ];
        for (chunk, value) in table {
            let is_here =
                layout.starts_with(chunk) && (!matches!(chunk, "Jan" | "Mon") || is_word_end(3));
            if is_here {
                text.push_str(&value);
                return Some(chunk.len());
            }
        }
        let value = match layout.as_bytes().first()? {
            b'3' => hour_12,
            b'4' => self.minute,
            b'5' => self.second,
            _ => return None,
        };
        let _ = write!(text, "{value}");
        Some(1)
    }

    /// `.000` or `,999` behind the seconds or elsewhere.
    fn push_fraction(&self, text: &mut String, layout: &str) -> Option<usize> {
        let mark = layout.chars().next().filter(|c| matches!(c, '.' | ','))?;
        let kind = layout[1..].chars().next().filter(|c| matches!(c, '0' | '9'))?;
        let digits = layout[1..].chars().take_while(|c| *c == kind).count();
        if layout[1 + digits..].starts_with(|c: char| c.is_ascii_digit()) || digits > 9 {
            return None;
        }
        let all = format!("{:09}", self.nanosecond);
        let kept = &all[..digits];
        let kept = if kind == '9' { kept.trim_end_matches('0') } else { kept };
        if !kept.is_empty() {
            text.push(mark);
            text.push_str(kept);
        }
        Some(1 + digits)
    }
}

fn year_text(year: i64) -> String {
    if year < 0 { format!("-{:04}", -year) } else { format!("{year:04}") }
}

/// Days from the epoch to a date of the Gregorian calendar (months from March, years of 400).
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date that many days after the epoch.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Right sides printed by Go.
    #[test]
    fn times_are_written_as_go_does() {
        let time = Time::from_ms(1_435_065_584_128);
        assert_eq!(time.text(), "2015-06-23 13:19:44.128 +0000 UTC");
        let table = [
            ("2006-01-02T15:04:05Z07:00", "2015-06-23T13:19:44Z"),
            ("Mon Jan _2 15:04:05.000 MST 2006", "Tue Jun 23 13:19:44.128 UTC 2015"),
            ("Monday, 02-Jan-06 3:4:5 PM -0700", "Tuesday, 23-Jun-15 1:19:44 PM +0000"),
            ("002 __2 1/2", "174 174 6/23"),
            ("05.999999 pm", "44.128 pm"),
        ];
        for (layout, text) in table {
            assert_eq!(time.format(layout), text, "{layout}");
        }
        assert_eq!(Time::from_ms(-1).text(), "1969-12-31 23:59:59.999 +0000 UTC");
        assert_eq!(Time::from_ms(-62_135_596_800_000).text(), "0001-01-01 00:00:00 +0000 UTC");
        let leap = Time::from_ms(1_709_164_800_000);
        assert_eq!(leap.add_date(1, 0, 0).format("2006-01-02"), "2025-03-01");
    }
}
